"""Our router against HAProxy and nginx, before the same stand-in, in one run.

CPU µs a request (user and system, of the gateway's process alone) at 1, 16 and 64 connections: plain
answers, and SSE of 52 events with all events in one write, and with one write per event. Everything is on
in the router: authentication, policy, spool with its syncs, Kafka, usage parsing, metrics.

The run fails unless the router spooled exactly one event per request and every event carries reported
usage: a gateway that skipped its work would win for nothing.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from mesh import Mesh, free_base  # noqa: E402

CONNECTIONS = (1, 16, 64)
SECONDS = int(os.environ.get("TG_BENCH_SECONDS", "4"))
TICK = os.sysconf("SC_CLK_TCK")
TOKENS = 48  # 52 events: role, 48 tokens, stop, usage, [DONE]

HAPROXY = """
global
  maxconn 1000
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option http-keep-alive
frontend f
  bind 127.0.0.1:{port}
  default_backend b
backend b
  http-reuse always
  server s 127.0.0.1:{upstream}
"""

NGINX = """
daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/nginx.err;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  keepalive_requests 100000000;
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""

LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {key}"
wrk.headers["X-Task-Type"] = "chat"
wrk.body = [[{body}]]
done = function(summary)
  local e = summary.errors
  io.write(string.format("REQUESTS %d ERRORS %d\\n", summary.requests, e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def cpu_s(pid):
    """User and system seconds of a process and its threads, and of nginx's worker."""
    total = 0
    for one in [pid, *children(pid)]:
        fields = pathlib.Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def children(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(word) for word in found.stdout.split()]


def load(directory, port, key, body, connections):
    script = directory / "load.lua"
    script.write_text(LUA.format(key=key, body=json.dumps(body)))
    done = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--timeout", "20s", "-s", script,
                           f"http://127.0.0.1:{port}/v1/chat/completions"], capture_output=True, text=True, check=True)
    requests, errors = map(int, re.search(r"REQUESTS (\d+) ERRORS (\d+)", done.stdout).groups())
    assert errors == 0, f"{errors} of {requests} requests failed on port {port}: {done.stdout}"
    return requests


def measure(directory, pid, port, key, body, connections):
    load(directory, port, key, body, 1) if connections == 1 else None  # warm
    before = cpu_s(pid)
    requests = load(directory, port, key, body, connections)
    return (cpu_s(pid) - before) * 1e6 / requests, requests / SECONDS


def wait_for(port):
    for _ in range(200):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1)
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nothing answers on port {port}")


def check_events(mesh):
    """The router must have done its whole work: an event per attempt, usage parsed from every answer."""
    deadline = time.monotonic() + 120
    while mesh.metric("router", "tollgate_spool_unacknowledged_records") > 0 and time.monotonic() < deadline:
        time.sleep(0.2)
    delivered = int(mesh.metric("router", "tollgate_usage_delivered_total"))
    attempts = int(mesh.metric("router", "tollgate_attempts_total"))
    complete = int(mesh.metric("router", "tollgate_attempts_total", 'outcome="ok"'))
    left = int(mesh.metric("router", "tollgate_attempts_total", 'outcome="client_gone"'))  # when a run's time is up
    output = mesh.metric("router", "tollgate_tokens_total", 'kind="output"')
    assert delivered == attempts == complete + left, f"{attempts} attempts, {delivered} events, {complete} complete"
    assert output >= complete * TOKENS, f"usage was not parsed from every answer: {output} tokens of {complete}"
    return delivered, complete


def main():
    for tool in ("wrk", "haproxy", "nginx"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is not installed: ./dev bench installs it")
    directory = pathlib.Path(tempfile.mkdtemp(prefix="tollgate-bench-"))
    mesh = Mesh(directory / "mesh", env={"TOLLGATE_SPOOL_LIMIT": "4GiB"})
    processes = []
    try:
        mesh.up()
        upstream = int(mesh.env["TOLLGATE_STANDINS"].rsplit(":", 1)[1])
        base = free_base()
        (directory / "haproxy.cfg").write_text(HAPROXY.format(port=base, upstream=upstream))
        (directory / "nginx.conf").write_text(NGINX.format(port=base + 1, upstream=upstream, dir=directory))
        processes.append(subprocess.Popen(["haproxy", "-f", directory / "haproxy.cfg"], stderr=subprocess.DEVNULL))
        processes.append(subprocess.Popen(["nginx", "-p", directory, "-c", directory / "nginx.conf"],
                                          stderr=subprocess.DEVNULL))
        wait_for(base)
        wait_for(base + 1)
        router_port = int(mesh.env["TOLLGATE_ROUTER_LISTEN"].rsplit(":", 1)[1])
        gateways = (("haproxy", processes[0].pid, base, mesh.env["OPENAI_API_KEY"], "gpt-4o-mini-2024-07-18"),
                    ("nginx", processes[1].pid, base + 1, mesh.env["OPENAI_API_KEY"], "gpt-4o-mini-2024-07-18"),
                    ("router", mesh.pid("router"), router_port, mesh.key(), "openai-gpt4o-mini"))
        resident = int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(
            f"/proc/{mesh.pid('router')}/status").read_text()).group(1)) / 1024
        print(f"{'answers':26} {'conns':>5}  {'haproxy µs':>10} {'nginx µs':>9} {'router µs':>9}  "
              f"{'/ haproxy':>9} {'/ nginx':>8}  {'router req/s':>12}")
        for name, stream, fault in (("plain", False, {}), ("SSE, 52 events, 1 write", True, {"write": "all"}),
                                    ("SSE, 52 events, 52 writes", True, {})):
            mesh.no_faults()
            mesh.fault("openai", {"tokens": TOKENS} | fault)
            for connections in CONNECTIONS:
                row = {}
                for gateway, pid, port, key, model in gateways:
                    body = {"model": model, "stream": stream,
                            "messages": [{"role": "user", "content": "What does a toll gate do? " * 4}]}
                    if stream:
                        body["stream_options"] = {"include_usage": True}
                    row[gateway] = measure(directory, pid, port, key, body, connections)
                ours = row["router"]
                print(f"{name:26} {connections:5}  {row['haproxy'][0]:10.1f} {row['nginx'][0]:9.1f} {ours[0]:9.1f}  "
                      f"{ours[0] / row['haproxy'][0]:9.2f} {ours[0] / row['nginx'][0]:8.2f}  {ours[1]:12.0f}", flush=True)
        delivered, complete = check_events(mesh)
        print(f"\nevents delivered to Kafka: {delivered} for {delivered} attempts, of which {complete} complete with "
              f"usage parsed\nrouter at rest: {resident:.1f} MB resident")
    finally:
        for process in processes:
            process.terminate()
        mesh.down()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
