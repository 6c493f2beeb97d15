"""The official SDKs against the stand-ins directly: they must be right before anything stands between."""
import datetime
import json
import re
import socket

import anthropic
import botocore.exceptions
import httpx
import httpx2
import openai
import pytest
import urllib3.exceptions
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from standins import AWS_ACCESS, AWS_SECRET, OPENAI_KEY, START_S, StandIns

TEXT = "Say hello, please."  # 18 bytes: 5 tokens
MESSAGES = [{"role": "user", "content": TEXT}]
LLAMA = "meta.llama3-70b-instruct-v1:0"
BROKEN = (openai.APIConnectionError, anthropic.APIConnectionError, httpx2.HTTPError,  # a body without its end
          botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, urllib3.exceptions.HTTPError)
ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.meta.llama3-3-70b-instruct-v1:0"


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    running = StandIns(tmp_path_factory.mktemp("standins"))
    yield running
    running.stop()


@pytest.fixture
def standins(process):
    process.clear()
    yield process
    process.clear()


def ask_openai(client, **more):
    return client.chat.completions.create(**{"model": "gpt-4o-mini", "messages": MESSAGES} | more)


def stream_openai(client, **more):
    return list(ask_openai(client, stream=True, stream_options={"include_usage": True}, **more))


def text_of(chunks):
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def ask_anthropic(client, **more):
    return client.messages.create(**{"model": "claude-3-haiku", "max_tokens": 300, "messages": MESSAGES} | more)


def ask_bedrock(client, stream=False, model=LLAMA, **more):
    ask = client.converse_stream if stream else client.converse
    return ask(modelId=model, messages=[{"role": "user", "content": [{"text": TEXT}]}], **more)


# ---- plain answers, streams, usage ----


@pytest.mark.parametrize("tls", [False, True])
def test_openai_plain(standins, tls):
    answer = ask_openai(standins.openai(tls=tls), max_tokens=10)
    assert len(answer.choices[0].message.content.split()) == 10 == answer.usage.completion_tokens
    assert answer.choices[0].finish_reason == "length" and answer.model == "gpt-4o-mini"
    assert answer.usage.total_tokens == 15 and answer.service_tier == "default"
    entry = standins.last()
    assert (entry["dialect"], entry["model"], entry["status"]) == ("openai", "gpt-4o-mini", 200)
    assert (entry["input_tokens"], entry["output_tokens"]) == (5, 10)
    assert entry["finished"] and entry["request_id"] == answer._request_id
    assert TEXT not in json.dumps(entry) and OPENAI_KEY not in json.dumps(entry) and len(entry["key"]) == 12


@pytest.mark.parametrize("tls", [False, True])
def test_openai_stream(standins, tls):
    client = standins.openai(tls=tls)
    assert not any(c.usage for c in ask_openai(client, stream=True))
    assert standins.last()["reported_output_tokens"] is None
    chunks = stream_openai(client)
    words = len(text_of(chunks).split())
    assert 24 <= words <= 64
    assert chunks[0].choices[0].delta.role == "assistant" and chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens == words == standins.last()["output_tokens"]
    assert len(chunks) == words + 3  # role, words, finish, usage
    assert stream_openai(client, max_completion_tokens=3)[-2].choices[0].finish_reason == "length"


def test_openai_lists_models(standins):
    assert "gpt-4o-mini" in [m.id for m in standins.openai().models.list()]
    assert standins.anthropic().models.list().data[0].type == "model"


@pytest.mark.parametrize("tls", [False, True])
def test_anthropic_plain_and_stream(standins, tls):
    client = standins.anthropic(tls=tls)
    answer = ask_anthropic(client, max_tokens=8, system="Be kind.")
    assert answer.stop_reason == "max_tokens" and answer.usage.output_tokens == 8
    assert answer.usage.input_tokens == standins.last()["input_tokens"] == 7
    assert standins.last()["request_id"] == answer._request_id
    with client.messages.stream(model="claude-3-haiku", max_tokens=300, messages=MESSAGES) as stream:
        events = [event.type for event in stream]
        final = stream.get_final_message()
    assert events[0] == "message_start" and events[-1] == "message_stop"
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens == len(final.content[0].text.split()) == standins.last()["output_tokens"]


def test_anthropic_counts_tokens(standins):
    count = standins.anthropic().messages.count_tokens(model="c", messages=MESSAGES, system="Be kind.")
    assert count.input_tokens == 7


def test_anthropic_cache_tokens_come_on_top(standins):
    system = [{"type": "text", "text": "x" * 400, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    first = ask_anthropic(standins.anthropic(), system=system).usage
    second = ask_anthropic(standins.anthropic(), system=system).usage
    assert (first.input_tokens, first.cache_creation_input_tokens, first.cache_read_input_tokens) == (5, 100, 0)
    assert first.cache_creation.ephemeral_1h_input_tokens == 100
    assert (second.input_tokens, second.cache_creation_input_tokens, second.cache_read_input_tokens) == (5, 0, 100)
    assert standins.last()["cache_read_tokens"] == 100


def test_openai_cached_and_reasoning_tokens_are_parts(standins):
    standins.fault("openai", {"cache_read": 40, "reasoning_tokens": 7, "tokens": 10, "tier": "flex"})
    answer = ask_openai(standins.openai())
    assert answer.usage.prompt_tokens == 45 and answer.usage.prompt_tokens_details.cached_tokens == 40
    assert answer.usage.completion_tokens == 17
    assert answer.usage.completion_tokens_details.reasoning_tokens == 7 and answer.service_tier == "flex"
    assert (standins.last()["input_tokens"], standins.last()["cache_read_tokens"]) == (5, 40)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("model", [LLAMA, ARN])
def test_bedrock_plain_and_stream(standins, tls, model):
    client = standins.bedrock(tls=tls)
    conf = {"inferenceConfig": {"maxTokens": 10}}
    answer = ask_bedrock(client, model=model, **conf)
    assert len(answer["output"]["message"]["content"][0]["text"].split()) == answer["usage"]["outputTokens"] == 10
    assert standins.last()["request_id"] == answer["ResponseMetadata"]["RequestId"]
    events = list(ask_bedrock(client, stream=True, model=model, **conf)["stream"])
    text = "".join(e["contentBlockDelta"]["delta"]["text"] for e in events if "contentBlockDelta" in e)
    assert text == answer["output"]["message"]["content"][0]["text"]
    assert "messageStart" in events[0] and events[-2]["messageStop"]["stopReason"] == "max_tokens"
    assert events[-1]["metadata"]["usage"] == answer["usage"]
    entry = standins.last()
    assert entry["model"] == model and (entry["input_tokens"], entry["output_tokens"]) == (5, 10)


def test_answers_depend_on_seed_and_body_alone(standins, tmp_path):
    def words(where, content=TEXT):
        return ask_openai(where.openai(), messages=[{"role": "user", "content": content}]).choices[0].message.content
    same, other = StandIns(tmp_path), None
    try:
        assert words(standins) == words(standins) == words(same)
        assert words(standins) != words(standins, "Something else.")
        other = StandIns(tmp_path, seed=8)
        assert words(other) != words(standins)
    finally:
        for one in filter(None, (same, other)):
            one.stop()


# ---- errors ----


def test_openai_errors(standins):
    with pytest.raises(openai.AuthenticationError) as caught:
        ask_openai(standins.openai(key="wrong"))
    assert caught.value.code == "invalid_api_key" and standins.last()["status"] == 401
    standins.fault("openai", {"status": 429, "reset_s": 366.5})
    with pytest.raises(openai.RateLimitError) as caught:
        ask_openai(standins.openai())
    headers = caught.value.response.headers
    assert headers["retry-after"] == "367" and headers["retry-after-ms"] == "366500"
    assert headers["x-ratelimit-remaining-requests"] == "0" and headers["x-ratelimit-reset-requests"] == "6m6.5s"
    assert caught.value.code == "rate_limit_exceeded"
    standins.fault("openai", {"status": 429, "code": "insufficient_quota", "retry_after": False})
    with pytest.raises(openai.RateLimitError) as caught:
        ask_openai(standins.openai())
    assert caught.value.type == "insufficient_quota" and "retry-after" not in caught.value.response.headers
    for status in (500, 503):
        standins.fault("openai", {"status": status})
        with pytest.raises(openai.InternalServerError):
            ask_openai(standins.openai())
    entry = standins.last()
    assert (entry["status"], entry["input_tokens"], entry["output_tokens"], entry["fault"]) == (503, 0, 0, True)


@pytest.mark.parametrize("body, status", [
    ("{", 400), ("[]", 400), ('{"model":"m"}', 400), ('{"messages":[{"role":"user","content":"x"}]}', 400),
    ('{"model":"m","model":"n","messages":[{"role":"user","content":"x"}]}', 400),
    ('{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":0}', 400)])
def test_openai_refuses_bad_bodies(standins, body, status):
    answer = httpx.post(f"{standins.http}/v1/chat/completions", content=body,
                        headers={"authorization": f"Bearer {OPENAI_KEY}"})
    assert answer.status_code == status and answer.json()["error"]["type"] == "invalid_request_error"


def test_anthropic_errors(standins):
    with pytest.raises(anthropic.AuthenticationError):
        ask_anthropic(standins.anthropic(key="wrong"))
    standins.fault("anthropic", {"status": 529})
    with pytest.raises(anthropic.APIStatusError) as caught:
        ask_anthropic(standins.anthropic())
    assert caught.value.status_code == 529 and caught.value.body["error"]["type"] == "overloaded_error"
    assert caught.value.body["request_id"] == standins.last()["request_id"]
    before = datetime.datetime.now(datetime.timezone.utc)
    standins.fault("anthropic", {"status": 429, "reset_s": 30})
    with pytest.raises(anthropic.RateLimitError) as caught:
        ask_anthropic(standins.anthropic())
    headers = caught.value.response.headers
    assert headers["anthropic-ratelimit-requests-remaining"] == "0" and headers["retry-after"] == "30"
    reset = datetime.datetime.fromisoformat(headers["anthropic-ratelimit-requests-reset"])
    assert 25 < (reset - before).total_seconds() < 45
    answer = standins.post({"model": "c"}, path="/v1/messages")
    assert answer.status_code == 401  # that was another dialect's key


def test_anthropic_wants_its_version_and_max_tokens(standins):
    headers = {"x-api-key": "sk-ant-standin"}
    answer = standins.post({"model": "c", "max_tokens": 5, "messages": MESSAGES}, headers, "/v1/messages")
    assert answer.status_code == 400 and "anthropic-version" in answer.json()["error"]["message"]
    answer = standins.post({"model": "c", "messages": MESSAGES}, headers | {"anthropic-version": "2023-06-01"},
                           "/v1/messages")
    assert answer.status_code == 400 and answer.json()["error"]["type"] == "invalid_request_error"


def bedrock_error(client, **more):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        ask_bedrock(client, **more)
    return caught.value.response["ResponseMetadata"]["HTTPStatusCode"], caught.value.response["Error"]["Code"]


def test_bedrock_errors(standins):
    assert bedrock_error(standins.bedrock(secret="wrong")) == (403, "InvalidSignatureException")
    assert bedrock_error(standins.bedrock(access="AKIAOTHER")) == (403, "UnrecognizedClientException")
    standins.fault("bedrock", {"status": 429})
    assert bedrock_error(standins.bedrock()) == (429, "ThrottlingException")
    standins.fault("bedrock", {"status": 503})
    assert bedrock_error(standins.bedrock(), stream=True) == (503, "ServiceUnavailableException")
    standins.fault("bedrock", {"status": 429, "code": "ModelNotReadyException"})
    assert bedrock_error(standins.bedrock()) == (429, "ModelNotReadyException")


def signed(standins, path, body, when=None, sign_body=None):
    """A request signed by botocore, as of `when`, over `sign_body`; sent with `body`."""
    request = AWSRequest("POST", standins.http + path, data=sign_body or body,
                         headers={"content-type": "application/json"})

    class Signer(SigV4Auth):
        def add_auth(self, what):
            what.context["timestamp"] = (when or datetime.datetime.now(datetime.timezone.utc)).strftime(
                "%Y%m%dT%H%M%SZ")
            what.headers["X-Amz-Date"] = what.context["timestamp"]
            what.headers["Authorization"] = None
            del what.headers["Authorization"]
            self._inject_signature_to_request(what, self.signature(self.string_to_sign(
                what, self.canonical_request(what)), what))

    Signer(Credentials(AWS_ACCESS, AWS_SECRET), "bedrock", "us-east-1").add_auth(request)
    return httpx.post(standins.http + path, content=body, headers=dict(request.headers.items()))


def test_bedrock_signatures_cover_path_body_and_date(standins):
    path, body = f"/model/{LLAMA.replace(':', '%3A')}/converse", json.dumps(
        {"messages": [{"role": "user", "content": [{"text": TEXT}]}]})
    now = datetime.datetime.now(datetime.timezone.utc)
    assert signed(standins, path, body).status_code == 200
    assert signed(standins, path, body, now - datetime.timedelta(minutes=4)).status_code == 200
    for answer, why in ((signed(standins, path, body, now - datetime.timedelta(minutes=6)), "expired"),
                        (signed(standins, path, body, now + datetime.timedelta(minutes=6)), "not yet"),
                        (signed(standins, path, body, sign_body=body + " "), "does not match"),
                        (standins.post({}, {"authorization": ""}, path), "requires"),
                        (httpx.post(standins.http + path, content=body), "Missing")):
        assert answer.status_code == 403 and why in answer.json()["message"], answer.text
        assert answer.headers["x-amzn-errortype"].split(":")[0].endswith("Exception")


# ---- limits ----


def test_rate_limit_headers_count_down(standins):
    left = []
    for _ in range(2):
        headers = standins.post({"model": "counting", "messages": MESSAGES}).headers
        left.append(int(headers["x-ratelimit-remaining-requests"]))
        assert re.fullmatch(r"\d+ms|(\d+h)?(\d+m)?[\d.]+s", headers["x-ratelimit-reset-requests"])
        assert int(headers["x-ratelimit-limit-tokens"]) >= int(headers["x-ratelimit-remaining-tokens"])
    assert left[1] <= left[0]


def test_limits_are_enforced_on_demand(standins):
    standins.limits("openai", rpm=2, tpm=1000, enforce=True)
    try:
        body = {"model": "limited", "messages": MESSAGES, "max_tokens": 10}
        assert [standins.post(body).status_code for _ in range(3)] == [200, 200, 429]
        answer = standins.post(body)
        assert 0 < int(answer.headers["retry-after"]) <= 30 and standins.last()["status"] == 429
        assert standins.post(body | {"model": "another"}).status_code == 200
        assert standins.post(body | {"model": "a third", "max_tokens": 2000}).status_code == 429
    finally:
        standins.limits("openai", rpm=1000000, tpm=1000000000, enforce=False)


# ---- faults in answers ----


def test_faults_of_usage_and_model(standins):
    client = standins.openai()
    standins.fault("openai", {"model": "gpt-4o-2099", "tokens": 3, "usage_delta": 100, "input_delta": -1})
    chunks = stream_openai(client)
    assert chunks[0].model == "gpt-4o-2099"
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (4, 103)
    entry = standins.last()
    assert (entry["input_tokens"], entry["output_tokens"]) == (5, 3)
    assert (entry["reported_input_tokens"], entry["reported_output_tokens"]) == (4, 103)
    standins.fault("*", {"no_usage": True}, count=3)
    assert ask_openai(client).usage is None
    assert not any(c.usage for c in stream_openai(client))
    assert "usage" not in list(ask_bedrock(standins.bedrock(), stream=True)["stream"])[-1]["metadata"]
    assert ask_openai(client).usage


def test_faults_choose_their_requests(standins):
    standins.fault("openai", {"status": 503}, count=-1, model="broken")
    standins.fault("openai", {"status": 429}, model="broken")  # the newest first
    ask = {"messages": MESSAGES}
    assert [standins.post(ask | {"model": m}).status_code for m in ("broken", "broken", "broken", "fine")] == [
        429, 503, 503, 200]
    assert [rule["hits"] for rule in standins.admin.get("/faults").json()] == [2, 1]
    own = {"x-standin-fault": '{"status": 500}'}
    assert standins.post(ask | {"model": "fine"}, own).status_code == 500
    assert standins.post(ask | {"model": "fine"}, {"x-standin-fault": '{"statsu": 500}'}).status_code == 400
    standins.fault("openai", {"status": 500}, count=-1, model="flaky", percent=50)
    seen = [standins.post(ask | {"model": "flaky"}).status_code for _ in range(40)]
    assert 5 < seen.count(500) < 35


@pytest.mark.parametrize("rule", [
    {}, {"dialect": "azure", "fault": {}}, {"dialect": "*", "fault": {"stats": 500}}, {"dialect": "*", "fault": 1},
    {"dialect": "*", "fault": {"status": 200}}, {"dialect": "*", "count": -2, "fault": {}},
    {"dialect": "*", "fault": {"write": "some"}}])
def test_admin_refuses_wrong_rules(standins, rule):
    answer = standins.admin.post("/faults", json=rule)
    assert answer.status_code == 400 and answer.json()["error"]
    assert standins.admin.get("/faults").json() == []


def test_cut_streams_are_noticed_by_every_sdk(standins):
    standins.fault("*", {"cut_at_byte": 600}, count=-1)
    with pytest.raises(BROKEN):
        stream_openai(standins.openai())
    with pytest.raises(BROKEN):
        list(ask_anthropic(standins.anthropic(), stream=True))
    with pytest.raises(BROKEN):
        list(ask_bedrock(standins.bedrock(), stream=True)["stream"])
    standins.fault("*", {"cut_at_byte": 20})
    assert "output" not in ask_bedrock(standins.bedrock())  # boto3 takes a short plain body for an empty one
    for entry in standins.log()[-4:-1]:
        assert entry["end"] == "cut" and not entry["finished"] and entry["bytes_sent"] == 600
        assert entry["output_tokens"] - entry["tokens_sent"] in (0, 1) and entry["output_tokens"] < 20
    assert standins.last()["bytes_sent"] == 20


@pytest.mark.parametrize("at", [0, 1, 226, 500])
def test_cut_is_exact(standins, at):
    standins.fault("openai", {"cut_at_byte": at})
    received = b""
    with pytest.raises(httpx.RemoteProtocolError):
        with httpx.stream("POST", f"{standins.http}/v1/chat/completions",
                          json={"model": "m", "stream": True, "messages": MESSAGES},
                          headers={"authorization": f"Bearer {OPENAI_KEY}"}) as response:
            for part in response.iter_raw():
                received += part
    assert len(received) == at


def test_error_inside_a_stream(standins):
    standins.fault("*", {"error_after": 3}, count=3)
    with pytest.raises(openai.APIError):
        stream_openai(standins.openai())
    with pytest.raises(anthropic.APIStatusError) as caught:
        list(ask_anthropic(standins.anthropic(), stream=True))
    assert "overloaded_error" in str(caught.value.body)
    with pytest.raises(botocore.exceptions.EventStreamError):
        list(ask_bedrock(standins.bedrock(), stream=True)["stream"])
    for entry in standins.log()[-3:]:
        assert (entry["end"], entry["finished"], entry["output_tokens"]) == ("error", False, 3)


def raw_request(body, more=""):
    data = json.dumps(body)
    return (f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {OPENAI_KEY}\r\n{more}"
            f"content-length: {len(data)}\r\n\r\n{data}").encode()


def test_slow_answers(standins):
    fault = {"slow_first_ms": 150, "slow_token_ms": 10, "tokens": 11}
    standins.fault("openai", fault, count=2)
    ask_openai(standins.openai())
    assert standins.last()["duration_us"] >= 250_000
    stream_openai(standins.openai())
    assert standins.last()["duration_us"] >= 250_000
    standins.fault("openai", fault | {"slow_headers_ms": 100, "write": "all"})
    with standins.connect() as client:
        client.sendall(raw_request({"model": "m", "stream": True, "messages": MESSAGES}))
        first = client.recv(1 << 16)
    assert first.startswith(b"HTTP/1.1 200") and first.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


def test_client_that_leaves_is_noticed(standins):
    count = len(standins.log())
    standins.fault("openai", {"slow_token_ms": 20, "tokens": 5000})
    stream = ask_openai(standins.openai(), stream=True)
    for _ in range(5):
        next(iter(stream))
    stream.close()
    entry = standins.logged(count + 1)
    assert (entry["end"], entry["finished"], entry["status"]) == ("client_gone", False, 200)
    assert 4 <= entry["output_tokens"] < 1000 and entry["output_tokens"] == entry["tokens_sent"]


def test_stalled_stream(standins):
    count = len(standins.log())
    standins.fault("openai", {"stall_after": 2}, count=2)
    with pytest.raises(openai.APITimeoutError):
        list(ask_openai(standins.openai(timeout=0.5), stream=True))
    entry = standins.logged(count + 1)
    assert (entry["end"], entry["output_tokens"]) == ("stalled", 2)
    with pytest.raises(openai.APITimeoutError):
        ask_openai(standins.openai(timeout=0.5))
    assert standins.logged(count + 2)["tokens_sent"] == 0


# ---- HTTP ----


def read_to_end(client):
    data = b""
    while part := client.recv(1 << 16):
        data += part
    return data


def test_pipelining_keeps_the_order(standins):
    wanted = [{"model": f"m{i}", "messages": MESSAGES} for i in range(3)]
    standins.fault("openai", {"slow_first_ms": 50}, model="m0")
    with standins.connect() as client:
        client.sendall(b"".join(raw_request(body) for body in wanted[:2]) +
                       raw_request(wanted[2], "connection: close\r\n"))
        data = read_to_end(client).decode()
    assert re.findall(r'"model":"(\w+)"', data) == ["m0", "m1", "m2"]


def test_large_answers_wait_for_slow_readers(standins):
    """More than the sockets hold: the stand-in has to stop in the middle and go on."""
    standins.fault("openai", {"tokens": 20000}, count=4)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.connect(("127.0.0.1", standins.port))
        client.sendall(b"".join(raw_request({"model": "m", "stream": True, "messages": MESSAGES}, more)
                                for more in ("", "", "", "connection: close\r\n")))
        assert standins.post({"model": "m2", "messages": MESSAGES}, {"x-standin-fault": "{}"}).status_code == 200
        assert standins.admin.get("/stats").json()["openai"]["in_flight"] == 1
        data = read_to_end(client)
    assert data.count(b'"delta":{"content":"') == 4 * 20000
    assert data.count(b"data: [DONE]") == 4 and data.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("request_bytes, status", [
    (b"nonsense\r\n\r\n", 400),
    (b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 99000000\r\n\r\n", 413),
    (b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 70000 + b"\r\n\r\n", 413),
    (b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n", 400),
    (b"GET /nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 404)])
def test_requests_that_are_none(standins, request_bytes, status):
    with standins.connect() as client:
        client.sendall(request_bytes)
        assert read_to_end(client).split()[1] == str(status).encode()


def test_expect_continue_and_http10(standins):
    body = {"model": "m", "stream": True, "messages": MESSAGES}
    with standins.connect() as client:
        head, data = raw_request(body, "expect: 100-continue\r\n").split(b"\r\n\r\n")
        client.sendall(head + b"\r\n\r\n")
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(data)
        assert client.recv(12) == b"HTTP/1.1 200"
    with standins.connect() as client:
        client.sendall(raw_request(body).replace(b"HTTP/1.1", b"HTTP/1.0"))
        answer = read_to_end(client)
    assert b"transfer-encoding" not in answer and answer.endswith(b"data: [DONE]\n\n")


# ---- the log and the process ----


def test_log_carries_the_callers_ids(standins):
    headers = {"x-tollgate-attempt": "r1/2", "x-tollgate-request": "r1", "x-request-id": "c1",
               "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    before = len(standins.log_path.read_bytes())
    answer = standins.post({"model": "m", "messages": MESSAGES}, headers)
    entry, = map(json.loads, standins.admin.get(f"/log?from={before}").text.splitlines())
    assert (entry["attempt"], entry["request"], entry["client_request_id"]) == ("r1/2", "r1", "c1")
    assert entry["traceparent"] == headers["traceparent"] and entry["request_id"] == answer.headers["x-request-id"]
    assert entry["bytes_sent"] == len(answer.content)
    stats = standins.admin.get("/stats").json()
    assert stats["openai"]["served"] > 0 and stats["openai"]["in_flight"] == 0


def test_whoever_has_the_answer_finds_its_line(tmp_path):
    standins = StandIns(tmp_path)
    answers = [ask_openai(standins.openai()) for _ in range(3)]
    standins.kill()
    assert [e["request_id"] for e in standins.log()] == [a._request_id for a in answers]


def test_sigterm_ends_what_is_under_way(tmp_path):
    standins = StandIns(tmp_path)
    standins.fault("openai", {"slow_token_ms": 50, "tokens": 5000})
    stream = ask_openai(standins.openai(), stream=True)
    next(iter(stream))
    standins.stop()
    with pytest.raises(BROKEN):
        list(stream)
    assert standins.last()["end"] == "shutdown"


def test_named_models_only(tmp_path):
    standins = StandIns(tmp_path, "--models", f"one,{LLAMA}")
    try:
        assert ask_openai(standins.openai(), model="one")
        with pytest.raises(openai.NotFoundError):
            ask_openai(standins.openai(), model="two")
        with pytest.raises(anthropic.NotFoundError):
            ask_anthropic(standins.anthropic(), model="two")
        assert ask_bedrock(standins.bedrock())
        assert bedrock_error(standins.bedrock(), model="two") == (400, "ValidationException")
    finally:
        standins.stop()
