"""Runs every test and counts: unit programs (lines `ok`, `not ok`, `skip`), then pytest.

    tests/run.py [PATTERN]     only unit programs and pytest files whose path holds PATTERN

With CI=true a skip counts as a failure, unless it is for a processor feature or a GPU that the machine
lacks (the reason then begins with "no processor feature" or "no GPU").
"""
import concurrent.futures
import os
import pathlib
import subprocess
import sys
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "asan"
ALLOWED_SKIPS = ("no processor feature", "no GPU")
UNIT_LIMIT_S = 300

passed, failed, skipped = [], [], []


def note_skip(name, reason):
    if os.environ.get("CI") == "true" and not reason.strip().startswith(ALLOWED_SKIPS):
        failed.append(f"{name}: skipped in CI: {reason}")
    else:
        skipped.append(f"{name}: {reason}")


def sanitizer_environment():
    env = dict(os.environ)
    env.setdefault("ASAN_OPTIONS", "detect_leaks=1:strict_string_checks=1:abort_on_error=0")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1")
    env.setdefault("LSAN_OPTIONS", f"suppressions={ROOT}/tests/lsan.supp:print_suppressions=0")
    return env


def run_unit(program):
    started = time.monotonic()
    try:
        done = subprocess.run([program], capture_output=True, text=True, errors="replace", cwd=ROOT,
                              timeout=UNIT_LIMIT_S, env=sanitizer_environment())
        code, output, errors = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired as expired:
        code, output = -1, (expired.stdout or b"").decode(errors="replace")
        errors = f"no end within {UNIT_LIMIT_S} s"
    return program, code, output, errors, time.monotonic() - started


def unit(pattern):
    programs = sorted(p for p in (BUILD / "unit").glob("test_*") if os.access(p, os.X_OK) and pattern in str(p))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for program, code, output, errors, seconds in pool.map(run_unit, programs):
            bad = 0
            for line in output.splitlines():
                if line.startswith("ok "):
                    passed.append(line[3:])
                elif line.startswith("not ok "):
                    failed.append(line[7:])
                    bad += 1
                elif line.startswith("skip "):
                    name, _, reason = line[5:].partition(": ")
                    note_skip(name, reason)
            if code != 0 and bad == 0:
                failed.append(f"{program.name}: ended with {code}")
            if code != 0:
                print(f"--- {program.name} ({code})\n{output[-4000:]}\n{errors[-6000:]}", flush=True)
            elif seconds > 20:
                print(f"# {program.name} took {seconds:.0f} s", flush=True)


def pytest(pattern):
    tests = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "tests").rglob("test_*.py") if pattern in str(p))
    if not tests:
        return
    report = BUILD / "pytest.xml"
    report.unlink(missing_ok=True)
    env = sanitizer_environment()
    env["TOLLGATE_BIN"] = str(BUILD / "bin")
    env["TOLLGATE_BUILD"] = str(BUILD)
    python = ROOT / "build" / "venv" / "bin" / "python"
    done = subprocess.run([python, "-m", "pytest", "-q", "-rfE", "--durations=40", f"--junitxml={report}",
                           "-o", "cache_dir=build/cache/pytest", *tests], cwd=ROOT, env=env)
    if not report.exists():
        failed.append(f"pytest ended with {done.returncode} and left no report")
        return
    for case in xml.etree.ElementTree.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(name)
        elif skip is not None:
            note_skip(name, skip.get("message", ""))
        else:
            passed.append(name)


def main():
    pattern = sys.argv[1] if len(sys.argv) > 1 else ""
    unit(pattern)
    pytest(pattern)
    for name in skipped:
        print(f"skipped: {name}")
    for name in failed:
        print(f"FAILED: {name}")
    print(f"{len(passed)} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
