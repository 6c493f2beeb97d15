"""More cores are more routers: two on one port by SO_REUSEPORT, each with a spool and a metrics port of its own."""
import os
import signal
import subprocess

import httpx

from mesh import bin_dir, until


def test_two_routers_share_a_port(own_mesh):
    mesh = own_mesh
    base = int(mesh.extra["TOLLGATE_PORT_BASE"])
    metrics = f"127.0.0.1:{base + 11}"
    env = os.environ | mesh.extra | mesh.env | {
        "TOLLGATE_ROUTER_INSTANCE": "router-2", "TOLLGATE_ROUTER_LISTEN": f"127.0.0.1:{base}",
        "TOLLGATE_ROUTER_METRICS": metrics}
    log = open(mesh.directory / "router-2.log", "w")
    second = subprocess.Popen([bin_dir() / "tollgate-router", "--config", f"{env['TOLLGATE_CONFIG_DIR']}/router.yaml"],
                              env=env, stderr=log, stdout=subprocess.DEVNULL)
    try:
        def ready():
            try:
                return httpx.get(f"http://{metrics}/readyz", timeout=2).status_code == 200
            except httpx.HTTPError:
                return False
        until("the second router is ready", ready)
        # A connection each: the kernel spreads connections, not requests.
        answers = [mesh.chat("hi", model="openai-gpt4o-mini") for _ in range(60)]
        assert all(answer.status_code == 200 for answer in answers)
        mesh.settled(60)
        instances = {event["instance_id"] for copies in mesh.events().values() for event in copies}
        assert instances == {"router-1", "router-2"}
        assert len(mesh.events()) == 60
    finally:
        second.send_signal(signal.SIGTERM)
        assert second.wait(30) == 0
    assert mesh.chat("still here", model="openai-gpt4o-mini").status_code == 200
