"""A system prompt that configuration declares public: tenants share its blocks of the prefix cache, and nothing else."""
import json

import grpc
import pytest

from test_embed import START_S, start

BLOCK = 16
PUBLIC = ("You are the desk of a toll road. Answer questions about tickets, vehicles, opening hours and prices in one sentence, and say "
          "so when you do not know. Never quote a price that is older than a month. Prices are in euros, hours in local time.")
SECRET = PUBLIC.replace("toll road", "toll bridge")
QUESTION = "What does a lorry of twelve tonnes with four axles pay on a Sunday evening, and where is the ticket bought?"


@pytest.fixture
def tokens(tmp_path, stubs):
    """ask(tenant, system, question) → (prompt tokens, of those from the cache); each test has an engine of its own."""
    inference = stubs["inference"]
    port, process = start(tmp_path, f"public_prompts:\n  - {json.dumps(PUBLIC)}\n")
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(timeout=START_S)
        service = stubs["inference_grpc"].InferenceStub(channel)

        def ask(tenant, system, question=QUESTION, role="system"):
            messages = [inference.ChatMessage(role=role, content=system), inference.ChatMessage(role="user", content=question)]
            request = inference.GenerateRequest(messages=inference.ChatMessages(messages=messages), tenant=tenant, max_tokens=1)
            end = [e.end for e in service.Generate(request, timeout=120) if e.WhichOneof("event") == "end"][0]
            return end.prompt_tokens, end.cached_tokens
        yield ask
    process.terminate()
    assert process.wait(30) == 0


def test_its_blocks_are_shared_and_what_follows_is_not(tokens):
    whole, cached = tokens("acme", PUBLIC)
    assert cached == 0 and whole > 5 * BLOCK
    assert tokens("acme", PUBLIC)[1] == (whole - 1) // BLOCK * BLOCK, "a tenant's own prompt comes from the cache whole"
    shared = tokens("globex", PUBLIC)[1]
    assert 0 < shared < (whole - 1) // BLOCK * BLOCK and shared % BLOCK == 0, "the same question's blocks are the other tenant's own"
    assert tokens("initech", PUBLIC, "Another question altogether.")[1] == shared, "how much is shared depends on the declared text alone"
    assert tokens("globex", PUBLIC)[1] == (whole - 1) // BLOCK * BLOCK


def test_nothing_else_is_shared(tokens):
    for role, system in (("system", SECRET), ("user", PUBLIC)):
        whole, cached = tokens("acme", system, role=role)
        assert whole > 5 * BLOCK and tokens("acme", system, role=role)[1] > 4 * BLOCK, "the same tenant's is kept"
        assert tokens("globex", system, role=role)[1] < BLOCK, f"another tenant's {role} message was found in the cache"
