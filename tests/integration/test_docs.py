"""The documentation says what is: generated pages are current, names exist, and what it shows runs."""
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LIMIT_S = 120


def text(name):
    return (ROOT / name).read_text()


def sources(folder, *suffixes):
    return "\n".join(p.read_text() for p in (ROOT / folder).rglob("*") if p.suffix in suffixes)


def blocks(name, language):
    """The fenced blocks of a page in that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text(name), re.MULTILINE | re.DOTALL)


def expanded(line):
    """`a{x,y}` and plain names in backticks."""
    return re.findall(r"`(tollgate_[a-z_]+)(?:\{[a-z_,]+\})?`", line)


def test_configuration_page_is_current():
    done = subprocess.run([ROOT / "tools" / "gen_config_docs", "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_and_named_files_exist(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    missing = [link for link in links if not (page.parent / link).exists()]
    named = re.findall(r"`((?:libs|services|proto|tests|tools|deploy|docs)/[\w./]+\.\w+)`", page.read_text())
    missing += [name for name in named if name != "docs/benchmarks.md" and not (ROOT / name).exists()]
    assert not missing, f"{page.name} names files that are not there: {missing}"


def test_every_metric_is_documented():
    known = set(re.findall(r'"(tollgate_[a-z_]+)"', sources("services", ".c")))
    shown = {name for line in text("docs/operations.md").splitlines() for name in expanded(line)}
    assert known - shown == set(), "not in docs/operations.md"
    assert shown - known == set(), "in docs/operations.md only"


def test_every_log_event_is_documented():
    table = text("docs/operations.md").split("## Logs")[1].split("## Metrics")[0]
    known = set(re.findall(r'TG_LOG_\w+,\s*"([a-z_]+)"', sources("services", ".c") + sources("libs/service", ".c")))
    shown = set(re.findall(r"`([a-z_]+)`", "\n".join(line.split("|")[1] for line in table.splitlines()
                                                    if line.startswith("|"))))
    assert known and known - shown == set(), "not in docs/operations.md"
    assert shown - known == set(), "in docs/operations.md only"


def test_every_field_of_the_event_is_documented():
    proto, page = text("proto/tollgate/v1/usage.proto"), text("docs/usage-events.md")
    event = re.search(r"message UsageEvent \{(.*?)^\}", proto, re.DOTALL | re.MULTILINE)[1]
    tokens = re.search(r"message TokenUsage \{(.*?)^\}", proto, re.DOTALL | re.MULTILINE)[1]
    fields = re.findall(r"^\s+(?:repeated )?\w+ (\w+) = \d+;", event + tokens, re.MULTILINE)
    outcomes = [name for name in re.findall(r"OUTCOME_(\w+) = ", proto) if name != "UNKNOWN"]
    assert len(fields) > 30 and len(outcomes) > 5
    missing = [name for name in fields + outcomes if f"`{name}`" not in page]
    assert not missing, f"not in docs/usage-events.md: {missing}"


def environment(mesh, **more):
    return os.environ | mesh.env | {"PATH": f"{os.environ['TOLLGATE_BIN']}:{os.environ['PATH']}"} | more


def run(command, env, cwd=ROOT):
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, env=env, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_readme_curl(mesh):
    block, = blocks("README.md", "sh")
    assert ". build/run/env" in block
    out = run(["bash", "-ec", block.replace("build/run/env", str(mesh.directory / "env"))], environment(mesh))
    assert " 200 " in out.splitlines()[0] and "x-tollgate-routing: target=private-gpu-llama-70b" in out


def test_usage_events_consumer(mesh, tmp_path):
    for word in ("one", "two"):
        assert mesh.chat(word).status_code == 200
    command, = [b for b in blocks("docs/usage-events.md", "sh") if "protoc" in b]
    command = command.replace("python ", f"{sys.executable} ").replace("-I proto", f"-I {ROOT}/proto")
    run(["bash", "-ec", command.replace(" proto/tollgate", f" {ROOT}/proto/tollgate")], environment(mesh), tmp_path)
    program, = blocks("docs/usage-events.md", "python")
    (tmp_path / "report.py").write_text(program)
    mesh.settled(2)
    topic = mesh.extra["TOLLGATE_TOPIC_USAGE"]
    out = run([sys.executable, "report.py"], environment(mesh, TOPIC=topic, GROUP=f"docs-{topic}"), tmp_path)
    expected = {}
    for event, *_ in mesh.events().values():
        where = (event["tenant"], event["target"])
        expected[where] = expected.get(where, 0) + event["cost_picousd"]
    assert out.splitlines() == [f"{tenant} {target} ${picousd / 10**12:.12f}"
                                for (tenant, target), picousd in sorted(expected.items())]
