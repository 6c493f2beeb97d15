"""The whole way to the ledger over a Kafka that asks for TLS, a certificate, a name and a password."""
import ctypes
import os
import subprocess

import pytest

from kafka_fixture import Kafka
from mesh import Mesh, bin_dir


# Earlier ones send the client's nonce twice, and Kafka has looked closely since 4.0 (librdkafka's pull request 4895).
SCRAM_SINCE = 0x020601ff
MECHANISMS = ["PLAIN"] + ["SCRAM-SHA-512"] * (ctypes.CDLL("librdkafka.so.1").rd_kafka_version() >= SCRAM_SINCE)


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    broker = Kafka(tmp_path_factory.mktemp("kafka"), secure=True)
    broker.start()
    yield broker
    broker.stop()


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_from_a_request_to_the_ledger(tmp_path, secure, mechanism):
    mesh = Mesh(tmp_path / "mesh", kafka=secure.secure_bootstrap, env=secure.secure_env(mechanism))
    secure.create_topics(f"{mesh.topic}:4")
    mesh.up()
    try:
        assert mesh.chat().status_code == 200
        verified = mesh.settled(1)
        assert verified["transactions"] == 1 and len(mesh.events()) == 1, verified
        assert "open-sesame" not in mesh.logs()
    finally:
        mesh.down()


def events(secure, **settings):
    return subprocess.run([bin_dir() / "tollgate", "events", "--kafka", secure.secure_bootstrap], text=True, timeout=60,
                          capture_output=True, env=os.environ | secure.secure_env("PLAIN", **settings))


@pytest.mark.parametrize("settings", [{"SASL_PASSWORD": "guess-me"}, {"SECURITY": "plaintext", "CA_FILE": "", "CERT_FILE": "",
                                      "KEY_FILE": "", "SASL_USERNAME": "", "SASL_PASSWORD": ""},
                                      {"CERT_FILE": "", "KEY_FILE": ""}])
def test_who_may_not_read_does_not(secure, settings):
    """A wrong password, no TLS, no certificate."""
    done = events(secure, **settings)
    assert done.returncode == 1 and not done.stdout, done
    assert "guess-me" not in done.stderr


@pytest.mark.parametrize("settings, words", [
    ({"SECURITY": "tls"}, ("TOLLGATE_KAFKA_SECURITY", "tls", "sasl_ssl")),
    ({"SASL_MECHANISM": "GSSAPI"}, ("TOLLGATE_KAFKA_SASL_MECHANISM", "GSSAPI", "SCRAM-SHA-256")),
    ({"SASL_PASSWORD": ""}, ("password is missing",)),
    ({"KEY_FILE": ""}, ("key_file is missing",)),
])
def test_settings_that_do_not_go_together(secure, settings, words):
    done = events(secure, **settings)
    assert done.returncode == 1 and all(word in done.stderr for word in words), done.stderr
    assert "open-sesame" not in done.stderr
