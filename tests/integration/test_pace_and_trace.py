"""A tenant's requests per minute, and the trace that a request belongs to."""
import re
import shutil

import httpx
import pytest

from mesh import ROOT, Mesh, until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
GIVEN = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def limited(tmp_path_factory, kafka):
    """A mesh in which acme may ask six times a minute, one at a time."""
    directory = tmp_path_factory.mktemp("limited")
    conf = directory / "conf"
    shutil.copytree(ROOT / "deploy" / "dev", conf, ignore=shutil.ignore_patterns("devbroker"))
    tenants = conf / "tenants.yaml"
    text, count = re.subn(r"\{id: acme, ", "{id: acme, rate_limit_rpm: 6, ", tenants.read_text())
    assert count == 1
    tenants.write_text(text)
    mesh = Mesh(directory / "mesh", kafka=kafka.bootstrap, env={"TOLLGATE_CONFIG_DIR": str(conf)})
    kafka.create_topics(f"{mesh.topic}:4")
    mesh.up()
    yield mesh
    mesh.down()


def test_past_its_rate_a_tenant_waits_and_others_do_not(limited):
    assert limited.chat(tenant="acme").status_code == 200
    refused = limited.chat(tenant="acme")
    assert refused.status_code == 429, refused.text
    error = refused.json()["error"]
    assert error["code"] == "rate_limit_exceeded" and "acme" in error["message"] and "6 requests" in error["message"]
    assert 1 <= int(refused.headers["retry-after"]) <= 10
    anthropic = httpx.post(f"{limited.url}/v1/messages", headers=limited.headers("acme"), timeout=30, json={
        "model": "auto", "max_tokens": 8, "messages": [{"role": "user", "content": "x"}]})
    assert anthropic.status_code == 429 and anthropic.json()["error"]["type"] == "rate_limit_error", anthropic.text
    assert limited.chat(tenant="globex").status_code == 200
    route = httpx.post(f"{limited.url}/v1/route", headers=limited.headers("acme"), timeout=30, json={
        "model": "auto", "messages": [{"role": "user", "content": "x"}]})
    assert route.status_code == 200, "asking where a request would go is not a request"
    assert limited.metric("router", "tollgate_refusals_total", 'reason="tenant_rate_limit"') == 2


@pytest.mark.parametrize("sent", [GIVEN, f"00-{'0' * 32}-00f067aa0ba902b7-01", None])
def test_upstream_and_event_carry_one_trace(mesh, sent):
    answer = mesh.chat(headers={"traceparent": sent} if sent else {})
    assert answer.status_code == 200, answer.text
    event_id = f"{mesh.routing_header(answer)['request']}/1"
    event, = until("the event", lambda: mesh.events().get(event_id))
    served = mesh.served()[event_id]
    assert event["traceparent"] == served["traceparent"]
    if sent == GIVEN:
        assert event["traceparent"] == GIVEN
    else:
        assert re.fullmatch(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-00", event["traceparent"])
