"""Every simulator runs once, with a seed of its own; `./dev sim` gives them longer."""
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("TOLLGATE_BIN", ROOT / "build" / "bin"))
NAMES = sorted(path.name for path in (ROOT / "tests" / "sim").iterdir() if path.is_dir() and not path.name.startswith("_"))
LIMIT_S = 300


@pytest.mark.parametrize("name", NAMES)
def test_holds(name):
    done = subprocess.run([BIN / f"sim-{name}"], stdin=subprocess.DEVNULL, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout[-6000:]
