"""Runs every test and counts: unit programs (lines `ok`, `not ok`, `skip`) and, meanwhile, pytest.

    tests/run.py [PATTERN]     only unit programs and pytest files whose path holds PATTERN

Unit programs of the ThreadSanitizer build count too, under names that begin with `tsan.`. What a sanitizer
has to say about a process that pytest started is a failure, even when the test around it passed.

With CI=true a skip counts as a failure, unless it is for a processor feature or a GPU that the machine
lacks (the reason then begins with "no processor feature" or "no GPU").
"""
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "asan"
THREADED = ROOT / "build" / "tsan"
SCRATCH = BUILD / "pytest"  # what tests leave behind: run directories of meshes, with their logs
REPORTS = BUILD / "sanitizer"
ALLOWED_SKIPS = ("no processor feature", "no GPU")
UNIT_LIMIT_S = 300
SLOW_S = 20
REPORT_CHARS = 6000
# gcc 12's ThreadSanitizer knows the memory layout of kernels that randomize this many bits at most.
TSAN_RANDOM_BITS_MAX = 28

passed, failed, skipped = [], [], []


def note_skip(name, reason):
    if os.environ.get("CI") == "true" and not reason.strip().startswith(ALLOWED_SKIPS):
        failed.append(f"{name}: skipped in CI: {reason}")
    else:
        skipped.append(f"{name}: {reason}")


def sanitizer_environment():
    env = dict(os.environ)
    env.setdefault("ASAN_OPTIONS", "detect_leaks=1:strict_string_checks=1:abort_on_error=0:handle_abort=1")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1")
    env.setdefault("LSAN_OPTIONS", f"suppressions={ROOT}/tests/lsan.supp:print_suppressions=0")
    env.setdefault("TSAN_OPTIONS", "ignore_noninstrumented_modules=1:halt_on_error=1")
    return env


# ---- unit programs ----

def sources():
    """{program's name: its source}"""
    unit = ROOT / "tests" / "unit"
    return {"_".join(("test", *path.relative_to(unit).parent.parts, path.stem.removeprefix("test_"))): path
            for path in unit.rglob("test_*.c")}


def without_random_addresses():
    bits = pathlib.Path("/proc/sys/vm/mmap_rnd_bits")
    if bits.exists() and int(bits.read_text()) <= TSAN_RANDOM_BITS_MAX:
        return []
    return ["setarch", "--addr-no-randomize"]


def programs(pattern):
    """[(command, prefix of its tests' names)] of what was built from today's sources."""
    wanted = {name: path for name, path in sources().items() if pattern in name or pattern in str(path)}
    for name in sorted(wanted):
        if not (BUILD / "unit" / name).exists():
            failed.append(f"{name}: not built")
    listed = THREADED / "threaded_unit_tests.txt"
    names = set(listed.read_text().split()) if listed.exists() else set()
    threaded = sorted(path for path in (THREADED / "unit").glob("test_*") if path.name in wanted and path.name in names)
    if not threaded and not pattern:
        failed.append("tsan: nothing was built")
    return [([BUILD / "unit" / name], "") for name in sorted(wanted) if (BUILD / "unit" / name).exists()] + \
        [([*without_random_addresses(), path], "tsan.") for path in threaded]


def run_unit(program):
    command, prefix = program
    started = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=ROOT,
                              timeout=UNIT_LIMIT_S, env=sanitizer_environment())
        code, output, errors = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired as expired:
        code, output = -1, (expired.stdout or b"").decode(errors="replace")
        errors = f"no end within {UNIT_LIMIT_S} s"
    return prefix, command[-1].name, code, output, errors, time.monotonic() - started


def count_unit(prefix, program, code, output, errors, seconds):
    bad = 0
    for line in output.splitlines():
        if line.startswith("ok "):
            passed.append(prefix + line[3:])
        elif line.startswith("not ok "):
            failed.append(prefix + line[7:])
            bad += 1
        elif line.startswith("skip "):
            name, _, reason = line[5:].partition(": ")
            note_skip(prefix + name, reason)
    if code != 0 and bad == 0:
        failed.append(f"{prefix}{program}: ended with {code}")
    if code != 0:
        print(f"\n--- {prefix}{program} ({code})\n{output[-4000:]}\n{errors[-6000:]}", flush=True)
    elif seconds > SLOW_S:
        print(f"\n# {prefix}{program} took {seconds:.0f} s", flush=True)


def unit(commands, workers):
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for result in pool.map(run_unit, commands):
            count_unit(*result)


# ---- pytest ----

def pytest(tests):
    report = BUILD / "pytest.xml"
    report.unlink(missing_ok=True)
    shutil.rmtree(REPORTS, ignore_errors=True)
    REPORTS.mkdir(parents=True)
    env = sanitizer_environment()
    for options in ("ASAN_OPTIONS", "LSAN_OPTIONS"):
        env[options] += f":log_path={REPORTS}/report:log_exe_name=1"
    env["TOLLGATE_BIN"] = str(BUILD / "bin")
    env["TOLLGATE_BUILD"] = str(BUILD)
    python = ROOT / "build" / "venv" / "bin" / "python"
    done = subprocess.run([python, "-m", "pytest", "-q", "-rfE", "--durations=40", f"--junitxml={report}",
                           f"--basetemp={SCRATCH}", "-o", "cache_dir=build/cache/pytest", *tests], cwd=ROOT, env=env)
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


def count_reports():
    """AddressSanitizer writes files of its own; what UndefinedBehaviorSanitizer says is in a service's log."""
    for path in sorted(REPORTS.glob("report.*")):
        text = path.read_text(errors="replace")
        if any(mark in text for mark in ("ERROR", "WARNING: ThreadSanitizer")):  # else a word about its symbolizer
            note_report(path.name, text, "ERROR")
    for path in sorted(SCRATCH.rglob("*.log")):
        text = path.read_text(errors="replace") if path.is_file() else ""
        if "runtime error:" in text:
            note_report(path.relative_to(SCRATCH), text[max(0, text.index("runtime error:") - 200):], "runtime error:")


def note_report(name, text, mark):
    print(f"--- {name}\n{text[:REPORT_CHARS]}", flush=True)
    line = next((line for line in text.splitlines() if mark in line), "a sanitizer's report")
    failed.append(f"{name}: {line.strip()}")


def main():
    pattern = sys.argv[1] if len(sys.argv) > 1 else ""
    tests = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "tests").rglob("test_*.py") if pattern in str(p))
    processors = os.cpu_count() or 1
    # pytest mostly waits, for processes to start and for Kafka; unit programs use the time.
    with concurrent.futures.ThreadPoolExecutor(1) as background:
        units = background.submit(unit, programs(pattern), max(1, processors - 1) if tests else processors)
        if tests:
            pytest(tests)
            count_reports()
        units.result()
    for name in skipped:
        print(f"skipped: {name}")
    for name in failed:
        print(f"FAILED: {name}")
    print(f"{len(passed)} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
