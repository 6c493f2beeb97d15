"""The topic of ledger transactions, read as a data team would: with a stock Kafka client and generated code."""
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from mesh import TENANTS, until


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
            assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
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
