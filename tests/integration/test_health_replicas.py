"""Two health replicas on one Kafka: what a router tells one of them, the other knows too."""
import os
import re
import signal
import subprocess

import httpx
import pytest

from mesh import bin_dir, until


class Replica:
    """A second health service beside a mesh's own, on the same configuration."""

    def __init__(self, mesh, env=None):
        base = int(mesh.extra["TOLLGATE_PORT_BASE"])
        self.log = mesh.directory / "health-2.log"
        self.env = os.environ | mesh.extra | mesh.env | {
            "TOLLGATE_HEALTH_INSTANCE": "health-2", "TOLLGATE_HEALTH_GRPC": f"127.0.0.1:{base + 5}",
            "TOLLGATE_HEALTH_METRICS": f"127.0.0.1:{base + 32}"} | (env or {})
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [bin_dir() / "tollgate-health", "--config", f"{self.env['TOLLGATE_CONFIG_DIR']}/health.yaml"],
                env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until("the second replica is ready", self.ready)

    def ready(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"http://{self.env['TOLLGATE_HEALTH_METRICS']}/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def metric(self, name):
        text = httpx.get(f"http://{self.env['TOLLGATE_HEALTH_METRICS']}/metrics").text
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? ([0-9.e+-]+)$", text, re.M))

    def target(self, name):
        """The line of `tollgate targets`, as this replica tells it."""
        done = subprocess.run([bin_dir() / "tollgate", "targets"], env=self.env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return next(line for line in done.stdout.splitlines() if line.startswith(name))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=20) == 0, self.log.read_text()


@pytest.fixture
def replica(own_mesh):
    second = Replica(own_mesh)
    yield second
    second.stop()


def test_a_circuit_opens_and_closes_at_the_other_replica(own_mesh, replica):
    mesh = own_mesh
    assert mesh.chat("Hi", task_type="chat").status_code == 200
    mesh.fault("anthropic", {"status": 503})

    def both_down():
        assert mesh.chat("Hi", task_type="chat").status_code == 200
        return (" down " in replica.target("anthropic-claude-haiku")
                and mesh.metric("health", "tollgate_circuit_state") > 0)
    until("the circuit is open at both replicas", both_down)
    assert replica.metric("tollgate_fleet_watchers") == 0, "no router watches the second replica"
    assert replica.metric("tollgate_shared_observations_consumed_total") >= 3
    assert replica.metric("tollgate_shared_observations_produced_total") == 0, "shared twice"
    assert mesh.metric("health", "tollgate_shared_observations_produced_total") >= 3
    assert mesh.metric("health", "tollgate_shared_observations_consumed_total") == 0, "took its own word back"

    mesh.no_faults()

    def both_up():
        mesh.chat("Hi", task_type="chat")
        return (" up " in replica.target("anthropic-claude-haiku")
                and mesh.metric("health", "tollgate_circuit_state") == 0)
    until("good probes close it at both", both_up)


def test_a_replica_without_a_broker_serves_alone(own_mesh):
    second = Replica(own_mesh, env={"TOLLGATE_KAFKA": "127.0.0.1:1"})
    try:
        until("it says that it shares nothing", lambda: "observations_not_shared" in second.log.read_text())
        assert second.log.read_text().count("observations_not_shared") == 1
        until("it watches the private tier itself", lambda: " up " in second.target("private-gpu-llama-70b"))
    finally:
        second.stop()
