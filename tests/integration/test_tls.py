"""TLS everywhere: mTLS between the services, HTTPS for clients and to the providers, and nothing in plain
text beyond loopback by accident."""
import json
import os
import pathlib
import re
import shutil
import ssl
import subprocess

import grpc
import httpx
import pytest

from mesh import Mesh, bin_dir, free_base, until

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVICES = ("router", "inference", "billing", "health")
INSIDE = ("INFERENCE", "BILLING", "HEALTH")
CHECK = "/grpc.health.v1.Health/Check"  # an empty message asks for the whole server


@pytest.fixture(scope="module")
def certs():
    subprocess.run([ROOT / "tools" / "certs"], check=True, capture_output=True)
    return ROOT / "build" / "certs"


def configuration(directory, certs=None, names=SERVICES):
    """A copy of the one-machine mesh's documents; with certificates for the named services."""
    shutil.copytree(ROOT / "deploy" / "dev", directory, ignore=shutil.ignore_patterns("devbroker"))
    for name in names if certs else ():
        with (directory / f"{name}.yaml").open("a") as file:
            file.write(f"tls: {{cert_file: {certs}/{name}.crt, key_file: {certs}/{name}.key, "
                       f"ca_file: {certs}/ca.crt}}\n")
    return directory


class TlsMesh(Mesh):
    """A mesh on certificates, with stand-ins of its own over HTTPS."""

    def __init__(self, directory, certs):
        config = configuration(directory / "config", certs)
        super().__init__(directory / "mesh", env={
            "TOLLGATE_CONFIG_DIR": str(config), "TOLLGATE_PROVIDER_CA": str(certs / "ca.crt"),
            "TOLLGATE_TLS_CA": str(certs / "ca.crt"), "TOLLGATE_TLS_CERT": str(certs / "client.crt"),
            "TOLLGATE_TLS_KEY": str(certs / "client.key")})
        base = int(self.extra["TOLLGATE_PORT_BASE"])
        self.https = f"https://localhost:{base + 32}"
        targets = config / "targets.yaml"
        targets.write_text(re.sub(r"\$\{TOLLGATE_(OPENAI|ANTHROPIC|BEDROCK)_URL\}", self.https, targets.read_text()))
        self.certs, self.standins, self.standins_log = certs, None, self.directory / "https.jsonl"

    def up(self):
        super().up()
        keys = self.env
        self.standins = subprocess.Popen(
            [bin_dir() / "providers", "--http", "0", "--https", self.https.rsplit(":", 1)[1], "--admin", "0", "--cert",
             self.certs / "standin.crt", "--key", self.certs / "standin.key", "--log", self.standins_log,
             "--openai-key", keys["OPENAI_API_KEY"], "--anthropic-key", keys["ANTHROPIC_API_KEY"],
             "--aws-access-key", keys["AWS_ACCESS_KEY_ID"], "--aws-secret-key", keys["AWS_SECRET_ACCESS_KEY"]],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert "listening" in self.standins.stdout.readline()
        return self

    def down(self):
        if self.standins:
            self.standins.kill()
            self.standins.wait()
        super().down()

    def ask(self, task_type, **body):
        return httpx.post(f"https://{self.env['TOLLGATE_ROUTER_LISTEN']}/v1/chat/completions", timeout=60,
                          verify=ssl.create_default_context(cafile=self.certs / "ca.crt"),
                          headers=self.headers(task_type=task_type),
                          json={"model": "auto", "max_tokens": 8,
                                "messages": [{"role": "user", "content": "Hi"}]} | body)


@pytest.fixture(scope="module")
def tls_mesh(tmp_path_factory, certs):
    mesh = TlsMesh(tmp_path_factory.mktemp("tls"), certs)
    mesh.up()
    yield mesh
    mesh.down()


def credentials(certs, name=None):
    """A caller's: it checks the server, and shows a certificate if it has one."""
    own = [(certs / f"{name}.key").read_bytes(), (certs / f"{name}.crt").read_bytes()] if name else [None, None]
    return grpc.ssl_channel_credentials((certs / "ca.crt").read_bytes(), *own)


def serving(channel):
    with channel:
        answer = channel.unary_unary(CHECK)(b"", timeout=10)
    return answer == b"\x08\x01"


def test_requests_reach_every_place_over_tls(tls_mesh):
    mesh = tls_mesh
    until("the fleet view arrives by mTLS", lambda: mesh.metric("router", "tollgate_fleet_view_stale") == 0)
    for task_type, target in (("chat", "anthropic-claude-haiku"), ("classification", "private-gpu-llama-70b")):
        response = mesh.ask(task_type)
        assert response.status_code == 200, response.text
        assert mesh.routing(response)["target"] == target
    for model in ("openai-gpt4o-mini", "bedrock-llama-3-8b"):
        response = mesh.ask("chat", model=model, stream=True)
        assert response.status_code == 200 and "[DONE]" in response.text, response.text
    served = [json.loads(line) for line in mesh.standins_log.read_text().splitlines()]
    assert {entry["dialect"] for entry in served} >= {"anthropic", "openai"}, served
    assert len(served) == 3, "all three went to the stand-ins over HTTPS"
    mesh.settled(4)


def test_the_command_uses_certificates(tls_mesh):
    mesh = tls_mesh
    until("health sees the private tier by mTLS",
          lambda: re.search(r"^private-gpu-llama-70b .* up ", mesh.command("targets"), re.MULTILINE))
    done = subprocess.run([bin_dir() / "tollgate", "targets"], capture_output=True, text=True,
                          env=os.environ | mesh.env | {"TOLLGATE_TLS_CA": str(mesh.certs / "ca.crt")})
    assert done.returncode == 1 and "UNAVAILABLE" in done.stderr, "health took a caller without a certificate"
    assert mesh.statement("acme")


@pytest.mark.parametrize("service", INSIDE)
def test_inside_only_with_a_certificate(tls_mesh, certs, service):
    address = tls_mesh.env[f"TOLLGATE_{service}_GRPC"]
    assert serving(grpc.secure_channel(address, credentials(certs, "client")))
    for channel in (grpc.secure_channel(address, credentials(certs)), grpc.insecure_channel(address)):
        with pytest.raises(grpc.RpcError) as caught:
            serving(channel)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("name", [None, "client"])
def test_the_routers_ports_ask_for_keys_only(tls_mesh, certs, stubs, name):
    mesh = tls_mesh
    message = stubs["inference"].ChatMessage(role="user", content="Say hello.")
    with grpc.secure_channel(mesh.env["TOLLGATE_GRPC"], credentials(certs, name)) as channel:
        answer = stubs["router_grpc"].RouterStub(channel).Chat(
            stubs["router"].ChatRequest(model="auto", messages=[message], max_tokens=8), timeout=30,
            metadata=(("authorization", f"Bearer {mesh.key()}"), ("x-task-type", "chat")))
    assert answer.text
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://{mesh.env['TOLLGATE_ROUTER_LISTEN']}/healthz", timeout=10)


# ---- one service alone ----

def environment(directory, config, **more):
    base = free_base()
    (directory / "ledger").mkdir(parents=True)
    (directory / "keys.yaml").write_text("version: 1\nkeys: []\n")
    return os.environ | {
        "TOLLGATE_RUN_DIR": str(directory), "TOLLGATE_CONFIG_DIR": str(config), "TOLLGATE_KAFKA": "127.0.0.1:1",
        "TOLLGATE_MODEL": str(ROOT / "build" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"),
        "TOLLGATE_ROUTER_LISTEN": f"127.0.0.1:{base}", "TOLLGATE_INFERENCE_GRPC": f"127.0.0.1:{base + 2}",
        "TOLLGATE_BILLING_GRPC": f"127.0.0.1:{base + 3}", "TOLLGATE_HEALTH_GRPC": f"127.0.0.1:{base + 4}",
        "TOLLGATE_HEALTH_METRICS": f"127.0.0.1:{base + 5}", "TOLLGATE_OPENAI_URL": "http://127.0.0.1:1",
        "TOLLGATE_ANTHROPIC_URL": "http://127.0.0.1:1", "TOLLGATE_BEDROCK_URL": "http://127.0.0.1:1",
        "OPENAI_API_KEY": "x", "ANTHROPIC_API_KEY": "x", "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x"} | more


def everywhere(env, name):
    """The address of that name on every interface."""
    return {name: "0.0.0.0:" + env[name].rsplit(":", 1)[1]}


class Health:
    def __init__(self, env):
        self.env = env
        self.process = subprocess.Popen(
            [bin_dir() / "tollgate-health", "--config", f"{env['TOLLGATE_CONFIG_DIR']}/health.yaml"],
            env=env, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(timeout=20) == 0

    def answers(self, url, **more):
        try:
            return httpx.get(url, **more).status_code == 200
        except httpx.HTTPError:
            assert self.process.poll() is None, "it ended"
            return False


@pytest.mark.parametrize("service, address", [
    ("router", "TOLLGATE_ROUTER_LISTEN"), ("inference", "TOLLGATE_INFERENCE_GRPC"),
    ("billing", "TOLLGATE_BILLING_GRPC"), ("health", "TOLLGATE_HEALTH_GRPC"), ("health", "TOLLGATE_HEALTH_METRICS")])
def test_no_plain_text_beyond_loopback(tmp_path, service, address):
    env = environment(tmp_path / "run", configuration(tmp_path / "config"))
    done = subprocess.run([bin_dir() / f"tollgate-{service}", "--config", tmp_path / "config" / f"{service}.yaml"],
                          env=env | everywhere(env, address), capture_output=True, text=True, timeout=120)
    last = json.loads(done.stderr.splitlines()[-1])
    assert done.returncode == 1 and last["event"] == "start_failed", done.stderr
    assert re.search(r"listen: 0\.0\.0\.0 is not a loopback address and there is no certificate; "
                     r"set tls\.cert_file and tls\.key_file, or insecure: true", last["reason"]), last


def test_insecure_lets_it_start(tmp_path):
    config = configuration(tmp_path / "config")
    with (config / "health.yaml").open("a") as file:
        file.write("insecure: true\n")
    env = environment(tmp_path / "run", config)
    env |= everywhere(env, "TOLLGATE_HEALTH_GRPC") | everywhere(env, "TOLLGATE_HEALTH_METRICS")
    with Health(env) as health:
        url = f"http://{env['TOLLGATE_HEALTH_METRICS']}/readyz"
        until("it is ready", lambda: health.answers(url))
        assert serving(grpc.insecure_channel(env["TOLLGATE_HEALTH_GRPC"].replace("0.0.0.0", "127.0.0.1")))


def test_certificates_let_it_start_and_guard_metrics(tmp_path, certs):
    env = environment(tmp_path / "run", configuration(tmp_path / "config", certs))
    env |= everywhere(env, "TOLLGATE_HEALTH_GRPC") | everywhere(env, "TOLLGATE_HEALTH_METRICS")
    with Health(env) as health:
        port = env["TOLLGATE_HEALTH_METRICS"].rsplit(":", 1)[1]
        trust = ssl.create_default_context(cafile=certs / "ca.crt")
        until("it is ready", lambda: health.answers(f"https://127.0.0.1:{port}/readyz", verify=trust))
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{port}/readyz")


def test_a_certificate_for_another_address_is_refused(tmp_path, certs):
    """Of the right authority, so only the name is wrong: our callers must notice."""
    elsewhere = tmp_path / "certs"
    elsewhere.mkdir()
    shutil.copy(certs / "ca.crt", elsewhere)
    commands = f"""
        openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=127.0.0.1 \
            -keyout {elsewhere}/health.key -out {elsewhere}/health.csr &&
        printf 'subjectAltName=DNS:elsewhere.test,IP:127.0.0.9\\n' >{elsewhere}/san &&
        openssl x509 -req -in {elsewhere}/health.csr -days 2 -CA {certs}/ca.crt -CAkey {certs}/ca.key \
            -set_serial 7 -extfile {elsewhere}/san -out {elsewhere}/health.crt"""
    subprocess.run(commands, shell=True, check=True, capture_output=True)
    env = environment(tmp_path / "run", configuration(tmp_path / "config", elsewhere, names=["health"]),
                      TOLLGATE_TLS_CA=str(certs / "ca.crt"), TOLLGATE_TLS_CERT=str(certs / "client.crt"),
                      TOLLGATE_TLS_KEY=str(certs / "client.key"))
    with Health(env) as health:
        until("it is ready", lambda: health.answers(f"http://{env['TOLLGATE_HEALTH_METRICS']}/readyz"))
        done = subprocess.run([bin_dir() / "tollgate", "targets"], env=env, capture_output=True, text=True)
        assert done.returncode == 1 and "UNAVAILABLE" in done.stderr, done.stdout + done.stderr
