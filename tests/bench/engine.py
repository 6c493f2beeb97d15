"""Our engine against llama.cpp: the same files, threads and instruction sets, in one run.

Both run as processes that take commands (tests/bench/engine/driver.h) and are asked in turn, so that what
else the machine does meets both. Decoding counts from the moment at which all sequences decode; prefill
from the prompt's submission to its first token. llama.cpp's figures leave sampling out, ours include it. Ours guesses no
tokens where it is compared: how many are right depends on the text, and random models repeat themselves.

    engine.py [--quick]
"""
import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
BIN = pathlib.Path(os.environ.get("TG_BIN", BUILD / "bin"))
THREADS = os.cpu_count()
SEQS = 32
PREFILL = 512
GUESS_TOKENS = 192  # of an answer with guesses and without
TOPICS = ("a bicycle", "the tides", "bread", "a game of chess", "a steam engine", "the Moon", "honey bees", "a volcano")
PEER_CONTEXT = SEQS * 640  # it gives each sequence an equal part, and prefill needs one of 512

SMOL = "SmolLM2-135M Q4_1"
SYNTHETIC = {f"Random 1.24B {kind}": kind for kind in ("Q8_0", "Q4_0", "F16", "Q4_K", "Q6_K")}
ROWS = (("decode", 1), ("decode", 8), ("decode", 32), ("prefill", PREFILL))

# What we set out to reach, as ratios. Rows without a goal are there to be seen.
GOALS = {
    "avx2": {
        "Q8_0": (1.1, 1.7, 2.0, 1.8),
        "Q4_0": (1.2, 2.3, 2.3, 2.3),
        "Q4_1": (1.2, None, None, 2.5),
        "F16": (None, None, None, 1.0),
    },
    "avx512": {
        "Q8_0": (1.2, 2.5, 4.0, 4.0),
        "Q4_0": (1.2, 2.5, 4.0, None),
        "Q4_1": (1.2, 2.5, 4.0, None),
        "F16": (1.2, 2.5, 4.0, 1.0),
    },
}
GOALS["amx"] = GOALS["avx512"]


class Driver:
    """One of the two engines, loaded."""

    def __init__(self, program, model, seqs, context, **environment):
        environment = os.environ | {key: value for key, value in environment.items() if value}
        self.process = subprocess.Popen(
            [program, model, str(THREADS), str(seqs), str(context)], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = self.read()
        head, _, self.info = line.partition(" info=")
        self.facts = dict(word.split("=", 1) for word in head.split())

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args[0]} ended early")
        return line.strip()

    def ask(self, *words):
        print(*words, file=self.process.stdin, flush=True)
        return self.read()

    def rate(self, row, steps):
        """Tokens a second, and microseconds of processor time a token."""
        kind, count = row
        tokens = count if kind == "prefill" else count * steps
        wall_ns, cpu_ns = map(int, self.ask(kind, count, *([steps] if steps else [])).split())
        return tokens * 1e9 / wall_ns, cpu_ns / 1e3 / tokens

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


def ours(model, seqs=SEQS, context=8192, cpu=None, guess=None):
    return Driver(BIN / "bench_engine", model, seqs, context, TOLLGATE_CPU=cpu, GUESS=guess)


def peer(model, variant="native", seqs=SEQS, context=PEER_CONTEXT):
    return Driver(BUILD / "peers" / variant / "bin" / "llama_driver", model, seqs, context)


def model_file(name):
    if name == SMOL:
        return BUILD / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    kind = SYNTHETIC[name]
    path = BUILD / "bench-models" / f"random-1.24B.{kind}.gguf"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        part = path.with_suffix(".part")
        subprocess.run([BIN / "bench_model", kind, part], check=True)
        part.rename(path)
    return path


def machine():
    """Gigabytes a second read and operations a second, at their best of now."""
    out = subprocess.run([BIN / "bench_machine", str(THREADS)], capture_output=True, text=True, check=True)
    return {key: float(value) for key, value in (word.split("=") for word in out.stdout.split())}


def compare(row, a, b, options, peaks):
    """Medians of interleaved runs of one row; who goes first alternates. Decoding one sequence is bound by
    memory, whose bandwidth comes and goes with the neighbours of a virtual machine: it is measured between."""
    kind, count = row
    steps = 0
    if kind == "decode":
        a.rate(row, 4)
        steps = max(4, min(64, round(options.target_s * b.rate(row, 4)[0] / count)))
    else:
        a.rate((kind, 64), 0), b.rate((kind, 64), 0)
    rates = {a: [], b: []}
    alone = row == ("decode", 1)
    for i in range(options.runs + 4 * alone):  # the row that other machines' memory traffic meets hardest
        if alone:
            peaks.append(machine())
        for one in (a, b) if i % 2 else (b, a):
            time.sleep(0.02)  # the other's threads stop spinning
            rates[one].append(one.rate(row, steps))
    return medians(rates[a]), medians(rates[b])


def medians(rows):
    return tuple(statistics.median(column) for column in zip(*rows))


def show(name, row, mine, theirs, goal, facts, peaks, path):
    kind, count = row
    (mine, my_us), (theirs, their_us) = mine, theirs
    note = ""
    if kind == "prefill":
        floats = "avx2" if path == "avx2" else "avx512"
        gops = 2 * int(facts["layer_weights"]) * mine / 1e9
        unit, peak = ("fp32", f"{floats}_fp32_gflops") if name.endswith("F16") else ("int8", f"{path}_int8_gops")
        note = f"{100 * gops / peaks[peak]:.0f}% of {unit} peak" if peak in peaks else ""
    elif count == 1:
        note = f"{100 * int(facts['weights']) * mine / 1e9 / peaks['read_gbs']:.0f}% of read bandwidth"
    verdict = "" if goal is None else f"{goal:.1f}{'' if mine / theirs >= goal else ' missed'}"
    print(f"{name:<18} {kind + ' ' + str(count):<12} {mine:9.1f} {theirs:10.1f} {mine / theirs:7.2f}  "
          f"{verdict:<11} {my_us:10.0f} {their_us:10.0f}   {note}", flush=True)
    print(f'BENCH engine model="{name}" path={path} row={kind}_{count} tps={mine:.1f} peer_tps={theirs:.1f} '
          f"ratio={mine / theirs:.3f} cpu_us={my_us:.0f} peer_cpu_us={their_us:.0f}")


def table(models, cpu, variant, options, all_peaks):
    """All rows of all models under one instruction set. What is left over: (name, facts, memory)."""
    left = []
    head = None
    for name in models:
        file = model_file(name)
        peaks = [machine()]
        with ours(file, cpu=cpu, guess="0") as a, peer(file, variant) as b:
            path = a.facts["path"]
            if head is None:
                head = path
                print(f"\nours on {path} (numerics {a.facts['numerics']}), llama.cpp: {b.info.strip(' |')}")
                print(f"{'':<18} {'tokens/s':<12} {'ours':>9} {'llama.cpp':>10} {'ratio':>7}  {'goal':<11} "
                      f"{'CPU µs':>10} {'llama.cpp':>10}")
            decode = {}
            for i, row in enumerate(ROWS):
                if options.rows and f"{row[0]}{row[1]}" not in options.rows.split(","):
                    continue
                goal = GOALS.get(path, {}).get(name.split()[-1], (None,) * 4)[i]
                mine, theirs = compare(row, a, b, options, peaks)
                decode[row] = mine[0]
                best = {key: max(one[key] for one in peaks) for key in peaks[0]}
                show(name, row, mine, theirs, goal, a.facts, best, path)
            many = decode.get(("decode", 8), 0) / decode.get(("decode", 1), 1)
            all_peaks += peaks
            left.append((name, a.facts, *map(int, a.ask("memory").split()), many))
    return left


def memory_table(left):
    print(f"\n{'':<18} {'weights MB':>10} {'KV MB':>7} {'resident MB':>11} {'over MB':>8}   goal 64   {'file pages MB':>13} "
          f"{'8 seqs : 1':>10} {'load ms':>8}")
    for name, facts, resident, files, many in left:
        weights, kv = int(facts["weights"]), int(facts["kv"])
        over = (resident - weights - kv) / 1e6
        print(f"{name:<18} {weights / 1e6:10.1f} {kv / 1e6:7.1f} {resident / 1e6:11.1f} {over:8.1f}   "
              f"{'' if over <= 64 else 'missed':<9} {files / 1e6:13.1f} {many:10.2f} {facts['load_ms']:>8}")


def first_token_ms(program, file):
    started = time.monotonic()
    subprocess.run([program, file, str(THREADS), "8", "8192"], env={**os.environ, "FIRST": "32"}, check=True,
                   stdout=subprocess.DEVNULL)
    return (time.monotonic() - started) * 1e3


def start_table(models, runs):
    """From the process's start to its end after one token; the file is in the page cache."""
    print(f"\n{'start to first token, ms':<31} {'ours':>9} {'llama.cpp':>10} {'ratio':>7}  goal at most 1.2")
    for name in models:
        file = model_file(name)
        programs = (BIN / "bench_engine", BUILD / "peers" / "native" / "bin" / "llama_driver")
        times = [[first_token_ms(program, file) for program in programs] for _ in range(runs + 1)][1:]
        mine, theirs = (statistics.median(column) for column in zip(*times))
        print(f"{name:<31} {mine:9.0f} {theirs:10.0f} {mine / theirs:7.2f}  "
              f"{'' if mine <= 1.2 * theirs else 'missed'}", flush=True)
        print(f'BENCH engine model="{name}" row=first_token ms={mine:.0f} peer_ms={theirs:.0f}')


def prefix_table(concurrencies, requests):
    """Prompts of 640 tokens, 384 of them shared, and outputs of 32; always as many in flight as given."""
    print(f"\n{'prefix cache, 60% shared':<26} {'off':>33}   {'on':>33}")
    print(f"{SMOL:<18} in flight " + "   ".join(f"{'tokens/s':>9} {'TTFT p50':>11} {'p99, ms':>11}" for _ in "xx"))
    with ours(model_file(SMOL), context=32768) as a:
        a.ask("shared", 1, 1, 1)
        for count in concurrencies:
            cells = []
            for cache in (0, 1):
                total = max(requests, 2 * count)
                elapsed, *first = map(int, a.ask("shared", cache, count, total).split())
                first.sort()
                cells += [total * (640 + 32) * 1e9 / elapsed, first[len(first) // 2] / 1e6,
                          first[len(first) * 99 // 100] / 1e6]
            print(f"{'':<18} {count:9} " + "   ".join(f"{cells[i]:9.0f} {cells[i + 1]:11.0f} {cells[i + 2]:11.0f}"
                                                   for i in (0, 3)) + f"   {cells[3] / cells[0]:.2f} times",
                  flush=True)
            print(f"BENCH engine row=prefix_{count} off_tps={cells[0]:.0f} on_tps={cells[3]:.0f} "
                  f"off_ttft_ms={cells[1]:.0f} on_ttft_ms={cells[4]:.0f}")


def asking(driver, words):
    """A turn of a chat, as token ids."""
    def ids(text):
        return list(map(int, driver.ask("tokenize", text.encode().hex()).split()))
    return [1, *ids("user\n" + words), 2, *ids("\n"), 1, *ids("assistant\n")]  # <|im_start|>, <|im_end|>


def guess_prompts(driver, kind, count):
    """Stretches of a text to copy, or things to tell a story about."""
    text = " ".join((ROOT / "tests" / "bench" / "engine" / "passage.txt").read_text().split())
    sentences = text.split(". ")
    for i in range(count):
        first = i * (len(sentences) - 12) // len(TOPICS)
        part = ". ".join(sentences[first:first + 12]) + "."
        yield asking(driver, "Repeat the following text word for word.\n\n" + part if kind == "copying" else
                     f"Write a long story about {TOPICS[i]}.")


def guess_table(runs):
    """Answers with guessing of tokens and without, which are the same answers."""
    print(f"\n{'tokens guessed, ' + SMOL:<34} {'off':>9} {'on':>9} {'ratio':>7}  {'goal':<11} right of computed")
    with ours(model_file(SMOL), guess="0") as off, ours(model_file(SMOL)) as on:
        for kind, goal in (("copying", 1.8), ("story", 0.97)):
            for count in (1, 8):
                words = [GUESS_TOKENS]
                for ids in guess_prompts(on, kind, count):
                    words += [len(ids), *ids]
                rates, said = {off: [], on: []}, set()
                for i in range(runs + 1):
                    for one in (off, on) if i % 2 else (on, off):
                        wall, cpu, guessed, right, hashed = one.ask("answer", *words).split()
                        said.add(hashed)
                        rates[one].append((count * GUESS_TOKENS * 1e9 / int(wall), int(cpu)))
                        time.sleep(0.02)
                if len(said) != 1:
                    raise SystemExit(f"{kind}, {count}: guessing changed what was said")
                (without, _), (fast, _) = medians(rates[off][1:]), medians(rates[on][1:])
                print(f"{kind + ', ' + str(count) + ' at once':<34} {without:9.1f} {fast:9.1f} {fast / without:7.2f}  "
                      f"{goal:<4}{'' if fast / without >= goal else ' missed':<7} {right} of {guessed}", flush=True)
                print(f"BENCH engine row=guess_{kind}_{count} off_tps={without:.1f} on_tps={fast:.1f} "
                      f"ratio={fast / without:.3f}")


def order_table(models, cpu, options):
    """What the fixed order of sums costs: ours against a build of it whose kernels may sum in any order."""
    print(f"\n{'fixed order of sums':<18} {'tokens/s':<12} {'ours':>9} {'any order':>10} {'ratio':>7}  {'goal':<11} "
          f"{'CPU µs':>10} {'any order':>10}")
    for name in models:
        file = model_file(name)
        with ours(file, cpu=cpu, guess="0") as a, \
                Driver(BIN / "bench_engine_free", file, SEQS, 8192, TOLLGATE_CPU=cpu, GUESS="0") as b:
            for row in ROWS:
                (mine, my_us), (free, free_us) = compare(row, a, b, options, [])
                print(f"{name:<18} {row[0]} {row[1]:<{11 - len(row[0])}} {mine:9.1f} {free:10.1f} {mine / free:7.2f}  "
                      f"0.97{'' if mine / free >= 0.97 else ' missed':<7} {my_us:10.0f} {free_us:10.0f}", flush=True)
                print(f'BENCH engine model="{name}" row=order_{row[0]}_{row[1]} ratio={mine / free:.3f}')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="two models, three runs, one instruction set")
    parser.add_argument("--models", help="only those whose name ends so, by commas: Q4_1,Q8_0,Q4_0,F16")
    parser.add_argument("--rows", help="only those, by commas: decode1,decode8,decode32,prefill512")
    parser.add_argument("--only", choices=("ratios", "guesses", "order"), help="only those tables")
    parser.add_argument("--cpu", choices=("native", "avx2"), help="only that one of the two tables")
    options = parser.parse_args()
    options.runs, options.target_s = (3, 0.4) if options.quick else (5, 0.45)
    models = [SMOL, *SYNTHETIC]
    if options.quick:
        models = models[:2]
    if options.models:
        models = [name for name in models if name.split()[-1] in options.models.split(",")]

    peaks, left = [], []
    print(f"medians of {options.runs} interleaved runs ({options.runs + 4} for decode 1), {THREADS} threads, "
          f"llama.cpp of llama-cpp-python {version()}; CPU µs: processor time of both threads a token")
    if options.cpu != "avx2" and options.only in (None, "ratios"):
        left = table(models, os.environ.get("TOLLGATE_CPU"), "native", options, peaks)
    beyond_avx2 = any(key.startswith(("avx512", "amx")) for key in machine())
    if options.only in (None, "ratios") and (options.cpu == "avx2" or
                                             (options.cpu is None and beyond_avx2 and not options.quick)):
        table(models, "avx2", "avx2", options, peaks)
    if options.only in (None, "guesses"):
        guess_table(options.runs)
    if options.only in (None, "order"):
        order_table([name for name in models if name == SMOL or not name.endswith("_K")],
                    os.environ.get("TOLLGATE_CPU"), options)
    if options.only is None:
        memory_table(left)
        start_table(models, options.runs)
        prefix_table((8,) if options.quick else (1, 8, 32), 16)
    peaks.append(machine())
    print("\nthis machine, lowest to highest in the run: " + "; ".join(
        f"{key.replace('_', ' ')} {min(one[key] for one in peaks):.0f} to {max(one[key] for one in peaks):.0f}"
        for key in peaks[0]))


def version():
    line = next(line for line in (ROOT / "tools" / "peers").read_text().splitlines() if line.startswith("PACKAGE="))
    return line.partition("==")[2]


if __name__ == "__main__":
    sys.exit(main())
