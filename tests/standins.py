"""The stand-ins alone, for tests of the stand-ins themselves, with clients of the official SDKs.

    standins = StandIns(directory)
    standins.openai().chat.completions.create(...)
    standins.fault("openai", {"status": 429, "reset_s": 9})
    standins.stop()

Which faults there are is described in tests/providers/fault.h, the log in tests/providers/log.h.
"""
import json
import os
import pathlib
import re
import socket
import ssl
import subprocess
import time

import anthropic
import boto3
import httpx
import openai
from botocore.config import Config

ROOT = pathlib.Path(__file__).resolve().parent.parent
OPENAI_KEY, ANTHROPIC_KEY, AWS_ACCESS, AWS_SECRET = "sk-standin", "sk-ant-standin", "AKIASTANDIN", "standin+secret"
START_S = 20


def bin_dir():
    return pathlib.Path(os.environ.get("TOLLGATE_BIN", ROOT / "build" / "bin"))


def certificate(directory):
    """A certificate of its own authority; returns (certificate, key)."""
    cert, key = directory / "cert.pem", directory / "key.pem"
    if not cert.exists():
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "2", "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert],
                       check=True, capture_output=True)
    return cert, key


class StandIns:
    def __init__(self, directory, *more, seed=7):
        self.directory = pathlib.Path(directory)
        self.log_path = self.directory / "standins.jsonl"
        cert, key = certificate(self.directory)
        self.ca = str(cert)
        self.process = subprocess.Popen(
            [bin_dir() / "providers", "--http", "0", "--https", "0", "--cert", cert, "--key", key, "--admin", "0",
             "--log", self.log_path, "--seed", str(seed), "--openai-key", OPENAI_KEY, "--anthropic-key",
             ANTHROPIC_KEY, "--aws-access-key", AWS_ACCESS, "--aws-secret-key", AWS_SECRET, *more],
            stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        found = re.fullmatch(r"listening http=(\d+) https=(\d+) admin=(\d+)\n", line)
        assert found, f"providers said {line!r} and ended with {self.process.poll()}"
        self.port, self.tls_port, admin = map(int, found.groups())
        self.http, self.https = f"http://127.0.0.1:{self.port}", f"https://localhost:{self.tls_port}"
        self.admin = httpx.Client(base_url=f"http://127.0.0.1:{admin}", timeout=START_S)
        self.client = httpx.Client(base_url=self.http, timeout=START_S)
        assert self.admin.get("/healthz").json() == {"ok": True}

    def stop(self):
        """Ends it as an operator would; it has to end well."""
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(START_S)
        self._close()
        assert code == 0, f"providers ended with {code}"

    def kill(self):
        self.process.kill()
        self.process.wait(START_S)
        self._close()

    def _close(self):
        self.admin.close()
        self.client.close()
        self.process.stdout.close()

    # ---- the admin port and the log ----

    def fault(self, dialect, fault, count=1, **more):
        answer = self.admin.post("/faults", json={"dialect": dialect, "fault": fault, "count": count} | more)
        assert answer.status_code == 200, answer.text

    def clear(self):
        assert self.admin.delete("/faults").status_code == 200

    def limits(self, dialect, **terms):
        answer = self.admin.post("/limits", json={"dialect": dialect} | terms)
        assert answer.status_code == 200, answer.text

    def log(self):
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]

    def last(self):
        return self.log()[-1]

    def logged(self, count):
        """Waits for that many lines; returns the last."""
        deadline = time.monotonic() + START_S
        while len(self.log()) < count:
            assert time.monotonic() < deadline, f"{len(self.log())} lines in the log, {count} expected"
            time.sleep(0.01)
        return self.log()[count - 1]

    # ---- clients ----

    def openai(self, key=OPENAI_KEY, tls=False, **more):
        if tls:
            more["http_client"] = openai.DefaultHttpxClient(verify=ssl.create_default_context(cafile=self.ca))
        return openai.OpenAI(base_url=f"{self.https if tls else self.http}/v1", api_key=key, max_retries=0, **more)

    def anthropic(self, key=ANTHROPIC_KEY, tls=False, **more):
        if tls:
            more["http_client"] = anthropic.DefaultHttpxClient(verify=ssl.create_default_context(cafile=self.ca))
        return anthropic.Anthropic(base_url=self.https if tls else self.http, api_key=key, max_retries=0, **more)

    def bedrock(self, access=AWS_ACCESS, secret=AWS_SECRET, tls=False):
        return boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=self.https if tls else self.http,
                            aws_access_key_id=access, aws_secret_access_key=secret,
                            verify=self.ca if tls else None, config=Config(retries={"total_max_attempts": 1}))

    def post(self, body, headers=None, path="/v1/chat/completions", **more):
        return self.client.post(path, json=body, **more,
                                headers={"authorization": f"Bearer {OPENAI_KEY}"} | (headers or {}))

    def connect(self):
        """A bare connection, for what no client would send or tell."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=START_S)
