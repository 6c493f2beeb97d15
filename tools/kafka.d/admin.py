"""What tools/kafka asks a running broker: is it ready, and to create topics.

    admin.py ready HOST:PORT SECONDS
    admin.py topics HOST:PORT NAME[:PARTITIONS]...
"""

import sys
import time

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

REQUEST_S = 30
PARTITIONS_DEFAULT = 4


def admin_of(bootstrap):
    # Connection errors while it starts are expected, and what is printed is printed here.
    return AdminClient({"bootstrap.servers": bootstrap, "reconnect.backoff.ms": 50,
                        "reconnect.backoff.max.ms": 200, "log_level": 0,
                        "error_cb": lambda error: None})


def ready(bootstrap, limit_s):
    """A broker is ready once it lists itself: before that the controller still fences it."""
    end = time.monotonic() + limit_s
    admin = admin_of(bootstrap)
    while time.monotonic() < end:
        try:
            if admin.list_topics(timeout=1).brokers:
                return True
        except KafkaException:
            pass
        time.sleep(0.05)
    return False


def create(bootstrap, specs):
    topics = []
    for spec in specs:
        name, _, partitions = spec.partition(":")
        topics.append(NewTopic(name, num_partitions=int(partitions or PARTITIONS_DEFAULT),
                               replication_factor=1))
    admin = admin_of(bootstrap)  # must outlive its futures
    for name, future in admin.create_topics(topics, operation_timeout=REQUEST_S).items():
        try:
            future.result(timeout=REQUEST_S)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                sys.exit(f"topic {name}: {error.args[0].str()}")


def main(argv):
    if len(argv) == 4 and argv[1] == "ready":
        sys.exit(0 if ready(argv[2], float(argv[3])) else 1)
    if len(argv) >= 4 and argv[1] == "topics":
        create(argv[2], argv[3:])
        return
    sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv)
