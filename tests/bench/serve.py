"""Our inference service against llama-server with continuous batching: the same model, threads and arrivals.

A closed loop first finds how many requests a second llama-server sustains. Then requests arrive as a Poisson
process at 50, 80 and 95% of that, the same ones at the same moments for both: prompts of 32 to 1,024 random
tokens, outputs of 16 to 128. No prompt comes twice, so no cache has a part in it. The
generator (tests/bench/bench_serve.c) is one thread of C.

A request is good when its first token came within 2 s and the others at 100 ms a token or faster, on average.

    serve.py [--requests N] [--levels 50,80,95] [--saturation R]
"""
import argparse
import atexit
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import engine
from engine import BIN, BUILD, SMOL, THREADS, model_file, version

SLOTS = 32           # of llama-server: more requests a second than with 8 or 16
SEQUENCES = 32       # at once in ours
TOKENS_EACH = 1184   # of the longest prompt and output, in whole blocks
FIRST_TOKEN_S = 2
TOKEN_MS = 100
SEED = 7
NAMES = {"ours": "ours", "llama": "llama-server"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    def __init__(self, name, command, port, **environment):
        self.name, self.port = name, port
        self.process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        atexit.register(self.end)

    def ready(self):
        try:
            if self.name == "llama":  # it listens before it is ready
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5).close()
            else:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            return True
        except OSError:
            return False

    def wait(self):
        for _ in range(1200):
            if self.process.poll() is not None:
                raise SystemExit(f"{self.process.args[0]} ended early")
            if self.ready():
                self.load(2, 1, "closed", 1)
                return
            time.sleep(0.05)
        raise SystemExit(f"{self.process.args[0]} does not become ready")

    def load(self, count, seed, *how):
        done = subprocess.run([BIN / "bench_serve", self.name, f"127.0.0.1:{self.port}", str(count), str(seed),
                               *map(str, how)], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        return [tuple(map(int, line.split())) for line in done.stdout.splitlines()]

    def resident_mb(self):
        pages = int(pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE") / 1e6

    def __enter__(self):
        self.wait()
        return self

    def end(self):
        self.process.terminate()
        self.process.wait()

    def __exit__(self, *_):
        self.end()


def ours(directory):
    port = free_port()
    conf = pathlib.Path(directory) / "inference.yaml"
    conf.write_text(f"""version: 1
instance_id: bench
grpc_listen: "127.0.0.1:{port}"
metrics_listen: "127.0.0.1:0"
model_file: "{model_file(SMOL)}"
threads: {THREADS}
max_seqs: {SEQUENCES}
kv_tokens: {SEQUENCES * TOKENS_EACH}
""")
    return Server("ours", [BIN / "tollgate-inference", "--config", conf], port)


def llama():
    port = free_port()
    program = BUILD / "peers" / "native" / "bin" / "llama-server"
    return Server("llama", [program, "-m", model_file(SMOL), "-t", str(THREADS), "-tb", str(THREADS), "-np", str(SLOTS),
                            "-c", str(SLOTS * TOKENS_EACH), "--host", "127.0.0.1", "--port", str(port),
                            "--cache-ram", "0"], port)


def percentile(values, percent):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


class Outcome:
    """What became of the requests of one run."""

    def __init__(self, rows):
        began, ended = min(row[0] for row in rows), max(row[2] for row in rows)
        self.seconds = (ended - began) / 1e6
        self.first_s = [(first - sent) / 1e6 for sent, first, *_ in rows]
        self.token_ms = [(last - first) / 1e3 / (got - 1) for _, first, last, _, _, got in rows if got > 1]
        good = sum(first <= FIRST_TOKEN_S and row[2] - row[1] <= TOKEN_MS * 1e3 * max(1, row[5] - 1)
                   for first, row in zip(self.first_s, rows))
        self.good_percent = 100 * good / len(rows)
        self.good_per_s = good / self.seconds
        self.per_s = len(rows) / self.seconds
        self.output_per_s = sum(row[5] for row in rows) / self.seconds
        self.cut = sum(row[5] < row[4] for row in rows)

    def cells(self):
        return (f"{self.good_percent:6.0f}% {self.good_per_s:8.2f} {percentile(self.first_s, 50):9.2f} "
                f"{percentile(self.first_s, 99):8.2f} {percentile(self.token_ms, 50):9.0f} "
                f"{percentile(self.token_ms, 99):8.0f} {self.output_per_s:8.1f}")

    def figures(self):
        return (f"good_percent={self.good_percent:.1f} good_per_s={self.good_per_s:.3f} "
                f"ttft_p50_s={percentile(self.first_s, 50):.3f} ttft_p99_s={percentile(self.first_s, 99):.3f} "
                f"token_p50_ms={percentile(self.token_ms, 50):.1f} token_p99_ms={percentile(self.token_ms, 99):.1f} "
                f"output_tps={self.output_per_s:.1f}")


def arrive(server, level, rate, requests, seed):
    outcome = Outcome(server.load(requests, seed, "open", rate))
    print(f"{level:3}%, {rate:4.2f}/s {NAMES[server.name]:<12} {outcome.cells()}" +
          (f"  ({outcome.cut} ended early)" if outcome.cut else ""), flush=True)
    print(f"BENCH serve level={level} rate={rate:.3f} server={server.name} {outcome.figures()}")


def needed_mb():
    """Weights and KV memory of our service as configured here."""
    with engine.ours(model_file(SMOL), seqs=SEQUENCES, context=SEQUENCES * TOKENS_EACH) as driver:
        return (int(driver.facts["weights"]) + int(driver.facts["kv"])) / 1e6


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=48, help="in each run")
    parser.add_argument("--levels", default="50,80,95", help="percent of llama-server's saturation")
    parser.add_argument("--saturation", type=float, help="requests a second, known from another run")
    options = parser.parse_args()
    print(f"{SMOL}, {THREADS} threads, llama-server of llama-cpp-python {version()} with {SLOTS} slots, "
          f"ours with {SEQUENCES}; {options.requests} requests a run")
    with tempfile.TemporaryDirectory() as directory, ours(directory) as a, llama() as b:
        limits = {b: options.saturation, a: None}
        for server in (b, a):
            if limits[server] is None:
                outcome = Outcome(server.load(2 * SLOTS, SEED + 1, "closed", SLOTS))
                limits[server] = outcome.per_s
                print(f"{'' if server is a else chr(10)}saturation of {NAMES[server.name]}: {outcome.per_s:.2f} requests/s, "
                      f"{outcome.output_per_s:.0f} output tokens/s", flush=True)
        print(f"ours carries {limits[a] / limits[b]:.2f} times as much")
        print(f"BENCH serve saturation_rps={limits[b]:.3f} ours_rps={limits[a]:.3f}")
        print(f"\n{'arrivals':<24} {'good':>7} {'good/s':>8} {'TTFT p50':>9} {'p99, s':>8} {'token p50':>9} {'p99, ms':>8} "
              f"{'tokens/s':>8}")
        levels = [int(level) for level in options.levels.split(",")]
        for level in levels:
            for server in (b, a):
                arrive(server, level, limits[b] * level / 100, options.requests, SEED + level)
        print("and at as much of its own saturation:")
        arrive(a, levels[-1], limits[a] * levels[-1] / 100, 2 * options.requests, SEED + 1000)
        print(f"\nresident: ours {a.resident_mb():.0f} MB, of which weights and KV {needed_mb():.0f} (goal: 64 more at "
              f"most); llama-server {b.resident_mb():.0f} MB")


if __name__ == "__main__":
    sys.exit(main())
