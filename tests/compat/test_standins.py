"""The official SDKs against the stand-ins directly: they must be right before anything stands between."""
import json
import os
import pathlib
import subprocess

import anthropic
import boto3
import botocore.exceptions
import httpx
import openai
import pytest
from botocore.config import Config

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("TOLLGATE_BIN", ROOT / "build" / "bin"))
MESSAGES = [{"role": "user", "content": "Say hello, please."}]
LLAMA = "meta.llama3-70b-instruct-v1:0"


class StandIns:
    def __init__(self, directory):
        self.log_path = directory / "log.jsonl"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                        "-keyout", directory / "key.pem", "-out", directory / "cert.pem"], check=True,
                       capture_output=True)
        self.ca = str(directory / "cert.pem")
        self.process = subprocess.Popen(
            [BIN / "providers", "--http", "0", "--https", "0", "--cert", directory / "cert.pem", "--key",
             directory / "key.pem", "--admin", "0", "--log", self.log_path, "--seed", "7", "--openai-key", "sk-o",
             "--anthropic-key", "sk-a", "--aws-access-key", "AKIATEST", "--aws-secret-key", "secret"],
            stdout=subprocess.PIPE, text=True)
        words = dict(w.split("=") for w in self.process.stdout.readline().split()[1:])
        self.http, self.https = (f"{s}://localhost:{words[s]}" for s in ("http", "https"))
        self.admin = f"http://localhost:{words['admin']}"

    def fault(self, dialect, fault, count=1):
        assert httpx.post(f"{self.admin}/faults", json={"dialect": dialect, "fault": fault, "count": count}).is_success

    def clear(self):
        httpx.delete(f"{self.admin}/faults")

    def log(self):
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    running = StandIns(tmp_path_factory.mktemp("standins"))
    yield running
    running.process.terminate()
    assert running.process.wait(10) == 0


@pytest.fixture
def standins(process):
    process.clear()
    yield process
    process.clear()


def openai_client(standins, key="sk-o", **more):
    return openai.OpenAI(base_url=f"{standins.http}/v1", api_key=key, max_retries=0, **more)


def anthropic_client(standins, key="sk-a"):
    return anthropic.Anthropic(base_url=standins.http, api_key=key, max_retries=0)


def bedrock_client(standins, secret="secret", url=None, **more):
    return boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=url or standins.http,
                        aws_access_key_id="AKIATEST", aws_secret_access_key=secret,
                        config=Config(retries={"max_attempts": 0}), **more)


def bedrock_ask(client, stream=False, model=LLAMA):
    ask = client.converse_stream if stream else client.converse
    return ask(modelId=model, messages=[{"role": "user", "content": [{"text": "Say hello, please."}]}],
               inferenceConfig={"maxTokens": 10})


def test_openai_plain(standins):
    answer = openai_client(standins).chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, max_tokens=10)
    assert len(answer.choices[0].message.content.split()) == 10 == answer.usage.completion_tokens
    assert answer.choices[0].finish_reason == "length"
    entry = standins.log()[-1]
    assert (entry["dialect"], entry["input_tokens"], entry["output_tokens"]) == ("openai", 5, 10)


def test_openai_stream_counts_and_usage(standins):
    client = openai_client(standins)
    chunks = list(client.chat.completions.create(model="m", messages=MESSAGES, stream=True))
    assert not any(c.usage for c in chunks)
    chunks = list(client.chat.completions.create(model="m", messages=MESSAGES, stream=True,
                                                 stream_options={"include_usage": True}))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert chunks[-1].usage.completion_tokens == len(text.split()) == standins.log()[-1]["output_tokens"]


def test_answers_are_deterministic(standins):
    def ask():
        return openai_client(standins).chat.completions.create(model="m", messages=MESSAGES).choices[0].message.content
    assert ask() == ask()


def test_openai_errors(standins):
    with pytest.raises(openai.AuthenticationError):
        openai_client(standins, key="wrong").chat.completions.create(model="m", messages=MESSAGES)
    standins.fault("openai", {"status": 429, "reset_s": 9})
    with pytest.raises(openai.RateLimitError) as caught:
        openai_client(standins).chat.completions.create(model="m", messages=MESSAGES)
    assert caught.value.response.headers["retry-after"] == "9"
    assert caught.value.response.headers["x-ratelimit-remaining-requests"] == "0"
    standins.fault("openai", {"status": 503})
    with pytest.raises(openai.InternalServerError):
        openai_client(standins).chat.completions.create(model="m", messages=MESSAGES)


def test_anthropic_plain_and_stream(standins):
    client = anthropic_client(standins)
    answer = client.messages.create(model="claude", max_tokens=8, messages=MESSAGES, system="Be kind.")
    assert answer.stop_reason == "max_tokens" and answer.usage.output_tokens == 8
    assert answer.usage.input_tokens == standins.log()[-1]["input_tokens"] == 7
    with client.messages.stream(model="claude", max_tokens=300, messages=MESSAGES) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert final.stop_reason == "end_turn" and final.usage.output_tokens == len(text.split())


def test_anthropic_errors(standins):
    with pytest.raises(anthropic.AuthenticationError):
        anthropic_client(standins, "wrong").messages.create(model="c", max_tokens=5, messages=MESSAGES)
    standins.fault("anthropic", {"status": 529})
    with pytest.raises(anthropic.APIStatusError) as caught:
        anthropic_client(standins).messages.create(model="c", max_tokens=5, messages=MESSAGES)
    assert caught.value.status_code == 529 and caught.value.body["error"]["type"] == "overloaded_error"
    standins.fault("anthropic", {"status": 429, "reset_s": 3})
    with pytest.raises(anthropic.RateLimitError) as caught:
        anthropic_client(standins).messages.create(model="c", max_tokens=5, messages=MESSAGES)
    assert caught.value.response.headers["anthropic-ratelimit-requests-remaining"] == "0"


def test_bedrock_plain_and_stream(standins):
    client = bedrock_client(standins)
    answer = bedrock_ask(client)
    assert len(answer["output"]["message"]["content"][0]["text"].split()) == answer["usage"]["outputTokens"] == 10
    events = list(bedrock_ask(client, stream=True)["stream"])
    assert "messageStart" in events[0] and events[-2]["messageStop"]["stopReason"] == "max_tokens"
    assert events[-1]["metadata"]["usage"]["outputTokens"] == 10
    assert standins.log()[-1]["model"] == LLAMA


def test_bedrock_checks_signatures(standins):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        bedrock_ask(bedrock_client(standins, secret="wrong"))
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.meta.llama3-3-70b-instruct-v1:0"
    assert bedrock_ask(bedrock_client(standins), model=arn)["usage"]
    standins.fault("bedrock", {"status": 429})
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        bedrock_ask(bedrock_client(standins))
    assert caught.value.response["Error"]["Code"] == "ThrottlingException"


def test_https(standins):
    client = openai.OpenAI(base_url=f"{standins.https}/v1", api_key="sk-o", max_retries=0,
                           http_client=httpx.Client(verify=standins.ca))
    assert client.chat.completions.create(model="m", messages=MESSAGES).choices
    assert list(bedrock_ask(bedrock_client(standins, url=standins.https, verify=standins.ca), stream=True)["stream"])


def test_faults_on_streams(standins):
    client = openai_client(standins)

    def ask():
        return client.chat.completions.create(model="drifting", messages=MESSAGES, stream=True,
                                              stream_options={"include_usage": True})
    standins.fault("openai", {"cut_at_byte": 600})
    with pytest.raises((openai.APIConnectionError, httpx.RemoteProtocolError)):
        list(ask())
    assert not standins.log()[-1]["finished"]
    standins.fault("openai", {"model": "gpt-4o-2099", "tokens": 3, "usage_delta": 100, "write": "all"})
    chunks = list(ask())
    assert chunks[0].model == "gpt-4o-2099" and chunks[-1].usage.completion_tokens == 103
    standins.fault("openai", {"no_usage": True, "slow_token_ms": 1, "slow_first_ms": 5})
    assert not any(c.usage for c in ask())
    standins.fault("openai", {"stall_after": 2})
    with pytest.raises(openai.APITimeoutError):
        list(client.with_options(timeout=1).chat.completions.create(model="m", messages=MESSAGES, stream=True))
