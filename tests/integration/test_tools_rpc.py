"""Tools and thinking over gRPC: what the template is told, what comes back in pieces, and what is refused. The model is the demo's,
with a short template that has places for tools, and held to a form so that it says what is to be taken apart."""
import json
import re
import subprocess

import grpc
import pytest

import tiny_llm
from mesh import ROOT, bin_dir
from test_embed import MODEL, START_S, start

TEMPLATE = ROOT / "tests" / "compat" / "templates" / "chatml_tools.jinja"
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "The weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}
TOOLS = json.dumps([WEATHER, CLOCK])
ONE_TOOL = json.dumps([CLOCK])
CALL = r'<tool_call>\n\{"name": "get_weather", "arguments": \{"city": "[A-Z][a-z]{2,9}"\}\}\n</tool_call>'


SHORT = """{% for t in tools %}{{ t.function.name }} {% endfor %}{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content }}
{%- for c in m.tool_calls %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}{{ m.tool_call_id }}{{ '<|im_end|>' }}{% endfor %}
{{- '<|im_start|>assistant\\n' }}{{ mood }}{# <tool_call>{"name": …, "arguments": …}</tool_call>, <think></think> #}"""


def write_template(directory):
    path = directory / "short.jinja"
    path.write_text(SHORT)
    return path


@pytest.fixture(scope="module")
def service(tmp_path_factory, stubs):
    directory = tmp_path_factory.mktemp("tools")
    port, process = start(directory, f'max_seqs: 4\nchat_template_file: "{write_template(directory)}"\n')
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(timeout=START_S)
        yield stubs["inference_grpc"].InferenceStub(channel)
    process.terminate()
    assert process.wait(30) == 0


def message(stubs, role, content="", **more):
    return stubs["inference"].ChatMessage(role=role, content=content, **more)


@pytest.fixture
def ask(service, stubs):
    def call(*messages, regex="", generated=(), **fields):
        """(deltas, end) of a conversation, a question by default"""
        inference = stubs["inference"]
        fields["sampling"] = inference.Sampling(has_seed=True, seed=7)
        fields["messages"] = inference.ChatMessages(messages=messages or [message(stubs, "user", "Is it cold in Oslo?")])
        if regex:
            fields["constraint"] = inference.Constraint(regex=regex)
        if generated:
            fields["generated"] = inference.TokenIds(ids=generated)
        events = list(service.Generate(inference.GenerateRequest(**({"max_tokens": 200} | fields)), timeout=120))
        return [e.delta for e in events if e.WhichOneof("event") == "delta"], [e.end for e in events if e.WhichOneof("event") == "end"]
    return call


def parts(deltas):
    """(text, reasoning, {index: (id, name, arguments)})"""
    calls = {}
    for tool in (t for d in deltas for t in d.tool_calls):
        before = calls.get(tool.index, ("", "", ""))
        assert not (tool.id and before[0]), "a call's id came twice"
        calls[tool.index] = (before[0] + tool.id, before[1] + tool.name, before[2] + tool.arguments)
    return "".join(d.text for d in deltas), "".join(d.reasoning for d in deltas), calls


def test_calls_come_in_pieces(ask, stubs):
    deltas, (end,) = ask(regex=f"Let me see\\.\\n{CALL}\\n{CALL}", tools_json=json.dumps([WEATHER]))
    text, reasoning, calls = parts(deltas)
    assert text == "Let me see." and reasoning == "" and sorted(calls) == [0, 1]
    for call_id, name, arguments in calls.values():
        assert re.fullmatch("[0-9A-Za-z]{9}", call_id) and name == "get_weather"
        assert re.fullmatch("[A-Z][a-z]+", json.loads(arguments)["city"])
    assert calls[0][0] != calls[1][0]
    assert end.finish == stubs["inference"].FINISH_REASON_TOOL_CALLS
    assert sum(1 for d in deltas for t in d.tool_calls if t.arguments) > 4, "the arguments did not come piece by piece"
    assert sum(len(d.token_ids) for d in deltas) == end.output_tokens
    assert ask(regex=f"Let me see\\.\\n{CALL}\\n{CALL}", tools_json=json.dumps([WEATHER]))[0] == deltas, "not the same again"


def test_one_call_at_most(ask, stubs):
    """The answer ends behind its first call, though the model is held to a form that has another."""
    regex = f"Let me see\\.\\n{CALL}\\n{CALL}"
    deltas, (end,) = ask(regex=regex, tools_json=json.dumps([WEATHER]), one_tool_call=True)
    whole, (later,) = ask(regex=regex, tools_json=json.dumps([WEATHER]))
    text, reasoning, calls = parts(deltas)
    assert text == "Let me see." and calls == {0: parts(whole)[2][0]} and end.finish == stubs["inference"].FINISH_REASON_TOOL_CALLS
    tokens = [t for d in deltas for t in d.token_ids]
    assert len(tokens) == end.output_tokens < later.output_tokens and tokens == [t for d in whole for t in d.token_ids][:len(tokens)]
    rest, _ = ask(regex=regex, tools_json=json.dumps([WEATHER]), one_tool_call=True, generated=tokens[:-4])
    assert [t for d in rest for t in d.token_ids] == tokens[-4:]


def test_thinking_is_apart_from_the_answer(ask, stubs):
    deltas, (end,) = ask(regex=r"<think>\n[a-z ]{8,20}\n</think>\n\n(yes|no)")
    text, reasoning, calls = parts(deltas)
    assert text in ("yes", "no") and re.fullmatch("[a-z ]{8,20}", reasoning) and not calls
    assert end.finish == stubs["inference"].FINISH_REASON_STOP
    thoughts = [i for i, d in enumerate(d for d in deltas if d.token_ids) if d.reasoning]
    answered = sum(1 for d in deltas if d.token_ids and d.text)
    assert len(thoughts) < end.reasoning_tokens < end.output_tokens - answered, "the marks are thinking, the answer is not"
    assert ask(regex="(yes|no)")[1][0].reasoning_tokens == 0


def test_tokens_of_thinking_add_up(ask):
    """Whoever goes on counts its own."""
    regex = r"<think>\n[a-z ]{8,20}\n</think>\n\n(yes|no)"
    deltas, (whole,) = ask(regex=regex)
    tokens = [t for d in deltas for t in d.token_ids]
    for at in range(1, len(tokens), 5):
        _, (first,) = ask(regex=regex, max_tokens=at)
        _, (rest,) = ask(regex=regex, generated=tokens[:at])
        assert first.reasoning_tokens + rest.reasoning_tokens == whole.reasoning_tokens, f"broken off behind {at} tokens"


def test_going_on_elsewhere(ask, stubs):
    """The tokens that another replica has told already are not told again, wherever the answer was broken off."""
    regex = r'<think>\n[a-z]{4}\n</think>\n\nSo\.\n<tool_call>\{"name": "clock", "arguments": \{\}\}</tool_call>'
    deltas, _ = ask(regex=regex, tools_json=ONE_TOOL)
    tokens = [t for d in deltas for t in d.token_ids]
    whole = parts(deltas)
    shown = 0
    for at in range(3, len(tokens), 9):
        while sum(len(d.token_ids) for d in deltas[:shown + 1]) <= at and shown < len(deltas):
            shown += 1
        rest, _ = ask(regex=regex, tools_json=ONE_TOOL, generated=tokens[:at])
        text, reasoning, calls = parts(deltas[:shown] + rest)
        assert (text, reasoning, calls) == whole, f"broken off behind {at} tokens"


def test_the_template_is_told(service, stubs):
    inference = stubs["inference"]
    def count(*messages, **fields):
        return service.CountTokens(inference.CountTokensRequest(messages=inference.ChatMessages(messages=messages), **fields)).tokens
    user = message(stubs, "user", "q")
    calls = json.dumps([{"id": "call00000", "type": "function", "function": {"name": "clock", "arguments": "{}"}}])
    asked = message(stubs, "assistant", tool_calls_json=calls)
    assert count(user, tools_json=TOOLS) >= count(user) + 3
    assert count(user, asked) >= count(user, message(stubs, "assistant")) + 2
    result = message(stubs, "tool", "noon")
    assert count(user, asked, message(stubs, "tool", "noon", tool_call_id="call00000")) >= count(user, asked, result) + 2
    assert count(user, template_args_json='{"mood": "good"}') == count(user) + 1


@pytest.mark.parametrize("tool_format", ["hermes", "llama3", "mistral"])
def test_a_call_can_be_required(tmp_path, stubs, tool_format):
    """In every form, whatever the model would rather say: one call, its arguments as the tool's schema has them."""
    inference = stubs["inference"]
    city = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}, "n": {"$ref": "#/$defs/n"}}, "required": ["city", "n"],
            "$defs": {"n": {"type": "integer", "minimum": 3, "maximum": 12}}}
    tools = json.dumps([{"function": {"name": "look", "parameters": city}}, CLOCK])
    port, process = start(tmp_path, f'chat_template_file: "{write_template(tmp_path)}"\ntool_format: "{tool_format}"\n')
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(timeout=START_S)
        stub = stubs["inference_grpc"].InferenceStub(channel)
        for choice, seed in (("look", 1), ("required", 2)):
            events = list(stub.Generate(inference.GenerateRequest(
                messages=inference.ChatMessages(messages=[message(stubs, "user", "q")]), tools_json=tools, tool_choice=choice, max_tokens=60,
                sampling=inference.Sampling(temperature=1, has_seed=True, seed=seed)), timeout=120))
            text, reasoning, calls = parts([e.delta for e in events if e.WhichOneof("event") == "delta"])
            assert text == reasoning == "" and list(calls) == [0], (text, calls)
            _, name, arguments = calls[0]
            assert name == "look" if choice == "look" else name in ("look", "clock")
            if name == "look":
                assert json.loads(arguments)["city"] in ("Oslo", "Rome") and 3 <= json.loads(arguments)["n"] <= 12
            assert events[-1].end.finish == inference.FINISH_REASON_TOOL_CALLS
    process.terminate()
    assert process.wait(30) == 0


@pytest.mark.parametrize("tool_format, open", [("hermes", "Let me see.\n<tool_call>\n"), ("mistral", "[TOOL_CALLS]["),
                                               ("mistral", "[TOOL_CALLS]look[ARGS]")])
def test_a_call_of_its_own_accord_is_held(tmp_path, stubs, tool_format, open):
    """Behind the mark, which another replica has told, the call is as the tool's schema has it, and the text behind it is free."""
    inference = stubs["inference"]
    parameters = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}, "n": {"type": "integer", "minimum": 3, "maximum": 12}},
                  "required": ["city", "n"]}
    tools = [{"function": {"name": "look", "parameters": parameters}}]
    port, process = start(tmp_path, f'chat_template_file: "{write_template(tmp_path)}"\ntool_format: "{tool_format}"\n'
                          f'request_log: "{tmp_path}/requests"\n')
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(timeout=START_S)
        stub = stubs["inference_grpc"].InferenceStub(channel)
        echoed = stub.Generate(inference.GenerateRequest(text=open, echo=True, logprobs=True, max_tokens=1), timeout=120)
        begun = [t for e in echoed if e.WhichOneof("event") == "delta" and e.delta.prompt for t in e.delta.token_ids]

        def ask(seed, tools=tools, **fields):
            events = list(stub.Generate(inference.GenerateRequest(
                messages=inference.ChatMessages(messages=[message(stubs, "user", "q")]), tools_json=json.dumps(tools), max_tokens=80,
                generated=inference.TokenIds(ids=begun), sampling=inference.Sampling(temperature=1, has_seed=True, seed=seed), **fields),
                timeout=120))
            return parts([e.delta for e in events if e.WhichOneof("event") == "delta"]), events[-1].end, events[0].start
        for seed in range(4):
            (_, _, calls), _, start_ = ask(seed)
            assert start_.loose_tools == 0 and start_.loose_why == ""
            (text, _, alone), end, _ = ask(seed, one_tool_call=True)
            assert text == "" and alone == {0: calls[0]} and end.finish == inference.FINISH_REASON_TOOL_CALLS
            _, name, arguments = alone[0]
            assert name == "look" and json.loads(arguments)["city"] in ("Oslo", "Rome") and 3 <= json.loads(arguments)["n"] <= 12
        odd = {"function": {"name": "odd", "parameters": {"properties": {"x": {"not": {}}}}}}
        for seed in range(4):
            (_, _, calls), _, start_ = ask(seed, tools=[odd, *tools], one_tool_call=True)
            assert start_.loose_tools == 1 and "'odd'" in start_.loose_why and "/properties/x/not" in start_.loose_why
            _, name, arguments = calls[0]
            assert isinstance(json.loads(arguments), dict) and (name == "odd" or json.loads(arguments)["city"] in ("Oslo", "Rome"))
    process.terminate()
    assert process.wait(30) == 0
    logged = [json.loads(line)["loose_tools"] for line in (tmp_path / "requests").read_text().splitlines()]
    assert logged == [0] * 9 + [1] * 4


def test_without_tools_a_call_is_text(ask, stubs):
    for more in ({}, {"tools_json": TOOLS, "tool_choice": "none"}):
        deltas, (end,) = ask(regex='<tool_call>\\n\\{"name": "clock"\\}\\n</tool_call>', **more)
        text, _, calls = parts(deltas)
        assert text.startswith("<tool_call>\n{") and not calls and end.finish == stubs["inference"].FINISH_REASON_STOP


@pytest.mark.parametrize("fields, words", [
    ({"tools_json": "[{}]"}, ["tools[0].function"]),
    ({"tools_json": "["}, ["tools: 1:2"]),
    ({"tool_choice": "required"}, ["no tools"]),
    ({"tools_json": TOOLS, "tool_choice": "sing"}, ["'sing'"]),
    ({"tools_json": TOOLS, "tool_choice": "required", "regex": "x"}, ["tool_choice", "constraint"]),
    ({"tools_json": json.dumps([{"function": {"name": "f", "parameters": {"properties": {"x": {"not": {}}}}}}]), "tool_choice": "f"},
     ["'f'", "/properties/x/not"]),
    ({"template_args_json": '{"messages": []}'}, ["'messages'"]),
])
def test_refusals(ask, fields, words):
    with pytest.raises(grpc.RpcError) as refused:
        ask(**fields)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT, refused.value.details()
    for word in words:
        assert word in refused.value.details()


def test_what_goes_with_messages_only(service, stubs):
    with pytest.raises(grpc.RpcError) as refused:
        list(service.Generate(stubs["inference"].GenerateRequest(text="x", tools_json=TOOLS)))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "tools_json" in refused.value.details()


def test_a_file_whose_template_is_not_understood_says_so_at_the_start(tmp_path, stubs):
    """Text is served all the same; messages are refused with what is wrong and what can be done."""
    shape = tiny_llm.Shape()
    tiny_llm.write(tmp_path / "odd.gguf", shape, tiny_llm.weights(shape), {"tokenizer.chat_template": "a\n{% include 'x' %}"})
    port, process = start(tmp_path, "", model=tmp_path / "odd.gguf")
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(timeout=START_S)
        stub, inference = stubs["inference_grpc"].InferenceStub(channel), stubs["inference"]
        assert len(list(stub.Generate(inference.GenerateRequest(text="hello", max_tokens=2), timeout=60))) > 1
        with pytest.raises(grpc.RpcError) as refused:
            list(stub.Generate(inference.GenerateRequest(messages=inference.ChatMessages(messages=[message(stubs, "user", "q")]))))
    process.terminate()
    said = process.communicate(timeout=30)[1].decode()
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    for words in ("line 2", "include", "chat_template_file"):
        assert words in refused.value.details()
        assert any(words in line for line in said.splitlines() if "chat_template_unsupported" in line), said


def test_the_models_own_template_has_no_place_for_tools(tmp_path, stubs):
    port, process = start(tmp_path, "")
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(timeout=START_S)
        stub, inference = stubs["inference_grpc"].InferenceStub(channel), stubs["inference"]
        with pytest.raises(grpc.RpcError) as refused:
            list(stub.Generate(inference.GenerateRequest(
                messages=inference.ChatMessages(messages=[message(stubs, "user", "q")]), tools_json=TOOLS)))
    process.terminate()
    assert process.wait(30) == 0
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "tool_format" in refused.value.details()


@pytest.mark.parametrize("source, format, words", [
    ("{% include 'x' %}", "", ["t.jinja", "include", "line 1"]),
    (None, "", ["t.jinja", "No such file"]),
    ("{{ messages }}", "openai", ["'openai'", "hermes"]),
])
def test_a_template_that_is_not_understood_stops_the_start(tmp_path, source, format, words):
    if source:
        (tmp_path / "t.jinja").write_text(source)
    _, process = start(tmp_path, f'chat_template_file: "{tmp_path}/t.jinja"\ntool_format: "{format}"\n')
    said = process.communicate(timeout=START_S)[1].decode()
    assert process.returncode == 1
    for word in words:
        assert word in said, said


def test_inspect_tells_the_formats():
    def inspect(*words):
        done = subprocess.run([bin_dir() / "tollgate", "model", "inspect", "--json", *map(str, words), MODEL], capture_output=True, timeout=60)
        model = json.loads(done.stdout)["model"]
        return [model[key] for key in ("chat_template", "takes_tools", "tool_format", "reasoning_format")]
    assert inspect() == ["supported", False, "none", "none"]
    assert inspect("--chat-template", TEMPLATE) == ["supported", True, "hermes", "<think>"]
    assert inspect("--chat-template", TEMPLATE, "--tool-format", "llama3") == ["supported", True, "llama3", "<think>"]
