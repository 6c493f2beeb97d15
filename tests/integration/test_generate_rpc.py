"""Generate over gRPC, as an internal team calls it: choices, log-probabilities, echo, deadlines, and what is refused."""
import json
import math
import re
import time

import grpc
import pytest

from test_embed import start, START_S

PROMPT = "The capital of France is Paris. The capital of Italy is"


@pytest.fixture(scope="module")
def service(tmp_path_factory, stubs):
    port, process = start(tmp_path_factory.mktemp("generate"), "max_seqs: 4\nmax_queue: 6\n")
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(timeout=START_S)
        yield stubs["inference_grpc"].InferenceStub(channel)
    process.terminate()
    assert process.wait(30) == 0


@pytest.fixture
def ask(service, stubs):
    def call(**fields):
        """{choice: (deltas, end)} of a request"""
        inference = stubs["inference"]
        sampling = inference.Sampling(**fields.pop("sampling", {}))
        answers = {}
        for event in service.Generate(inference.GenerateRequest(sampling=sampling, **fields), timeout=120):
            kind = event.WhichOneof("event")
            if kind == "delta":
                answers.setdefault(event.delta.choice, ([], []))[0].append(event.delta)
            elif kind == "end":
                answers.setdefault(event.end.choice, ([], []))[1].append(event.end)
        assert all(len(ends) == 1 for _, ends in answers.values()), "not one end for each choice"
        return {choice: (deltas, ends[0]) for choice, (deltas, ends) in answers.items()}
    return call


def text_of(answer):
    return "".join(d.text for d in answer[0] if not d.prompt)


def test_choices(ask):
    hot = {"temperature": 0.9, "has_seed": True, "seed": 7}
    alone = ask(text=PROMPT, max_tokens=12, sampling=hot)
    many = ask(text=PROMPT, max_tokens=12, sampling=hot, n=4)
    assert sorted(many) == [0, 1, 2, 3]
    assert text_of(many[0]) == text_of(alone[0]), "choice 0 is not what n = 1 gives"
    assert len({text_of(answer) for answer in many.values()}) > 1
    prompt = alone[0][1].prompt_tokens
    assert all(end.prompt_tokens == prompt for _, end in many.values())
    assert all(end.cached_tokens == prompt - 1 for choice, (_, end) in many.items() if choice > 0)


def test_who_states_no_seed_is_told_one_that_gives_the_same_again(service, stubs):
    inference = stubs["inference"]

    def answer(**seed):
        events = list(service.Generate(inference.GenerateRequest(
            text=PROMPT, max_tokens=24, sampling=inference.Sampling(temperature=1.0, **seed)), timeout=120))
        assert events[0].WhichOneof("event") == "start"
        return events[0].start.seed, [token for e in events if e.WhichOneof("event") == "delta" for token in e.delta.token_ids]
    seed, tokens = answer()
    other, others = answer()
    assert seed != other and tokens != others, "two requests without a seed were drawn alike"
    assert answer(has_seed=True, seed=seed) == (seed, tokens)
    assert answer(has_seed=True, seed=0)[0] == 0, "a seed of 0 is a seed"


def test_logprobs(ask):
    deltas, end = ask(text=PROMPT, max_tokens=6, logprobs=True, top_logprobs=5)[0]
    told = [t for d in deltas for t in d.logprobs]
    assert len(told) == end.output_tokens and [t.token_id for t in told] == [i for d in deltas for i in d.token_ids]
    assert b"".join(t.token for t in told).decode() == "".join(d.text for d in deltas)
    for t in told:
        assert t.top[0].token_id == t.token_id and t.top[0].logprob == t.logprob, "greedy, and not the likeliest"
        assert [x.logprob for x in t.top] == sorted((x.logprob for x in t.top), reverse=True) and len(t.top) == 5
        assert sum(math.exp(x.logprob) for x in t.top) <= 1.0001
    assert ask(text=PROMPT, max_tokens=6, logprobs=True, top_logprobs=5)[0][0] == deltas, "not the same bits again"


def test_echo(ask, service, stubs):
    plain, echoed = ask(text=PROMPT, max_tokens=6)[0], ask(text=PROMPT, max_tokens=6, echo=True)[0]
    assert "".join(d.text for d in echoed[0] if d.prompt) == PROMPT and text_of(echoed) == text_of(plain)
    scored = ask(text=PROMPT, max_tokens=6, echo=True, logprobs=True)[0]
    told = [t for d in scored[0] if d.prompt for t in d.logprobs]
    count = service.CountTokens(stubs["inference"].CountTokensRequest(text=PROMPT)).tokens
    assert len(told) == count and told[0].unknown and not any(t.unknown for t in told[1:])
    assert b"".join(t.token for t in told).decode() == PROMPT and all(t.logprob <= 0 for t in told)
    italy = [t for t in told if t.token == b" Italy"]
    assert italy and italy[0].logprob > math.log(1e-4), "a capital's country is not that unlikely"


def test_the_beginning_of_an_answer(ask, stubs):
    inference = stubs["inference"]
    message = lambda role, content: inference.ChatMessage(role=role, content=content)
    chat = inference.ChatMessages(messages=[message("user", "What is the capital of France?"), message("assistant", "The capital of France is")])
    assert text_of(ask(messages=chat, max_tokens=8, continue_final_message=True)[0]).startswith(" Paris")
    with pytest.raises(grpc.RpcError) as refused:
        ask(text=PROMPT, max_tokens=1, continue_final_message=True)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "continue_final_message" in refused.value.details()


def test_constraints(ask, stubs):
    inference = stubs["inference"]
    constrain = lambda **kind: {"constraint": inference.Constraint(**kind)}
    choice = ask(text="Is water wet? Answer:", max_tokens=20, **constrain(choice=inference.StringList(values=["yes", "no"])))[0]
    assert text_of(choice) in ("yes", "no") and choice[1].finish == inference.FINISH_REASON_STOP
    date = ask(text="Today is ", max_tokens=20, **constrain(regex="20[0-9]{2}-[01][0-9]-[0-3][0-9]"))[0]
    assert re.fullmatch(r"20\d\d-[01]\d-[0-3]\d", text_of(date)), text_of(date)
    for seed in range(6):
        answer = ask(text="Ada is 36 and lives in London. As JSON: ", max_tokens=120,
                     sampling={"temperature": 1.0, "has_seed": True, "seed": seed}, **constrain(json_object=True))[0]
        if answer[1].finish == inference.FINISH_REASON_STOP:
            assert isinstance(json.loads(text_of(answer)), dict)
        else:
            assert answer[1].finish == inference.FINISH_REASON_LENGTH and text_of(answer).startswith("{")
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 0,
              "maximum": 150}, "city": {"enum": ["Paris", "London"]}}, "required": ["name", "age", "city"], "additionalProperties": False}
    for seed in range(3):
        answer = ask(text="Ada is 36 and lives in London. As JSON: ", max_tokens=150,
                     sampling={"temperature": 1.0, "has_seed": True, "seed": seed}, **constrain(json_schema=json.dumps(schema)))[0]
        told = json.loads(text_of(answer))
        assert answer[1].finish == inference.FINISH_REASON_STOP and list(told) == ["name", "age", "city"]
        assert len(told["name"]) <= 20 and 0 <= told["age"] <= 150 and told["city"] in ("Paris", "London")
    with pytest.raises(grpc.RpcError) as refused:
        ask(text="x", max_tokens=1, **constrain(json_schema='{"properties": {"a": {"not": {}}}}'))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "/properties/a/not" in refused.value.details()


@pytest.mark.parametrize("fields, code, words", [
    ({"n": 33}, grpc.StatusCode.INVALID_ARGUMENT, ["n is 33", "6"]),
    ({"top_logprobs": 3}, grpc.StatusCode.INVALID_ARGUMENT, ["top_logprobs is 3", "logprobs"]),
    ({"logprobs": True, "top_logprobs": 21}, grpc.StatusCode.INVALID_ARGUMENT, ["21", "20"]),
    ({"stop": ["x"] * 1000000}, grpc.StatusCode.INVALID_ARGUMENT, ["1000000 stop strings", "16"]),
    ({"deadline_unix_ms": 1000}, grpc.StatusCode.DEADLINE_EXCEEDED, ["deadline", "ago"]),
])
def test_refusals(ask, fields, code, words):
    with pytest.raises(grpc.RpcError) as refused:
        ask(text=PROMPT, max_tokens=4, **fields)
    assert refused.value.code() == code, refused.value.details()
    for word in words:
        assert word in refused.value.details()


NUL = "a\0b"


@pytest.mark.parametrize("method, fields, place", [
    ("Generate", lambda pb: {"text": NUL}, "text"),
    ("Generate", lambda pb: {"text": "x", "stop": ["y", NUL]}, "stop[1]"),
    ("Generate", lambda pb: {"text": "x", "tenant": NUL}, "tenant"),
    ("Generate", lambda pb: {"text": "x", "request_id": NUL}, "request_id"),
    ("Generate", lambda pb: {"text": "x", "constraint": pb.Constraint(regex=NUL)}, "constraint: regex"),
    ("Generate", lambda pb: {"text": "x", "constraint": pb.Constraint(json_schema="{}\0")}, "constraint: json_schema"),
    ("Generate", lambda pb: {"messages": pb.ChatMessages(messages=[pb.ChatMessage(role="user", content=NUL)])},
     "messages: messages[0]: content"),
    ("CountTokens", lambda pb: {"text": NUL}, "text"),
    ("Embed", lambda pb: {"inputs": ["x", NUL]}, "inputs[1]"),
])
def test_a_nul_byte_in_a_text_is_refused_and_not_cut_off(service, stubs, method, fields, place):
    inference = stubs["inference"]
    request = getattr(inference, f"{method}Request")(**fields(inference))
    with pytest.raises(grpc.RpcError) as refused:
        answer = getattr(service, method)(request, timeout=60)
        list(answer) if method == "Generate" else None
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == f"{place}: a text must not hold a NUL byte"


def test_a_nul_byte_that_the_model_writes(ask, stubs):
    inference = stubs["inference"]
    told = ask(text="x", max_tokens=8, logprobs=True, constraint=inference.Constraint(regex=r"a\x00b"))[0]
    assert text_of(told) == "a\N{REPLACEMENT CHARACTER}b" and told[1].finish == inference.FINISH_REASON_STOP
    assert b"".join(t.token for d in told[0] for t in d.logprobs) == b"a\0b", "the token's bytes are not its own"
    nul = next(t.token_id for d in told[0] for t in d.logprobs if t.token == b"\0")
    echoed = ask(tokens=inference.TokenIds(ids=[nul] * 400), max_tokens=1, echo=True)[0]
    assert "".join(d.text for d in echoed[0] if d.prompt) == "\N{REPLACEMENT CHARACTER}" * 400


def test_deadline_ends_what_runs(service, stubs):
    inference = stubs["inference"]
    call = service.Generate(inference.GenerateRequest(text=PROMPT, max_tokens=100000, min_tokens=100000,
                                                      deadline_unix_ms=int(time.time() * 1000) + 700), timeout=60)
    events = []
    with pytest.raises(grpc.RpcError) as ended:
        for event in call:
            events.append(event)
    assert ended.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED and "deadline_unix_ms" in ended.value.details()
    assert events[-1].end.finish == inference.FINISH_REASON_DEADLINE
    assert events[-1].end.output_tokens == sum(len(e.delta.token_ids) for e in events)


def test_full_queue_says_when_to_come_back(service, stubs):
    inference = stubs["inference"]
    request = inference.GenerateRequest(text=PROMPT, max_tokens=60, min_tokens=60, n=5)
    calls = [service.Generate(request, timeout=120) for _ in range(8)]
    codes = []
    for call in calls:
        try:
            for _ in call:
                pass
            codes.append(grpc.StatusCode.OK)
        except grpc.RpcError as error:
            codes.append(error.code())
            wait = dict(error.trailing_metadata())["retry-after-ms"]
            assert 50 <= int(wait) <= 30000
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}, codes


def heavy(i):
    """Takes all the work a regular expression may take, and is refused for it."""
    return "((a?){200}){%d}" % (200 + i)


def test_a_constraint_that_many_want_is_compiled_once(service, stubs):
    """More requests than constraints may wait: all get its one result."""
    inference = stubs["inference"]
    calls = [service.Generate(inference.GenerateRequest(text=PROMPT, max_tokens=8, tenant="fleet", constraint=inference.Constraint(
        regex=heavy(100))), timeout=300) for _ in range(40)]
    calls[0].cancel()  # who asked first need not stay
    said = {(call.code(), call.details()) for call in calls[1:]}
    assert len(said) == 1, said
    (code, details), = said
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "steps" in details


def test_constraints_that_take_long_to_compile_hold_up_nobody_else(service, stubs):
    inference = stubs["inference"]

    def ask(tenant, regex):
        return service.Generate(inference.GenerateRequest(
            text=PROMPT, max_tokens=8, tenant=tenant, constraint=inference.Constraint(regex=regex)), timeout=300)

    def done():
        return [call for call in hostile if call.done()]

    hostile = [ask("mallory", heavy(i)) for i in range(16)]  # one is compiled, 8 wait, the others are too many
    while not any(call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED for call in done()):
        assert len(done()) < len(hostile), [call.details() for call in hostile]
        time.sleep(0.01)
    refused = next(call for call in done() if call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert refused.details() == "8 constraints of this tenant wait to be compiled"
    assert int(dict(refused.trailing_metadata())["retry-after-ms"]) >= 50
    assert service.CountTokens(inference.CountTokensRequest(text="a"), timeout=60).tokens == 1
    before = len(done())
    assert before < len(hostile), "the loop compiled them all before it counted tokens"
    good = ask("acme", "[0-9]{4}")
    assert next(good).WhichOneof("event") == "start"
    assert len(done()) <= before + 2, "another tenant's constraint had to wait for more than the one under way"
    assert re.fullmatch("[0-9]{4}", "".join(e.delta.text for e in good if e.WhichOneof("event") == "delta"))
    for call in hostile[1:]:
        call.cancel()
    with pytest.raises(grpc.RpcError) as error:
        list(ask("mallory", heavy(0)))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "steps" in error.value.details()
