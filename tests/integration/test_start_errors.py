"""A service that cannot start says what is wrong, where, and what is allowed, and leaves nothing running."""
import os
import pathlib
import shutil
import socket
import subprocess

import pytest

from mesh import ROOT, bin_dir


@pytest.fixture
def prepared(tmp_path, mesh):
    """The environment of the shared mesh with ports and directories of nobody, and a configuration to break."""
    conf = tmp_path / "conf"
    shutil.copytree(ROOT / "deploy" / "dev", conf, ignore=shutil.ignore_patterns("devbroker"))
    env = os.environ | mesh.extra | mesh.env | {
        "TOLLGATE_CONFIG_DIR": str(conf), "TOLLGATE_RUN_DIR": str(tmp_path), "TOLLGATE_KAFKA": "127.0.0.1:1"}
    for name in ("ROUTER_LISTEN", "ROUTER_GRPC_LISTEN", "ROUTER_METRICS", "INFERENCE_GRPC", "INFERENCE_METRICS",
                 "BILLING_GRPC", "BILLING_METRICS", "HEALTH_GRPC", "HEALTH_METRICS"):
        env[f"TOLLGATE_{name}"] = "127.0.0.1:0"
    shutil.copy(mesh.directory / "keys.yaml", tmp_path / "keys.yaml")
    (tmp_path / "spool").mkdir()
    (tmp_path / "ledger").mkdir()
    return conf, env


def refused(service, conf, env):
    done = subprocess.run([bin_dir() / f"tollgate-{service}", "--config", conf / f"{service}.yaml"],
                          capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 1, f"{service} ended with {done.returncode}: {done.stderr}"
    return done.stderr


def change(path: pathlib.Path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_policy_names_an_unknown_target(prepared):
    conf, env = prepared
    change(conf / "policy.yaml", "route_to: anthropic-claude-haiku", "route_to: anthropic-claude-haiko")
    said = refused("router", conf, env)
    assert "policy.yaml:12:17" in said and "anthropic-claude-haiko" in said and "anthropic-claude-haiku" in said, said


@pytest.mark.parametrize("service", ["router", "inference", "billing", "health"])
def test_unknown_key_names_the_nearest(prepared, service):
    conf, env = prepared
    change(conf / f"{service}.yaml", "metrics_listen:", "metrics_lisen:")
    said = refused(service, conf, env)
    assert f"{service}.yaml:" in said and "metrics_lisen" in said and "metrics_listen" in said, said


def test_missing_environment_is_named(prepared):
    conf, env = prepared
    del env["TOLLGATE_OPENAI_URL"]
    assert "TOLLGATE_OPENAI_URL" in refused("router", conf, env)


def test_key_of_an_unknown_tenant(prepared, tmp_path):
    conf, env = prepared
    change(tmp_path / "keys.yaml", 'tenant: "acme"', 'tenant: "acne"')
    said = refused("router", conf, env)
    assert "keys.yaml:" in said and "acne" in said, said


def test_port_in_use(prepared):
    conf, env = prepared
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for service in ("router", "health"):
            env_one = env | {f"TOLLGATE_{service.upper()}_METRICS": address}
            said = refused(service, conf, env_one)
            assert address in said and "in use" in said, said


@pytest.mark.parametrize("size, words", [(100, "truncated"), (0, "GGUF"), (40_000_000, "truncated")])
def test_truncated_model(prepared, tmp_path, size, words):
    conf, env = prepared
    with open(env["TOLLGATE_MODEL"], "rb") as whole:
        (tmp_path / "model.gguf").write_bytes(whole.read(size))
    said = refused("inference", conf, env | {"TOLLGATE_MODEL": str(tmp_path / "model.gguf")})
    assert "model.gguf" in said, said


def test_missing_model(prepared):
    conf, env = prepared
    assert "/nowhere.gguf" in refused("inference", conf, env | {"TOLLGATE_MODEL": "/nowhere.gguf"})


def test_a_model_that_does_not_fit_is_refused_with_the_sum(prepared):
    conf, env = prepared
    path = conf / "inference.yaml"
    path.write_text(path.read_text() + "\nmemory_limit_bytes: 50MiB\n")
    said = refused("inference", conf, env)
    for words in ("the model needs ", "weights ", "KV of ", "scratch ", "the configured limit leaves 52 MB"):
        assert words in said, said
    assert "model_loading" not in said, said


def test_wrong_checksum_is_refused(tmp_path):
    """tools/model keeps nothing whose SHA-256 differs."""
    text = (ROOT / "tools" / "model").read_text()
    pinned = next(word for word in text.replace("=", " ").split() if len(word) == 64 and word.isalnum())
    copy = tmp_path / "tools"
    shutil.copytree(ROOT / "tools", copy)
    (copy / "model").write_text(text.replace(pinned, "0" * 64))
    (tmp_path / "build" / "cache").mkdir(parents=True)
    (tmp_path / "build" / "venv").symlink_to(ROOT / "build" / "venv")
    env = {name: value for name, value in os.environ.items() if name != "TOLLGATE_MODEL"}
    done = subprocess.run([copy / "model"], capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode != 0 and "SHA-256" in done.stderr + done.stdout, done.stdout + done.stderr
    assert not list((tmp_path / "build").rglob("models/*.gguf"))
