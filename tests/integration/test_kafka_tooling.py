"""The two brokers that everything else is tested on: do they keep what they are given?"""

import os
import pathlib
import signal
import subprocess
import sys
import time
import uuid

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from kafka_fixture import Kafka, KafkaError  # noqa: E402

READ_LIMIT_S = 30
SESSION_MS = 3000  # devbroker lets a member follow another only after (nearly) this long


def produce(bootstrap, topic, values):
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True,
                         "message.timeout.ms": 20000})
    failed = []
    for value in values:
        producer.produce(topic, value=value, key=value,
                         on_delivery=lambda error, _: failed.append(error) if error else None)
    assert producer.flush(20) == 0, "the broker did not acknowledge in time"
    assert not failed, failed[0]


def consume(bootstrap, topic, group, count):
    """Reads `count` messages in a consumer group, commits just those, and returns their values."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group,
                         "session.timeout.ms": SESSION_MS, "auto.offset.reset": "earliest",
                         "enable.auto.commit": False})
    consumer.subscribe([topic])
    values, read_to = [], {}
    end = time.monotonic() + READ_LIMIT_S
    while len(values) < count and time.monotonic() < end:
        message = consumer.poll(0.2)
        if message is None or message.error():
            continue
        values.append(message.value())
        read_to[message.partition()] = message.offset() + 1
    if values:
        consumer.commit(offsets=[TopicPartition(topic, p, o) for p, o in read_to.items()],
                        asynchronous=False)
    consumer.close()
    return values


def messages(first, last):
    return [b"%d" % n for n in range(first, last)]


@pytest.fixture(scope="module")
def own_kafka(tmp_path_factory):
    """Not the session's: it is killed here."""
    broker = Kafka(tmp_path_factory.mktemp("kafka"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def devbroker(tmp_path):
    binary = pathlib.Path(os.environ.get("TOLLGATE_BIN", ROOT / "build" / "bin")) / "devbroker"
    run_file = tmp_path / "devbroker"
    process = subprocess.Popen([binary, "--run-file", run_file, "--partitions", "3",
                                "--topics", "first,second"], stdout=subprocess.PIPE, text=True)
    address = process.stdout.readline().strip()
    yield {"bootstrap": address, "run_file": run_file, "process": process}
    process.kill()
    process.wait()
    process.stdout.close()


def test_kafka_keeps_data_and_offsets_over_kill_9(own_kafka):
    own_kafka.create_topics("kept:3")
    produce(own_kafka.bootstrap, "kept", messages(0, 200))
    before = consume(own_kafka.bootstrap, "kept", "group", 120)
    assert len(before) == 120

    own_kafka.kill9()
    own_kafka.start()

    produce(own_kafka.bootstrap, "kept", messages(200, 250))
    after = consume(own_kafka.bootstrap, "kept", "group", 130)
    assert sorted(before + after) == sorted(messages(0, 250)), "lost or doubled over the kill"


def test_kafka_makes_topics_on_first_use_and_again_without_complaint(own_kafka):
    topic = f"unnamed-{uuid.uuid4()}"
    produce(own_kafka.bootstrap, topic, messages(0, 5))
    own_kafka.create_topics(topic)
    assert sorted(consume(own_kafka.bootstrap, topic, "group", 5)) == messages(0, 5)


def test_a_second_broker_in_the_same_place_is_refused(own_kafka):
    with pytest.raises(KafkaError, match="already runs"):
        Kafka(own_kafka.directory).start()


def test_devbroker_serves_a_group_with_committed_offsets(devbroker):
    assert devbroker["run_file"].read_text().strip() == devbroker["bootstrap"]
    produce(devbroker["bootstrap"], "first", messages(0, 200))
    before = consume(devbroker["bootstrap"], "first", "group", 120)
    after = consume(devbroker["bootstrap"], "first", "group", 80)
    assert sorted(before + after) == sorted(messages(0, 200)), "lost or doubled over the two readers"


def test_devbroker_ends_cleanly_and_takes_its_run_file_along(devbroker):
    devbroker["process"].send_signal(signal.SIGTERM)
    assert devbroker["process"].wait(timeout=10) == 0
    assert not devbroker["run_file"].exists()
