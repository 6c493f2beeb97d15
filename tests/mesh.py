"""A whole mesh for integration tests, run by tools/mesh on ports and a directory of its own.

    mesh = Mesh(directory, kafka=kafka.bootstrap)   # a topic of its own on a shared Kafka
    mesh.up()
    mesh.chat("hello", task_type="chat")            # httpx response of one chat completion
    mesh.kill("router"); mesh.start("router")
    mesh.down()

TOLLGATE_BIN names the binaries (the sanitizer build under ./dev test). Whatever still runs when the
interpreter ends is stopped.
"""
import atexit
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time
import uuid

import httpx

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOL = ROOT / "tools" / "mesh"
TENANTS = ("acme", "globex", "initech")
PORTS_A_MESH = 40
PORT_LEAST, PORT_MOST = 10000, 20000  # below the kernel's range for outgoing connections
SETTLE_S = 60

next_base = PORT_LEAST + (os.getpid() * PORTS_A_MESH) % (PORT_MOST - PORT_LEAST - 4000)


def free_base():
    """The first of PORTS_A_MESH ports, of which those that listen are free."""
    global next_base
    for _ in range(100):
        base = next_base
        next_base += PORTS_A_MESH
        try:
            for offset in (*range(0, 6), 10, 11, 20, 21, 22, 30, 31, 32):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", base + offset))
            return base
        except OSError:
            continue
    raise RuntimeError("no free range of ports")


def bin_dir():
    return pathlib.Path(os.environ.get("TOLLGATE_BIN", ROOT / "build" / "bin"))


class Mesh:
    def __init__(self, directory, kafka="", env=None):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.kafka = kafka
        self.topic = f"tollgate.usage.{uuid.uuid4().hex[:12]}"
        self.extra = {"TOLLGATE_RUN_DIR": str(self.directory), "TOLLGATE_PORT_BASE": str(free_base()),
                      "TOLLGATE_TOPIC_USAGE": self.topic if kafka else "tollgate.usage.v1",
                      "TOLLGATE_TOPIC_OBSERVATIONS": self.topic.replace("usage", "observations") if kafka
                      else "tollgate.observations.v1",
                      "TOLLGATE_TOPIC_DECISIONS": self.topic.replace("usage", "decisions") if kafka
                      else "tollgate.decisions.v1",
                      "TOLLGATE_TOPIC_ENGINE_TIME": self.topic.replace("usage", "engine-time") if kafka
                      else "tollgate.engine-time.v1",
                      "TOLLGATE_TOPIC_LEDGER": self.topic.replace("usage", "ledger") if kafka
                      else "tollgate.ledger.v1",
                      "TOLLGATE_BILLING_GROUP": f"billing-{self.topic}",
                      "TOLLGATE_BIN": str(bin_dir())} | (env or {})
        self.env = {}
        atexit.register(self.down)

    # ---- processes ----

    def tool(self, *words, env=None):
        done = subprocess.run([TOOL, *words], stdin=subprocess.DEVNULL, text=True, timeout=180,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env=os.environ | self.extra | (env or {}))
        assert done.returncode == 0, f"tools/mesh {' '.join(words)}: {done.stdout}\n{self.logs()}"

    def up(self):
        self.tool("up", *(["--kafka", self.kafka] if self.kafka else []))
        self.env = self._read(self.directory / "mesh.env") | self._read(self.directory / "env")
        return self

    def down(self):
        """Ends what runs; it is a failure when a part does not end by itself."""
        if (self.directory / "mesh.env").exists():
            self.tool("down")

    def start(self, *parts, env=None, wait=True):
        self.tool("start", *parts, env=env)
        if wait:
            self.tool("wait", *parts)

    def stop(self, *parts):
        self.tool("stop", *parts)

    def kill(self, *parts):
        self.tool("kill", *parts)

    def pid(self, part):
        return int((self.directory / f"{part}.pid").read_text())

    def alive(self, part):
        try:
            status = pathlib.Path(f"/proc/{self.pid(part)}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False
        return status.rpartition(")")[2].split()[0] != "Z"

    def signal(self, part, which=signal.SIGHUP):
        os.kill(self.pid(part), which)

    def log(self, part):
        path = self.directory / f"{part}.log"
        return path.read_text() if path.exists() else ""

    def logs(self):
        return "\n".join(f"--- {path.name}\n{path.read_text()[-1500:]}"
                         for path in sorted(self.directory.glob("*.log")))

    @staticmethod
    def _read(path):
        env = {}
        for line in path.read_text().splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            env[name] = value
        return env

    # ---- as a client ----

    @property
    def url(self):
        return self.env["TOLLGATE_BASE_URL"]

    def key(self, tenant="acme"):
        return (self.directory / "secrets" / tenant).read_text()

    def headers(self, tenant="acme", task_type="chat", **more):
        return {"Authorization": f"Bearer {self.key(tenant)}", "X-Task-Type": task_type} | more

    def chat(self, content="Say something.", tenant="acme", task_type="chat", headers=None, **body):
        body = {"model": "auto", "max_tokens": 24,
                "messages": [{"role": "user", "content": content}]} | body
        body = {name: value for name, value in body.items() if value is not None}
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=60,
                          headers=self.headers(tenant, task_type) | (headers or {}))

    @staticmethod
    def routing(response):
        """The x-tollgate-routing of an answer: from its header, or a stream's final comment."""
        text = response.headers.get("x-tollgate-routing", "")
        comment = re.search(r"^: x-tollgate-routing: (.*)$", response.text, re.MULTILINE)
        text = comment.group(1).strip() if comment else text
        return dict(part.split("=", 1) for part in text.split("; ") if part)

    @staticmethod
    def routing_header(response):
        text = response.headers["x-tollgate-routing"]
        return dict(part.split("=", 1) for part in text.split("; ") if part)

    # ---- the stand-ins ----

    def fault(self, dialect, fault, count=-1, **more):
        response = httpx.post(f"{self.env['TOLLGATE_STANDINS_ADMIN']}/faults", timeout=10,
                              json={"dialect": dialect, "fault": fault, "count": count} | more)
        assert response.status_code < 300, response.text

    def no_faults(self):
        httpx.delete(f"{self.env['TOLLGATE_STANDINS_ADMIN']}/faults", timeout=10)

    def served(self):
        """{event id: log entry} of what stand-ins and engine say they served."""
        found = {}
        for entry in self._lines("standins.jsonl"):
            if entry.get("attempt"):
                found[entry["attempt"]] = entry
        for entry in self._lines("inference.jsonl"):
            found[f"{entry['request_id']}/{entry['attempt']}"] = entry | {
                "input_tokens": entry["prompt_tokens"] - entry["cached_tokens"],
                "cache_read_tokens": entry["cached_tokens"]}
        return found

    def _lines(self, name):
        path = self.directory / name
        text = path.read_text() if path.exists() else ""
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]

    # ---- the accounts ----

    def command(self, *words, check=True):
        done = subprocess.run([bin_dir() / "tollgate", *words], capture_output=True, text=True, timeout=60,
                              env=os.environ | self.extra | self.env)
        assert not check or done.returncode == 0, f"tollgate {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def events(self):
        """{event id: [event, ...]} from Kafka, every copy."""
        found = {}
        for line in self.command("events", "--kafka", self.env["TOLLGATE_KAFKA"], "--topic",
                                 self.extra["TOLLGATE_TOPIC_USAGE"]).splitlines():
            event = json.loads(line)
            found.setdefault(f"{event['request_id']}/{event['attempt']}", []).append(event)
        return found

    def verify(self):
        return json.loads(self.command("ledger", "verify", "--json"))

    def statement(self, tenant):
        return json.loads(self.command("ledger", "statement", "--tenant", tenant, "--json"))

    def settled(self, transactions):
        """Waits for the ledger to hold that many transactions; returns the verification."""
        deadline = time.monotonic() + SETTLE_S
        while True:
            verified = self.verify()
            if verified["transactions"] >= transactions:
                return verified
            assert time.monotonic() < deadline, f"{verified}, {transactions} expected\n{self.logs()}"
            time.sleep(0.1)

    def metric(self, part, name, label=""):
        """The sum over all series of a metric family of one service (of those with this label, if given)."""
        text = httpx.get(self.env[f"TOLLGATE_{part.upper()}_METRICS"], timeout=10).text
        found = re.findall(rf"^{name}(?:{{([^}}]*)}})? ([0-9.e+-]+)$", text, re.MULTILINE)
        assert found or label, f"{part} has no metric {name}"
        return sum(float(value) for labels, value in found if label in labels)


def until(what, condition, limit_s=30):
    """Polls a condition; the message says what did not come about."""
    deadline = time.monotonic() + limit_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(0.05)
