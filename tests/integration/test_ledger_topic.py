"""The topic of ledger transactions, read as a data team would: complete, balanced and equal to the ledger, whenever billing
dies."""
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from mesh import TENANTS, until

DEATH_LIMIT_S = 30


def read(bootstrap, topic, decode):
    """Every record of the topic: [(key, headers, record)]."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reads-ledger", "enable.auto.commit": False,
                         "enable.partition.eof": True})
    partitions = until("the topic is there",
                       lambda: consumer.list_topics(topic, timeout=10).topics[topic].partitions, 30)
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
    found, ended = [], set()
    while len(ended) < len(partitions):
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error():
            ended.add(message.partition())
            continue
        found.append((message.key(), dict(message.headers()), decode(message.value())))
    consumer.close()
    return found


def agrees_with_the_ledger(mesh, stubs, transactions):
    """Waits until that many transactions are posted and published; returns every copy of each."""
    verified = mesh.settled(transactions)
    copies = until("every transaction is in the topic", lambda: complete(mesh, stubs, verified["transactions"]))
    distinct = {}
    for key, headers, record in copies:
        assert key.decode() == record.tenant
        assert headers["billing-instance"] == b"billing-1"
        assert sum(p.amount_picousd for p in record.postings) == 0
        assert distinct.setdefault(record.transaction_id, record) == record, "what was posted does not change"
    verified = mesh.verify()
    assert verified["ok"] and len(distinct) == verified["transactions"], "nothing is there that is not in the ledger"
    for tenant in TENANTS:
        owed = sum(p.amount_picousd for r in distinct.values() for p in r.postings
                   if p.account == "receivable" and p.owner == tenant)
        assert owed == int(mesh.statement(tenant)["total_picousd"]), tenant
    until("the outbox empties", lambda: mesh.metric("billing", "tollgate_ledger_unpublished") == 0)
    return [record for _, _, record in copies]


def complete(mesh, stubs, transactions):
    copies = read(mesh.kafka, mesh.topic.replace("usage", "ledger"), stubs["ledger"].LedgerTransaction.FromString)
    return copies if len({record.transaction_id for _, _, record in copies}) >= transactions else None


def dies(mesh, point):
    """Billing, armed to die at a point, has something to post and dies there. How many requests that took."""
    mesh.stop("billing")
    group = f"{mesh.extra['TOLLGATE_BILLING_GROUP']}-{point}"  # of its own: nobody waits for Kafka to miss the dead
    mesh.start("billing", wait=False, env={"TOLLGATE_FAULT_POINT": point, "TOLLGATE_BILLING_GROUP": group})
    deadline, sent = time.monotonic() + DEATH_LIMIT_S, 0
    while mesh.alive("billing"):
        assert time.monotonic() < deadline, f"billing did not reach {point}"
        assert mesh.chat(model="openai-gpt4o-mini", tenant="globex").status_code == 200
        sent += 1
        time.sleep(0.05)
    mesh.start("billing", env={"TOLLGATE_BILLING_GROUP": f"{group}-after"})
    return sent


def test_complete_whenever_billing_dies(own_mesh, stubs):
    mesh = own_mesh
    for tenant in TENANTS:
        assert mesh.chat(model="openai-gpt4o-mini", tenant=tenant).status_code == 200
    records = agrees_with_the_ledger(mesh, stubs, len(TENANTS))
    assert len(records) == len(TENANTS), "nothing died: each transaction is there once"
    record = next(r for r in records if r.tenant == "acme")
    assert record.target == "openai-gpt4o-mini" and record.attempt == 1 and record.request_id and record.price_book
    assert {(p.account, p.owner) for p in record.postings} == \
        {("receivable", "acme"), ("revenue", "openai-gpt4o-mini")}

    sent = len(TENANTS) + dies(mesh, "ledger_after_commit:2")  # posted, and not yet sent
    agrees_with_the_ledger(mesh, stubs, sent)
    sent += dies(mesh, "outbox_after_ack")  # sent, and still in the outbox
    records = agrees_with_the_ledger(mesh, stubs, sent)
    assert len(records) > sent, "its successor sends it again"
