"""`tollgate generate` as a user runs it: the engine alone, without any service."""
import array
import json
import os
import pathlib
import pty
import re
import subprocess

import pytest

import tiny_llm

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


@pytest.mark.skipif(not DEFAULT_MODEL.is_file(), reason="no model: run tools/model first")
def test_guesses_change_nothing_and_logprobs_are_told():
    words = ("--model", DEFAULT_MODEL, "--chat", "--max-tokens", "60", "--logprobs", "2", "--prompt",
             "Repeat this word for word: the toll gate is open, the toll gate is closed, the toll gate is open again.")
    with_guesses, without = generate(*words), generate(*words, "--no-speculation")
    assert with_guesses.stdout == without.stdout and without.returncode == 0, "guesses changed the output"
    assert b"guesses right" in with_guesses.stderr and b"guesses" not in without.stderr
    lines = [line for line in without.stdout.decode().splitlines() if re.fullmatch(r"\d+ '.*' -?\d+\.\d{4}   \d+ .*, \d+ .*", line)]
    tokens = int(re.search(rb"(\d+) output tokens", without.stderr)[1])
    assert len(lines) >= tokens - 2, "a line for each token, but where a token is a line's end"


@pytest.mark.skipif(not DEFAULT_MODEL.is_file(), reason="no model: run tools/model first")
def test_what_a_request_changes_about_the_logits():
    def run(*more):
        done = generate("--model", DEFAULT_MODEL, "--prompt", "The sea", "--max-tokens", "12", *more)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode(), int(re.search(rb"(\d+) output tokens", done.stderr)[1])

    end = ("--logit-bias", "2:100")  # <|im_end|>
    assert run(*end) == ("\n", 1)
    assert run(*end, "--min-tokens", "5")[1] == 6
    same, _ = run("--logit-bias", "28:100")
    assert len(set(same.strip())) == 1, same
    other, _ = run("--logit-bias", "28:12", "--frequency-penalty", "2", "--presence-penalty", "2")
    assert len(set(other.strip())) > 1, other
    assert run("--repetition-penalty", "1") == run() != run("--repetition-penalty", "1.8")


@pytest.mark.parametrize("words, said", [
    (("--frequency-penalty", "3"), b"from -2 to 2"), (("--logit-bias", "1"), b"ID:BIAS"), (("--logit-bias", "x:1"), b"ID:BIAS"),
    (("--repetition-penalty", "-1"), b"from 0 to 2")])
def test_bad_adjustments(words, said):
    done = generate("--model", "none", "--prompt", "x", *words)
    assert done.returncode == 2 and said in done.stderr, done.stderr


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


@pytest.fixture
def tiny_model(tmp_path):
    shape = tiny_llm.Shape(arch="qwen2", layers=3)
    tiny_llm.write(tmp_path / "tiny.gguf", shape, tiny_llm.weights(shape))
    return tmp_path / "tiny.gguf"


def test_loading_shows_a_bar_on_a_terminal_only(tiny_model):
    words = ("--model", tiny_model, "--prompt", "x", "--max-tokens", "1")
    assert b"loading" not in generate(*words).stderr
    master, slave = pty.openpty()
    done = subprocess.run([bin_dir() / "tollgate", "generate", *words], stdout=subprocess.DEVNULL, stderr=slave,
                          timeout=300)
    os.close(slave)
    shown = os.read(master, 65536).decode()
    os.close(master)
    assert done.returncode == 0, shown
    line = r"loading \[=* *\] \d+ of \d+ MB, \d+ MB/s, \d+ s left"
    assert re.search(r"\r\x1b\[K" + line + r"(\r\x1b\[K" + line + r")*\r\x1b\[Ktiny qwen2", shown), shown


def test_thread_counts(tiny_model):
    words = ("--model", tiny_model, "--prompt", "x", "--max-tokens", "1", "--threads")
    assert generate(*words, "0").returncode == 0
    done = generate(*words, "1000")
    assert done.returncode == 2 and b"--threads is '1000'; a number from 0 to 256 is allowed" in done.stderr


@pytest.mark.skipif(not DEFAULT_MODEL.is_file(), reason="no model: run tools/model first")
def test_json_schema_file(tiny_model, tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "properties": {"on": {"type": "boolean"}, "day": {"type": "string", "format": "date"}}, "required": ["on", "day"]}')
    words = ("--prompt", "As JSON:", "--max-tokens", "260", "--seed", "5", "--json-schema", schema)
    for model in DEFAULT_MODEL, tiny_model:  # the second one's weights are random
        done = generate("--model", model, *words, "--temperature", "1")
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(r'\{\s*"on":\s*(true|false),\s*"day":\s*"\d{4}-\d\d-\d\d"\s*\}\n', done.stdout.decode()), done.stdout
    shape, braceless = tiny_llm.Shape(), tmp_path / "braceless.gguf"
    normal = {"tokenizer.ggml.token_type": array.array("i", [2, 3, 3] + [1] * 256)}  # "<0x7B>" is that text, not a byte
    tiny_llm.write(braceless, shape, tiny_llm.weights(shape), normal)
    without_braces = generate("--model", braceless, *words)
    assert without_braces.returncode == 1 and b"no token that goes on in the form asked for" in without_braces.stderr
    schema.write_text('{"type": "object", "minProperties": 3}')
    refused = generate("--model", tiny_model, *words)
    assert refused.returncode == 1 and b"/minProperties" in refused.stderr
    absent = generate("--model", tiny_model, "--prompt", "a", "--json-schema", tmp_path / "none")
    assert absent.returncode == 2 and b"none: No such file" in absent.stderr


TEMPLATE = ROOT / "tests" / "compat" / "templates" / "chatml_tools.jinja"


@pytest.mark.skipif(not DEFAULT_MODEL.is_file(), reason="no model: run tools/model first")
def test_tools_file(tmp_path):
    tools = tmp_path / "tools.json"
    city = {"type": "object", "required": ["city"], "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "additionalProperties": False}
    tools.write_text(json.dumps([{"type": "function", "function": {"name": "get_weather", "parameters": city}},
                                 {"type": "function", "function": {"name": "clock"}}]))
    words = ("--model", DEFAULT_MODEL, "--chat", "--chat-template", TEMPLATE, "--max-tokens", "60", "--prompt", "Is it cold in Oslo?")
    called = generate(*words, "--tools", tools, "--tool-choice", "get_weather")
    assert called.returncode == 0, called.stderr
    assert json.loads(called.stdout) in [{"name": "get_weather", "arguments": {"city": c}} for c in ("Oslo", "Rome")]
    assert json.loads(generate(*words, "--tools", tools, "--tool-choice", "required").stdout)["name"] in ("get_weather", "clock")
    thought = r"<think>hm hm</think>\n\nWell\.\n<tool_call>\{\"name\": \"clock\", \"arguments\": \{\}\}</tool_call>"
    apart = generate(*words, "--tools", tools, "--regex", thought)
    assert apart.stdout.decode() == 'Well.\n{"name": "clock", "arguments": {}}\n' and b"hm hm" in apart.stderr
    twice = thought + r"\n<tool_call>\{\"name\": \"clock\", \"arguments\": \{\}\}</tool_call>"
    more = ("--max-tokens", "100", "--tools", tools, "--regex", twice)
    assert generate(*words, *more).stdout.count(b"clock") == 2
    assert generate(*words, *more, "--one-tool-call").stdout == apart.stdout
    none = generate(*words, "--tools", tools, "--tool-choice", "none")
    assert none.stdout == generate(*words).stdout, "the template was told of tools that are not to be called"


@pytest.mark.parametrize("content, more, words", [
    (None, (), b"tools.json: No such file"), ("", (), b"tools.json: empty; --tools takes a JSON array of tools"),
    ("[", (), b"tools: "), ("{}", (), b"tools: an array of at most 128"), ('[{"type": "function"}]', (), b"tools[0]"),
    ("[]", ("--tool-choice", "required"), b"tool_choice"), ('[{"type": "function", "function": {"name": "f"}}]', ("--tool-choice", "g"), b"tool_choice"),
    ('[{"type": "function", "function": {"name": "f"}}]', ("--tool-choice", "required", "--regex", "a"), b"tool_choice requires a call")])
def test_bad_tools_are_named(tiny_model, tmp_path, content, more, words):
    tools = tmp_path / "tools.json"
    if content is not None:
        tools.write_text(content)
    done = generate("--model", tiny_model, "--chat", "--chat-template", TEMPLATE, "--prompt", "x", "--tools", tools, *more)
    assert done.returncode in (1, 2) and words in done.stderr, done.stderr


def test_loose_tools_are_told(tiny_model, tmp_path):
    """Once, with the reason; not where all are held, nor where they are refused."""
    tools = tmp_path / "tools.json"
    odd = {"function": {"name": "odd", "parameters": {"properties": {"x": {"not": {}}}}}}
    held = {"function": {"name": "held", "parameters": {"properties": {"x": {"type": "integer"}}}}}
    words = ("--model", tiny_model, "--chat", "--chat-template", TEMPLATE, "--prompt", "x", "--max-tokens", "2", "--tools", tools)
    tools.write_text(json.dumps([held, odd]))
    done = generate(*words)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.decode().splitlines() if "may have any object" in line]
    assert len(told) == 1 and told[0].startswith("tollgate generate: calls of 1 of 2 tools may have any object for arguments: ")
    assert "'odd'" in told[0] and "/properties/x/not" in told[0]
    refused = generate(*words, "--tool-choice", "required")
    assert refused.returncode == 1 and b"/properties/x/not" in refused.stderr and b"may have any object" not in refused.stderr
    assert b"may have any object" not in generate(*words, "--tool-choice", "none").stderr
    tools.write_text(json.dumps([held]))
    done = generate(*words)
    assert done.returncode == 0 and b"may have any object" not in done.stderr


def test_what_tools_go_with(tiny_model, tmp_path):
    tools = tmp_path / "tools.json"
    tools.write_text("[]")
    assert b"--tools goes with --chat only" in generate("--model", tiny_model, "--prompt", "x", "--tools", tools).stderr
    words = ("--model", tiny_model, "--chat", "--prompt", "x")
    assert b"--tool-choice goes with --tools only" in generate(*words, "--tool-choice", "none").stderr
    assert b"--one-tool-call goes with --tools only" in generate(*words, "--one-tool-call").stderr


def test_forms_are_alternatives(tiny_model):
    """At most one of them, and what cannot be read is said with its place."""
    both = generate("--model", tiny_model, "--prompt", "x", "--regex", "a", "--choice", "b")
    assert both.returncode == 2 and b"one of --json, --json-schema, --regex and up to 16 times --choice is allowed" in both.stderr
    assert generate("--model", tiny_model, "--prompt", "x", "--choice", "yes", "--choice", "no").stdout in (b"yes\n", b"no\n")
    assert re.fullmatch(rb"[ab]{4}\n", generate("--model", tiny_model, "--prompt", "x", "--regex", "[ab]{4}").stdout)
    bad = generate("--model", tiny_model, "--prompt", "x", "--regex", "(a")
    assert bad.returncode == 1 and b"in the regular expression, at byte 2" in bad.stderr


def test_keys_and_values_in_q8(tiny_model):
    words = ("--model", tiny_model, "--prompt", "one two three", "--max-tokens", "40", "--logprobs", "1")
    plain, again, small = generate(*words), generate(*words, "--kv-type", "f16"), generate(*words, "--kv-type", "q8")
    assert plain.returncode == again.returncode == small.returncode == 0, small.stderr
    assert plain.stdout == again.stdout and plain.stdout != small.stdout, "log-probabilities of the two are the same"
    wrong = generate(*words, "--kv-type", "q4")
    assert wrong.returncode == 2 and b"--kv-type is 'q4'; f16 and q8 are allowed" in wrong.stderr, wrong.stderr
