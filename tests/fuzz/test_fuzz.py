"""Every fuzz target finds nothing in ten seconds on its kept corpus; `./dev fuzz` gives them longer."""
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGETS = sorted(p.stem.removeprefix("fuzz_") for p in (ROOT / "tests" / "fuzz").glob("fuzz_*.c"))
SECONDS = 10
LIMIT_S = 1200  # the build included


@pytest.fixture(scope="module")
def report():
    """{target: its line}, from one build and one run of all."""
    done = subprocess.run([ROOT / "tools" / "fuzz", "all", str(SECONDS)], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S,
                          env=os.environ | {"TOLLGATE_FUZZ_JOBS": "2"})
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.split()}
    return lines, done.stdout


def test_every_target_has_a_corpus():
    missing = [name for name in TARGETS if not any((ROOT / "tests" / "fuzz" / "corpus" / name).glob("*"))]
    assert TARGETS and not missing, f"no kept corpus: {missing}"


@pytest.mark.parametrize("target", TARGETS)
def test_finds_nothing(report, target):
    lines, output = report
    assert target in lines, output
    assert lines[target].endswith("nothing found"), output
    assert int(lines[target].split()[3]) > 0, f"it ran no input: {lines[target]}"
