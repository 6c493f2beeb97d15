"""The topic of engine time, and what WatchStatus says of it: every interval adds up, and all of them are what requests were told."""
import time
import uuid

import grpc
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

READ_LIMIT_S = 30


def read(bootstrap, topic, enough, decode):
    """All records from the beginning, until enough(records)."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reads-engine-time", "enable.auto.commit": False})
    records, end, assigned = [], time.monotonic() + READ_LIMIT_S, False
    while not enough(records) and time.monotonic() < end:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions if not assigned else ()
        if partitions:
            consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
            assigned = True
        message = consumer.poll(0.2)
        if message is not None and not message.error():
            record = decode(message.value())
            assert message.key().decode() == record.instance_id
            assert dict(message.headers())["inference-instance"].decode() == record.instance_id
            records.append(record)
    consumer.close()
    assert enough(records), f"{len(records)} records were not enough"
    return records


def generate(stubs, stub, tenant, tokens):
    """The end event of a generation."""
    *_, last = stub.Generate(stubs["inference"].GenerateRequest(
        text="The toll gate", max_tokens=tokens, tenant=tenant,
        sampling=stubs["inference"].Sampling(temperature=0.8, has_seed=True, seed=7)), timeout=60)
    return last.end


def test_blocks_come_and_are_named(mesh, stubs):
    """Who watches learns which blocks a request left behind; another tenant's same words leave others."""
    with grpc.insecure_channel(mesh.env["TOLLGATE_INFERENCE_GRPC"]) as channel:
        stub = stubs["inference_grpc"].InferenceStub(channel)
        watch = stub.WatchBlocks(stubs["inference"].WatchBlocksRequest(), timeout=60)
        first = next(watch)
        assert first.reset and not first.events
        text = uuid.uuid4().hex + " stands before the toll gate, and so do all the others. " * 3
        names = []
        for tenant in ("blocks-a", "blocks-b"):
            *_, last = stub.Generate(stubs["inference"].GenerateRequest(text=text, max_tokens=2, tenant=tenant), timeout=60)
            parent_of, chain = {}, []
            while last.end.prompt_block not in parent_of:
                message = next(watch)
                assert not message.reset
                parent_of |= {e.block: e.parent for e in message.events if not e.removed}
            name = last.end.prompt_block
            while name:
                chain.append(name)
                name = parent_of[name]
            assert len(chain) == last.end.prompt_tokens // 16 > 2
            names.append(set(chain))
        assert not names[0] & names[1]
        watch.cancel()


def test_intervals_add_up_to_what_requests_were_told(mesh, stubs):
    tenants = {f"time-{uuid.uuid4().hex[:8]}": 5, f"time-{uuid.uuid4().hex[:8]}": 9}
    with grpc.insecure_channel(mesh.env["TOLLGATE_INFERENCE_GRPC"]) as channel:
        stub = stubs["inference_grpc"].InferenceStub(channel)
        ends = {tenant: [generate(stubs, stub, tenant, n) for n in (3, count)] for tenant, count in tenants.items()}
        status = next(stub.WatchStatus(stubs["inference"].WatchStatusRequest(interval_ms=100), timeout=10))

    def sums(records, tenant):
        parts = [t for r in records for t in r.tenants if t.tenant == tenant]
        return {name: sum(getattr(t, name) for t in parts)
                for name in ("engine_ns", "prompt_tokens", "cached_tokens", "output_tokens")}

    wanted = {tenant: {name: sum(getattr(end, name) for end in of)
                       for name in ("engine_ns", "prompt_tokens", "cached_tokens", "output_tokens")}
              for tenant, of in ends.items()}
    records = read(mesh.kafka, mesh.topic.replace("usage", "engine-time"),
                   lambda found: all(sums(found, t)["output_tokens"] >= wanted[t]["output_tokens"] for t in tenants),
                   stubs["engine_time"].EngineTime.FromString)
    for tenant in tenants:
        assert sums(records, tenant) == wanted[tenant] and wanted[tenant]["engine_ns"] > 0
    for record in records:
        shares = sum(t.engine_ns for t in record.tenants)
        assert shares + record.overhead_ns + record.idle_ns == record.end_ns - record.begin_ns, record
        assert record.model and record.numerics and record.instruction_path and record.quantisation
        assert not any(t.others for t in record.tenants)
    for engine in {r.engine_id for r in records}:
        mine = [r for r in records if r.engine_id == engine]
        assert [r.number for r in mine] == list(range(1, len(mine) + 1))
        assert mine[0].begin_ns == 0 and all(a.end_ns == b.begin_ns for a, b in zip(mine, mine[1:]))
    assert abs(records[-1].ended_unix_ns / 1e9 - time.time()) < 300

    assert status.shared_ns + status.overhead_ns + status.idle_ns == status.age_ns > 0
    assert status.kv_blocks_free + status.kv_blocks_used + status.kv_blocks_cached == status.kv_blocks_total > 0
    assert status.prompt_tokens_per_second > 0 and status.output_tokens_per_second > 0
    for wait in (status.first_token, status.inter_token):
        assert 0 < wait.p50_ns <= wait.p95_ns <= wait.p99_ns
    assert status.steps_total > 0 and status.cached_tokens_total <= status.prompt_tokens_total
    assert status.instruction_path and status.quantisation and status.numerics
