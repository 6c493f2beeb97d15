"""`tollgate generate` as a user runs it: the engine alone, without any service."""
import pathlib
import subprocess

import pytest

from mesh import bin_dir

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ROOT.parent / "shared" / "models"
DEFAULT_MODEL = ROOT / "build" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"


def generate(*words, timeout=300):
    return subprocess.run([bin_dir() / "tollgate", "generate", *words], capture_output=True, timeout=timeout)


@pytest.mark.skipif(not MODELS.is_dir(), reason="no model data: ../shared/models is not there")
def test_golden_text():
    done = generate("--model", MODELS / "stories260K-f32.gguf", "--prompt", "", "--temperature", "0",
                    "--max-tokens", "200")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (MODELS / "stories260K_greedy_n200.txt").read_bytes()


@pytest.mark.skipif(not DEFAULT_MODEL.is_file(), reason="no model: run tools/model first")
def test_default_model_answers():
    done = generate("--model", DEFAULT_MODEL, "--chat", "--max-tokens", "20", "--prompt",
                    "What is the capital of France? Answer in one sentence.")
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout.decode()


@pytest.mark.skipif(not DEFAULT_MODEL.is_file(), reason="no model: run tools/model first")
def test_same_seed_same_text():
    words = ("--model", DEFAULT_MODEL, "--prompt", "The sea", "--echo", "--temperature", "0.9", "--max-tokens", "12")
    first, second = generate(*words, "--seed", "7"), generate(*words, "--seed", "7", "--threads", "1")
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert first.stdout.decode().startswith("The sea")


def test_errors_say_what_is_wrong(tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF\x03\x00\x00\x00")
    done = generate("--model", broken, "--prompt", "x")
    assert done.returncode == 1 and b"truncated" in done.stderr
    done = generate("--model", tmp_path / "missing.gguf", "--prompt", "x")
    assert done.returncode == 1 and b"missing.gguf" in done.stderr
    done = generate("--prompt", "x")
    assert done.returncode == 2 and b"usage: tollgate generate" in done.stderr
    done = generate("--model", broken, "--prompt", "x", "--temperature", "hot")
    assert done.returncode == 2 and b"--temperature is 'hot'" in done.stderr
