"""The topic of routing decisions, read as a data team would: with a stock Kafka client and generated code."""
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

READ_LIMIT_S = 30


def read(bootstrap, topic, wanted, decode):
    """(key, headers, record) by the client's own id; fails when one of `wanted` is missing after READ_LIMIT_S."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reads-decisions", "enable.auto.commit": False})
    found, end = {}, time.monotonic() + READ_LIMIT_S
    assigned = 0
    while not wanted <= found.keys() and time.monotonic() < end:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions if not assigned else ()
        if partitions:
            consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
            assigned = len(partitions)
        message = consumer.poll(0.2)
        if message is None or message.error():
            continue
        record = decode(message.value())
        assert not record.client_request_id or record.client_request_id not in found, "one decision, one record"
        found[record.client_request_id] = (message.key(), dict(message.headers()), record)
    consumer.close()
    assert wanted <= found.keys(), f"missing: {wanted - found.keys()}"
    return found


def test_each_decision_is_published_with_its_reasons(mesh, stubs):
    served = mesh.chat(task_type="chat", headers={"x-request-id": "decided-served"})
    assert served.status_code == 200, served.text
    refused = mesh.chat(task_type="analysis", content="x" * 400_000, tenant="globex", max_tokens=100_000,
                        headers={"x-request-id": "decided-refused"})
    assert refused.status_code in (400, 402), refused.text
    route = mesh.routing_header(served)
    found = read(mesh.kafka, mesh.topic.replace("usage", "decisions"), {"decided-served", "decided-refused"},
                 stubs["decisions"].Decision.FromString)
    key, headers, record = found["decided-served"]
    assert record.request_id == route["request"]
    assert key == b"acme" and record.tenant == "acme" and record.task_type == "chat"
    assert headers["router-instance"].decode() == record.instance_id != ""
    assert record.rule == route["rule"] and record.steps[0].target == route["target"] and record.steps[0].endpoint
    assert any(c.kept and c.target == route["target"] for c in record.candidates)
    assert record.refusal_status == 0 and record.refusal == "" and record.policy_version and record.traceparent
    assert abs(record.decided_unix_ns / 1e9 - time.time()) < 300
    assert b"Say something" not in record.SerializeToString(), "what was asked is not in it"
    key, _, record = found["decided-refused"]
    assert key == b"globex" and record.refusal_status == refused.status_code and not record.steps
    assert record.refusal and record.refusal in refused.json()["error"]["message"]
