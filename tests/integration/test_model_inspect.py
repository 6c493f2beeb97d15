"""`tollgate model inspect`: what is in a file, and what it will need."""
import array
import json
import pathlib
import subprocess

import pytest

import gguf_file
import tiny_llm
from mesh import bin_dir

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEFAULT_MODEL = ROOT / "build" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"


def inspect(*words):
    return subprocess.run([bin_dir() / "tollgate", "model", "inspect", *map(str, words)], capture_output=True,
                          timeout=120)


def test_what_a_file_holds(tmp_path):
    shape = tiny_llm.Shape(arch="qwen3", window=100)
    values = tiny_llm.weights(shape)
    path = tmp_path / "tiny.gguf"
    more = {"general.note": "bell \a and escape \x1b[31m, caf\u00e9", "general.flag": True, "general.big": 7}
    tiny_llm.write(path, shape, values, more)
    done = inspect(path, "--json", "--kv-tokens", 1600)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["file"] == str(path) and said["bytes"] == path.stat().st_size and said["parts"] == 1
    assert said["not_served_because"] is None
    model = said["model"]
    assert {k: model[k] for k in ("architecture", "layers", "width", "heads", "kv_heads", "context", "window")} == {
        "architecture": "qwen3", "layers": 2, "width": 64, "heads": 4, "kv_heads": 2, "context": 2048, "window": 100}
    assert model["kv_bytes_per_token"] == 2 * 2 * 2 * 16 * 2 and model["stop_ids"] == [2]
    assert (model["tokenizer"], model["pre_tokenizer"], model["chat_template_bytes"]) == ("llama", "", 0)
    needs = said["needs"]
    assert needs["kv_bytes"] == 1600 * model["kv_bytes_per_token"] and needs["fits"]
    assert needs["total_bytes"] == sum(needs[f"{k}_bytes"] for k in ("weights", "kv", "scratch", "overhead"))
    assert needs["weights_bytes"] >= sum(v.nbytes for v in values.values())
    assert said["tensors"] == [{"type": "F32", "count": len(values), "bytes": sum(v.nbytes for v in values.values())}]
    assert {e["key"]: e["value"] for e in said["metadata"]} == {
        k: {"array_of": "i32" if isinstance(v, array.array) else "string" if isinstance(v[0], str) else "f32",
            "count": len(v)} if isinstance(v, (list, array.array)) else
        pytest.approx(v) if isinstance(v, float) else v
        for k, v in (tiny_llm.metadata(shape) | more).items()}
    small = json.loads(inspect(path, "--json", "--kv-tokens", 1600, "--kv-type", "q8").stdout)
    assert (model["kv_type"], small["model"]["kv_type"]) == ("f16", "q8")
    assert small["model"]["kv_bytes_per_token"] == 2 * 2 * 2 * (16 + 2), "a head's 16 bytes of K or V share a scale of two"
    assert small["needs"]["kv_bytes"] == 1600 * 2 * 2 * 2 * (16 + 2)
    text = inspect(path).stdout.decode()
    assert "qwen3, F32" in text and "of which the latest 100 are seen" in text, text
    assert "bell . and escape .[31m" in text and "\x1b" not in text and "\a" not in text
    assert all(f"  {key}: " in text for key in more)


def test_a_file_that_is_not_served_is_shown_with_the_reason(tmp_path):
    path = tmp_path / "strange.gguf"
    shape = tiny_llm.Shape()
    tiny_llm.write(path, shape, tiny_llm.weights(shape), {"llama.expert_count": 8})
    done = inspect(path, "--json")
    said = json.loads(done.stdout)
    assert done.returncode == 1 and "mixtures of experts are not supported" in said["not_served_because"]
    assert {"key": "llama.expert_count", "value": 8} in said["metadata"] and said["tensors"][0]["count"] == 21
    done = inspect(path)
    assert done.returncode == 1 and b"not served" in done.stdout


def test_split_files_count_as_one(tmp_path):
    shape = tiny_llm.Shape()
    values = tiny_llm.weights(shape)
    paths = [tmp_path / f"m-0000{i + 1}-of-00002.gguf" for i in range(2)]
    for i, path in enumerate(paths):
        keys = {"split.no": i, "split.count": 2, "split.tensors.count": len(values)}
        part = tiny_llm.tensors({name: values[name] for name in list(values)[i::2]})
        gguf_file.write(path, keys | (tiny_llm.metadata(shape) if i == 0 else {}), part)
    said = json.loads(inspect(paths[0], "--json").stdout)
    assert said["parts"] == 2 and said["tensors"][0]["count"] == len(values)
    assert said["bytes"] == sum(p.stat().st_size for p in paths)


def test_mistakes():
    done = inspect("/nowhere.gguf")
    assert done.returncode == 1 and b"/nowhere.gguf" in done.stderr
    assert inspect().returncode == 2
    done = inspect("x", "--kv-tokens", "many")
    assert done.returncode == 2 and b"--kv-tokens is 'many'; 32 to 1073741824 are allowed" in done.stderr
    done = inspect("x", "--kv-type", "q4")
    assert done.returncode == 2 and b"--kv-type is 'q4'; f16 and q8 are allowed" in done.stderr


@pytest.mark.skipif(not DEFAULT_MODEL.is_file(), reason="no model: run tools/model first")
def test_the_default_model():
    said = json.loads(inspect(DEFAULT_MODEL, "--json").stdout)
    assert said["model"]["quantisation"] == "Q4_1" and said["model"]["stop_ids"] == [2, 0]
    assert said["model"]["pre_tokenizer"] == "smollm" and said["model"]["chat_template_bytes"] > 100
    assert {t["type"] for t in said["tensors"]} == {"Q4_1", "Q8_0", "F32"}
