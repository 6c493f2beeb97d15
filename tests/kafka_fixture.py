"""A real Kafka for integration tests, run by tools/kafka.

    kafka = Kafka(directory)            # any empty directory; its port is chosen once and kept
    kafka.start()                       # returns when the broker answers
    kafka.create_topics("a:4", "b")     # NAME[:PARTITIONS]
    kafka.bootstrap                     # "127.0.0.1:PORT"
    kafka.kill9(); kafka.start()        # same port, same data
    kafka.stop()

    kafka = Kafka(directory, secure=True)
    kafka.secure_bootstrap, kafka.secure_env("PLAIN")   # the same broker over TLS, with name and password

A broker takes about 5 s to start, so share one per session and give each test topics of its own.
Whatever still runs when the interpreter ends is killed.
"""

import atexit
import os
import pathlib
import random
import socket
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOL = ROOT / "tools" / "kafka"

# Below the kernel's range for outgoing connections: while the broker is down between kill9 and start,
# no client may be given its port by chance.
PORT_LEAST, PORT_MOST = 21000, 31000
START_LIMIT_S = 300  # fetches the jars the first time
STOP_LIMIT_S = 60


class KafkaError(Exception):
    """tools/kafka failed; the text is what it printed."""


class Kafka:
    def __init__(self, directory, port=None, secure=False):
        self.directory = pathlib.Path(directory).resolve()
        self.port = port or free_port_pair()
        self.secure_port = free_port_pair() if secure else None
        self.running = False
        atexit.register(self.kill9)

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    @property
    def secure_bootstrap(self):
        return f"127.0.0.1:{self.secure_port}"

    @staticmethod
    def secure_env(mechanism, **more):
        """What a service's or the command's environment says to reach the secure listener."""
        certs = ROOT / "build" / "certs"
        settings = {"SECURITY": "sasl_ssl", "CA_FILE": certs / "ca.crt", "CERT_FILE": certs / "client.crt",
                    "KEY_FILE": certs / "client.key", "SASL_MECHANISM": mechanism, "SASL_USERNAME": "tollgate",
                    "SASL_PASSWORD": "open-sesame"} | more
        return {f"TOLLGATE_KAFKA_{name}": str(value) for name, value in settings.items()}

    @property
    def log(self):
        return self.directory / "kafka.log"

    def start(self):
        self.running = True  # from here on kill9 has something to end, even if this is cut short
        try:
            self._tool(START_LIMIT_S, "start", self.directory, self.port)
        except KafkaError:
            self.running = False
            raise

    def stop(self):
        """Ends it cleanly; nothing happens if it does not run."""
        self._end("stop")

    def kill9(self):
        """Ends it as a crash would: no flush, no farewell to the controller."""
        self._end("kill")

    def create_topics(self, *specs):
        self._tool(STOP_LIMIT_S, "topics", self.directory, *specs)

    def _end(self, how):
        if self.running:
            self._tool(STOP_LIMIT_S, how, self.directory)
            self.running = False

    def _tool(self, limit_s, *args):
        # stdin is closed and output captured; the broker itself writes to its own log.
        env = os.environ | ({"TOLLGATE_KAFKA_SECURE_PORT": str(self.secure_port)} if self.secure_port else {})
        done = subprocess.run([TOOL, *map(str, args)], stdin=subprocess.DEVNULL, text=True, env=env,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit_s)
        if done.returncode != 0:
            raise KafkaError(done.stdout)


def free_port_pair():
    """A port whose successor is free too: the broker's and its controller's."""
    for _ in range(100):
        port = random.randrange(PORT_LEAST, PORT_MOST, 2)
        if is_free(port) and is_free(port + 1):
            return port
    raise KafkaError("no two free ports side by side")


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
