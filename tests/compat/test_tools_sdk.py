"""Tools with OpenAI's SDK through the router to the engine: calls that are required, their results in the next turn, streamed and
plain, and the same fields on their way to the other providers."""
import json
import re

import anthropic
import grpc
import openai
import pytest

from mesh import ROOT, Mesh

PRIVATE = "private-gpu-llama-70b"
TEMPLATE = ROOT / "tests" / "compat" / "templates" / "chatml_tools.jinja"
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "The weather", "parameters": {
    "type": "object", "required": ["city", "days"], "additionalProperties": False, "properties": {
        "city": {"type": "string", "pattern": "^[A-Z][a-z]{2,8}$"}, "days": {"type": "integer", "minimum": 1, "maximum": 9}}}}}
CLOCK = {"type": "function", "function": {"name": "clock"}}
ASK = [{"role": "user", "content": "Is it cold in Oslo?"}]


@pytest.fixture(scope="module")
def mesh(tmp_path_factory, kafka):
    mesh = Mesh(tmp_path_factory.mktemp("tools"), kafka=kafka.bootstrap, env={"TOLLGATE_CHAT_TEMPLATE": str(TEMPLATE)})
    kafka.create_topics(f"{mesh.topic}:1")
    yield mesh.up()
    mesh.down()


@pytest.fixture
def client(mesh):
    return openai.OpenAI(base_url=f"{mesh.url}/v1", api_key=mesh.key(), max_retries=0, default_headers={"X-Task-Type": "chat"})


def check_weather(call):
    assert re.fullmatch("[0-9A-Za-z]{9}", call.id) and call.type == "function" and call.function.name == "get_weather"
    arguments = json.loads(call.function.arguments)
    assert sorted(arguments) == ["city", "days"] and 1 <= arguments["days"] <= 9 and re.fullmatch("[A-Z][a-z]+", arguments["city"])


def test_a_call_and_its_result(client):
    answer = client.chat.completions.create(model=PRIVATE, messages=ASK, tools=[WEATHER, CLOCK], max_tokens=60, temperature=0,
                                            tool_choice={"type": "function", "function": {"name": "get_weather"}})
    choice, = answer.choices
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    call, = choice.message.tool_calls
    check_weather(call)
    turn = ASK + [choice.message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": '{"t": -3}'}]
    told = client.chat.completions.create(model=PRIVATE, messages=turn, tools=[WEATHER], tool_choice="none", max_tokens=8)
    assert told.choices[0].message.content and not told.choices[0].message.tool_calls
    assert told.usage.prompt_tokens > 40


def test_streamed(client):
    stream = client.chat.completions.create(model=PRIVATE, messages=ASK, tools=[WEATHER, CLOCK], tool_choice="required", max_tokens=60,
                                            temperature=1, seed=3, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    pieces = [t for c in chunks if c.choices for t in c.choices[0].delta.tool_calls or []]
    assert not "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert pieces[0].id and pieces[0].function.name in ("get_weather", "clock") and not any(p.id for p in pieces[1:])
    assert isinstance(json.loads("".join(p.function.arguments or "" for p in pieces)), dict) and {p.index for p in pieces} == {0}
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "tool_calls"
    assert chunks[-1].usage.completion_tokens > 0


def asked_before(city, call_id):
    calls = [{"id": call_id, "type": "function", "function": {"name": "get_weather", "arguments": json.dumps({"city": city})}}]
    return [{"role": "user", "content": f"What is the weather in {city}?"}, {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": call_id, "content": "Cold"}, {"role": "assistant", "content": f"It is cold in {city}."}]


TURN = [m for i, city in enumerate(["Rome", "Paris", "Berlin"]) for m in asked_before(city, f"call0000{i}")] + [
    {"role": "user", "content": "What is the weather in Oslo?"}]


def test_a_call_of_the_models_own_accord(client):
    """It calls as it did before, but its arguments are those of the schema, which has changed since: "days" is new, and comes second."""
    ask = {"model": PRIVATE, "messages": TURN, "tools": [WEATHER, CLOCK], "max_tokens": 60, "temperature": 0, "seed": 5,
           "parallel_tool_calls": False}
    choice, = client.chat.completions.create(**ask).choices
    assert choice.finish_reason == "tool_calls", choice
    call, = choice.message.tool_calls
    check_weather(call)
    pieces = [t for c in client.chat.completions.create(stream=True, **ask) if c.choices for t in c.choices[0].delta.tool_calls or []]
    assert "".join(p.function.arguments or "" for p in pieces) == call.function.arguments and pieces[0].id == call.id


def test_one_call_for_every_client(mesh, client, stubs):
    """The answer ends within the call, whichever way it is asked for."""
    tools = [WEATHER, CLOCK]
    plain = client.chat.completions.create(model=PRIVATE, messages=TURN, tools=tools, max_tokens=60, temperature=0)
    one = client.chat.completions.create(model=PRIVATE, messages=TURN, tools=tools, max_tokens=60, temperature=0, parallel_tool_calls=False)
    assert one.usage.completion_tokens < plain.usage.completion_tokens
    inference, router = stubs["inference"], stubs["router"]
    messages = [inference.ChatMessage(role=m["role"], content=m["content"] or "", tool_call_id=m.get("tool_call_id", ""),
                                      tool_calls_json=json.dumps(m["tool_calls"]) if "tool_calls" in m else "") for m in TURN]
    with grpc.insecure_channel(mesh.env["TOLLGATE_GRPC"]) as channel:
        answer = stubs["router_grpc"].RouterStub(channel).Chat(router.ChatRequest(
            model=PRIVATE, messages=messages, tools_json=json.dumps(tools), max_tokens=60, has_temperature=True, one_tool_call=True,
            task_type="chat"), metadata=[("authorization", f"Bearer {mesh.key()}")], timeout=60)
    assert answer.finish == inference.FINISH_REASON_TOOL_CALLS and answer.usage.output_tokens == one.usage.completion_tokens
    assert answer.tool_calls[0].arguments == one.choices[0].message.tool_calls[0].function.arguments
    anthropics = anthropic.Anthropic(base_url=mesh.url, api_key=mesh.key(), max_retries=0, default_headers={"X-Task-Type": "chat"})
    blocks = {"user": lambda m: {"role": "user", "content": m["content"]},
              "tool": lambda m: {"role": "user", "content": [
                  {"type": "tool_result", "tool_use_id": m["tool_call_id"], "content": m["content"]}]},
              "assistant": lambda m: {"role": "assistant", "content": m["content"] or [
                  {"type": "tool_use", "id": c["id"], "name": c["function"]["name"], "input": json.loads(c["function"]["arguments"])}
                  for c in m["tool_calls"]]}}
    said = anthropics.messages.create(
        model=PRIVATE, messages=[blocks[m["role"]](m) for m in TURN], max_tokens=60, extra_body={"temperature": 0},
        tools=[{"name": t["function"]["name"], "input_schema": t["function"].get("parameters", {"type": "object"})} for t in tools],
        tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    assert said.stop_reason == "tool_use" and [b.type for b in said.content] == ["tool_use"]
    assert said.usage.output_tokens < plain.usage.completion_tokens


@pytest.mark.parametrize("model", ["openai-gpt4o-mini", "anthropic-claude-haiku", "bedrock-llama-3-70b"])
def test_other_targets_take_them(client, model):
    calls = [{"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}]
    turn = ASK + [{"role": "assistant", "tool_calls": calls}, {"role": "tool", "tool_call_id": "call_1", "content": "noon"}]
    answer = client.chat.completions.create(model=model, messages=turn, tools=[WEATHER, CLOCK], max_tokens=12)
    assert answer.choices[0].message.content


def test_what_cannot_be_held_to_is_named(client):
    odd = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"x": {"not": {}}}}}}
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(model=PRIVATE, messages=ASK, tools=[odd], tool_choice="required", max_tokens=9)
    assert "not" in str(refused.value) and "/properties/x" in str(refused.value)


def test_anthropics_sdk(mesh):
    client = anthropic.Anthropic(base_url=mesh.url, api_key=mesh.key(), max_retries=0, default_headers={"X-Task-Type": "chat"})
    tools = [{"name": "get_weather", "description": "The weather", "input_schema": WEATHER["function"]["parameters"]}]
    with client.messages.stream(model=PRIVATE, messages=ASK, max_tokens=60, tools=tools, tool_choice={"type": "any"}) as stream:
        answer = stream.get_final_message()
    use, = answer.content
    assert answer.stop_reason == "tool_use" and use.type == "tool_use" and use.name == "get_weather" and 1 <= use.input["days"] <= 9
    turn = ASK + [{"role": "assistant", "content": [use.model_dump(include={"type", "id", "name", "input"})]},
                  {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "cold"}]}]
    told = client.messages.create(model=PRIVATE, messages=turn, max_tokens=8, tools=tools, tool_choice={"type": "none"})
    assert told.content[0].text and told.stop_reason in ("end_turn", "max_tokens")
