"""kill -9 at the worst moments: afterwards nothing is lost and nothing is doubled.

Four moments, TG_KILLS each (5 unless told otherwise): mid-stream, between *opened* and *closed*, after
Kafka's acknowledgement, inside the ledger's transaction. After all of them, four independent accounts must
agree: what clients received, what the stand-ins logged, the events in Kafka, the ledger.
"""
import concurrent.futures
import os
import random
import time

import httpx
import pytest

from ledger_topic import agrees_with_the_ledger
from mesh import Mesh, until

KILLS = int(os.environ.get("TG_KILLS", "5"))
SEED = int(os.environ.get("TG_TEST_SEED", "0")) or int(time.time())
DEATH_LIMIT_S = 60
MANAGED = "openai-gpt4o-mini"


class Clients:
    """Clients that remember what they were told."""

    def __init__(self, mesh):
        self.mesh = mesh
        self.completed = {}  # request id: (input tokens, output tokens)
        self.broken = 0
        self.pool = concurrent.futures.ThreadPoolExecutor(8)

    def one(self, stream, model=MANAGED):
        try:
            response = self.mesh.chat("tell me", model=model, stream=stream,
                                      stream_options={"include_usage": True} if stream else None)
        except httpx.HTTPError:
            self.broken += 1
            return
        route = self.mesh.routing(response)
        if response.status_code != 200 or "cost_usd" not in route:
            self.broken += 1
            return
        self.completed[route["request"]] = float(route["cost_usd"])

    def burst(self, count, **how):
        futures = [self.pool.submit(self.one, i % 2 == 0, **how) for i in range(count)]
        return futures

    def finish(self, futures):
        for future in futures:
            future.result(timeout=90)


@pytest.fixture(scope="module")
def killed_mesh(tmp_path_factory, kafka):
    print(f"TG_TEST_SEED={SEED}")
    mesh = Mesh(tmp_path_factory.mktemp("kills"), kafka=kafka.bootstrap)
    kafka.create_topics(f"{mesh.topic}:4")
    mesh.up()
    mesh.clients = Clients(mesh)
    yield mesh
    mesh.down()


def load_until_death(mesh, part):
    """Requests until the part has reached its fault point."""
    deadline = time.monotonic() + DEATH_LIMIT_S
    while mesh.alive(part):
        assert time.monotonic() < deadline, f"{part} did not reach its fault point\n{mesh.logs()}"
        mesh.clients.finish(mesh.clients.burst(4))
        time.sleep(0.05)


def reconcile(mesh):
    """Waits for the accounts to meet, then compares them. An attempt that was opened and never reached its
    upstream is in nobody's log, so the spool must be empty before events are counted."""
    until("the spool empties", lambda: mesh.metric("router", "tollgate_spool_unacknowledged_records") == 0, 60)
    served = {i: e for i, e in mesh.served().items() if e["status"] == 200}
    events = until("every served attempt is an event in Kafka",
                   lambda: (lambda found: found if set(served) <= set(found) else None)(mesh.events()), 60)
    verified = mesh.settled(len(events))
    assert verified["ok"], verified
    assert verified["transactions"] == len(events), "a transaction per distinct event, no more, no less"
    assert verified["quarantined"] == 0
    for request, cost in mesh.clients.completed.items():
        mine = [e for i, e in events.items() if i.startswith(request)]
        assert mine, f"request {request} was answered and has no event"
        final = max((e[0] for e in mine), key=lambda e: e["attempt"])
        assert final["outcome"] == "ok" and round(cost * 1e12) == final["cost_picousd"]
    for event_id, copies in events.items():
        assert len({c["cost_picousd"] for c in copies}) == 1, f"copies of {event_id} differ"
        if copies[0]["outcome"] == "ok":
            log = served[event_id]
            assert (copies[0]["input_tokens"], copies[0]["output_tokens"]) == \
                (log["input_tokens"], log["output_tokens"])
    return events


def test_router_killed_mid_stream(killed_mesh):
    mesh, rng = killed_mesh, random.Random(SEED)
    for _ in range(KILLS):
        mesh.fault("openai", {"slow_token_ms": 20})
        futures = mesh.clients.burst(6)
        time.sleep(rng.uniform(0.1, 0.6))
        mesh.kill("router")
        mesh.clients.finish(futures)
        mesh.no_faults()
        mesh.start("router")
    events = reconcile(mesh)
    assert any(c[0]["outcome"] == "aborted" for c in events.values()), "no attempt was under way at any kill"


@pytest.mark.parametrize("point", ["spool_after_opened", "spool_after_closed", "producer_after_ack"])
def test_router_killed_at(killed_mesh, point):
    """Each router has its predecessor's spool to send, and may be killed while it does."""
    mesh, rng = killed_mesh, random.Random(SEED + 1)
    mesh.stop("router")
    for _ in range(KILLS):
        mesh.start("router", env={"TOLLGATE_FAULT_POINT": f"{point}:{rng.randint(1, 6)}"}, wait=False)
        load_until_death(mesh, "router")
    mesh.start("router")
    reconcile(mesh)


def test_billing_killed_inside_its_transaction(killed_mesh):
    """The offsets that count are the ledger's own: with a new group each time there are no others, and no
    wait until Kafka misses the dead member of the last one (the next test waits for that)."""
    mesh, rng = killed_mesh, random.Random(SEED + 2)
    group = mesh.extra["TOLLGATE_BILLING_GROUP"]
    mesh.stop("billing")
    for i in range(KILLS):
        mesh.start("billing", wait=False, env={
            "TOLLGATE_BILLING_GROUP": f"{group}-{i}",
            "TOLLGATE_FAULT_POINT": f"ledger_in_transaction:{rng.randint(1, 3)}"})
        load_until_death(mesh, "billing")
    mesh.start("billing")
    reconcile(mesh)


def test_every_service_killed_under_load(killed_mesh, stubs):
    mesh, rng = killed_mesh, random.Random(SEED + 3)
    for part in ("router", "billing", "health", "inference"):
        futures = mesh.clients.burst(12) + mesh.clients.burst(2, model="private-gpu-llama-70b")
        time.sleep(rng.uniform(0.05, 0.3))
        mesh.kill(part)
        mesh.clients.finish(futures)
        mesh.start(part)
    mesh.clients.finish(mesh.clients.burst(4))
    events = reconcile(mesh)
    agrees_with_the_ledger(mesh, stubs, len(events))  # and what was posted is published, whatever was killed so far
