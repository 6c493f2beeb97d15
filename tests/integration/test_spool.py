"""The broker away: events wait on disk, up to the named limit, and nothing is lost."""
import os
import signal
import subprocess

import httpx

from mesh import Mesh, bin_dir, until


def test_broker_down_then_up(tmp_path, kafka_of_its_own):
    kafka = kafka_of_its_own
    mesh = Mesh(tmp_path / "mesh", kafka=kafka.bootstrap)
    kafka.create_topics(f"{mesh.topic}:2")
    mesh.up()
    assert mesh.chat("one").status_code == 200
    mesh.settled(1)
    kafka.kill9()
    for _ in range(5):
        assert mesh.chat("while the broker is away").status_code == 200
    assert mesh.metric("router", "tollgate_spool_unacknowledged_records") >= 5
    mesh.kill("router")  # the spool outlives the process as well
    mesh.start("router")
    kafka.start()
    until("the spool empties", lambda: mesh.metric("router", "tollgate_spool_unacknowledged_records") == 0, 60)
    verified = mesh.settled(6)
    assert verified["transactions"] == len(mesh.events()) == 6
    mesh.down()


def test_full_spool_rejects_or_allows(tmp_path):
    """No broker at all and a tiny limit: `reject` refuses, `allow` serves and counts."""
    mesh = Mesh(tmp_path / "mesh", kafka="127.0.0.1:1",
                env={"TOLLGATE_SPOOL_LIMIT": "1MiB", "TOLLGATE_SPOOL_SEGMENT": "64KiB",
                     "TOLLGATE_ON_SPOOL_FULL": "reject"})
    mesh.tool("prepare", "--kafka", "127.0.0.1:1")
    for part in ("standins", "inference", "health", "router"):
        mesh.tool("start", part)
    mesh.tool("wait", "standins", "inference", "health", "router")
    mesh.env = mesh._read(mesh.directory / "mesh.env")
    mesh.env["TOLLGATE_BASE_URL"] = f"http://{mesh.env['TOLLGATE_ROUTER_LISTEN']}"
    mesh.env["TOLLGATE_ROUTER_METRICS"] = f"http://{mesh.env['TOLLGATE_ROUTER_METRICS']}/metrics"
    answers = []
    with httpx.Client(timeout=60, headers=mesh.headers()) as client:  # one connection: thousands are slow to make
        while 503 not in answers:
            answers.append(client.post(f"{mesh.url}/v1/chat/completions", json={
                "model": "openai-gpt4o-mini", "max_tokens": 1,
                "messages": [{"role": "user", "content": "fill"}]}).status_code)
            assert len(answers) < 5000, "1 MiB holds fewer attempts than that"
    assert set(answers) == {200, 503} and len(answers) > 100, answers
    mesh.stop("router")
    mesh.start("router", env={"TOLLGATE_ON_SPOOL_FULL": "allow"})
    assert mesh.chat("fill", model="openai-gpt4o-mini").status_code == 200
    assert mesh.metric("router", "tollgate_unspooled_attempts_total") >= 1
    mesh.down()


def test_second_router_on_one_spool_is_refused(mesh):
    env = os.environ | mesh.extra | mesh.env | {
        "TOLLGATE_ROUTER_LISTEN": "127.0.0.1:0", "TOLLGATE_ROUTER_GRPC_LISTEN": "127.0.0.1:0",
        "TOLLGATE_ROUTER_METRICS": "127.0.0.1:0"}
    second = subprocess.run([bin_dir() / "tollgate-router", "--config", f"{mesh.env['TOLLGATE_CONFIG_DIR']}/router.yaml"],
                            capture_output=True, text=True, timeout=30, env=env)
    assert second.returncode == 1 and "in use by another process" in second.stderr, second.stderr


def test_drain_lets_a_stream_finish(own_mesh):
    mesh = own_mesh
    mesh.fault("openai", {"slow_token_ms": 30, "tokens": 40}, count=1)
    with httpx.stream("POST", f"{mesh.url}/v1/chat/completions", timeout=30, headers=mesh.headers(),
                      json={"model": "openai-gpt4o-mini", "stream": True,
                            "messages": [{"role": "user", "content": "x"}]}) as response:
        lines = response.iter_lines()
        next(lines)
        mesh.signal("router", signal.SIGTERM)
        rest = list(lines)
    assert "data: [DONE]" in rest
    until("the router has ended", lambda: not mesh.alive("router"))
    mesh.settled(1)
