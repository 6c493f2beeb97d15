"""Thinking with the official SDKs, through the router to a private model whose every answer begins within its thinking: what
Anthropic's clients are told who ask for it, and who do not, and how many tokens it was."""
import anthropic
import openai
import pytest

from mesh import Mesh, until

PRIVATE = "private-gpu-llama-70b"
ASK = [{"role": "user", "content": "Is it cold in Oslo?"}]
THINK = {"type": "enabled", "budget_tokens": 1024}
GREEDY = {"temperature": 0}
TEMPLATE = """{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}
{{- '<|im_start|>assistant\\n<think>\\n' }}{# </think> #}"""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory, kafka):
    directory = tmp_path_factory.mktemp("thinking")
    (directory / "thinks.jinja").write_text(TEMPLATE)
    mesh = Mesh(directory / "mesh", kafka=kafka.bootstrap, env={"TOLLGATE_CHAT_TEMPLATE": str(directory / "thinks.jinja")})
    kafka.create_topics(f"{mesh.topic}:1")
    yield mesh.up()
    mesh.down()


@pytest.fixture
def client(mesh):
    return anthropic.Anthropic(base_url=mesh.url, api_key=mesh.key(), max_retries=0, default_headers={"X-Task-Type": "chat"})


def test_anthropics_clients_see_it_where_they_ask(client):
    whole = client.messages.create(model=PRIVATE, messages=ASK, max_tokens=12, extra_body=GREEDY, thinking=THINK)
    block, = whole.content
    assert block.type == "thinking" and block.thinking and block.signature == ""
    with client.messages.stream(model=PRIVATE, messages=ASK, max_tokens=12, extra_body=GREEDY, thinking=THINK) as stream:
        told = "".join(event.thinking for event in stream if event.type == "thinking")
        final = stream.get_final_message()
    assert told == block.thinking and final.content == whole.content
    turn = ASK + [{"role": "assistant", "content": [block.model_dump(), {"type": "text", "text": "Yes."}]}, {"role": "user", "content": "Why?"}]
    for model in (PRIVATE, "anthropic-claude-haiku"):
        assert client.messages.create(model=model, messages=turn, max_tokens=8, thinking=THINK).content


def test_they_do_not_where_they_do_not(client):
    for more in ({}, {"thinking": {"type": "disabled"}}, {"thinking": THINK | {"display": "omitted"}}):
        assert not client.messages.create(model=PRIVATE, messages=ASK, max_tokens=12, extra_body=GREEDY, **more).content


def test_its_tokens_are_told_and_recorded(mesh):
    client = openai.OpenAI(base_url=f"{mesh.url}/v1", api_key=mesh.key(), max_retries=0, default_headers={"X-Task-Type": "chat"})
    answer = client.chat.completions.create(model=PRIVATE, messages=ASK, max_tokens=6, temperature=0)
    usage = answer.usage
    assert usage.completion_tokens == 6 and usage.completion_tokens_details.reasoning_tokens == 6
    request = answer._request_id
    event, = until("the usage event", lambda: mesh.events().get(f"{request}/1"))
    assert event["reasoning_tokens"] == 6 == event["output_tokens"]
