"""The demo's story: drives a running mesh like its clients would, then reconciles every account of it.

Needs a mesh started by tools/mesh (its addresses come from $TOLLGATE_RUN_DIR). Uses nothing but the
standard library. Exit status 0 only if everything reconciled.
"""
import collections
import http.client
import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUN = pathlib.Path(os.environ.get("TOLLGATE_RUN_DIR", ROOT / "build" / "run"))
BIN = pathlib.Path(os.environ.get("TOLLGATE_BIN", ROOT / "build" / "bin"))
TENANTS = ("acme", "globex", "initech")
COMPARED_TARGET = "openai-gpt4o-mini"
SETTLE_S = 30

Answer = collections.namedtuple("Answer", "status text error route first_token_ms input output")


def read_env(path):
    env = {}
    for line in path.read_text().splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        env[name] = value
    return env


ENV = read_env(RUN / "mesh.env") | read_env(RUN / "env")
KEYS = {tenant: (RUN / "secrets" / tenant).read_text() for tenant in TENANTS}
TARGET_NOTES = {"private-gpu-llama-70b": "here a small model stands in: SmolLM2-135M on this machine's CPU"}
answers = []  # (tenant, Answer) of every request that was answered with 200
refused = []  # request ids or None of every request that was not


def usd(picousd):
    return f"${picousd / 10**12:.12f}".rstrip("0")


def routing(text):
    return dict(part.split("=", 1) for part in text.split("; ") if "=" in part)


# ---- clients ----


def chat(tenant, task_type, content, key=None, max_tokens=48, model="auto"):
    """One streamed chat completion, timed like a client would see it."""
    where = urllib.parse.urlsplit(ENV["TOLLGATE_BASE_URL"])
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=120)
    body = {"model": model, "stream": True, "stream_options": {"include_usage": True},
            "messages": [{"role": "user", "content": content}]}
    if max_tokens:
        body["max_tokens"] = max_tokens
    started = time.monotonic()
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {
        "Authorization": f"Bearer {key or KEYS[tenant]}", "Content-Type": "application/json",
        "X-Task-Type": task_type})
    response = connection.getresponse()
    if response.status != 200:
        error = json.loads(response.read())["error"]
        refused.append(response.getheader("x-request-id"))
        return Answer(response.status, "", error["message"], {}, 0, 0, 0)
    text, first, usage, route = "", None, {}, routing(response.getheader("x-tollgate-routing"))
    for raw in response:
        line = raw.decode().rstrip("\r\n")
        if line.startswith(": x-tollgate-routing: "):
            route = routing(line.split(": ", 2)[2])
        if not line.startswith("data: ") or line == "data: [DONE]":
            continue
        chunk = json.loads(line[6:])
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            piece = choice["delta"].get("content") or ""
            if piece and first is None:
                first = (time.monotonic() - started) * 1000
            text += piece
    connection.close()
    answer = Answer(200, text, None, route, first or 0, usage["prompt_tokens"], usage["completion_tokens"])
    answers.append((tenant, answer))
    return answer


def admin(method, path, body=None):
    where = urllib.parse.urlsplit(ENV["TOLLGATE_STANDINS_ADMIN"])
    connection = http.client.HTTPConnection(where.netloc if where.netloc else where.path, timeout=10)
    connection.request(method, path, json.dumps(body) if body is not None else None,
                       {"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read()
    if response.status >= 300:
        sys.exit(f"the stand-ins' admin port answered {response.status}: {text!r}")


def mesh(*words):
    subprocess.run([ROOT / "tools" / "mesh", *words], check=True)


def command(*words):
    done = subprocess.run([BIN / "tollgate", *words], capture_output=True, text=True, env=os.environ | ENV)
    return done.returncode, done.stdout, done.stderr


# ---- the story ----


def shorten(text, width=88):
    text = " ".join(text.split())
    return text if len(text) <= width else text[:width - 1] + "…"


step_number = 0


def show(title, sent, answer, why, expect_target=None, expect_status=200):
    global step_number
    step_number += 1
    print(f"\n{step_number:2}. {title}")
    print(f"    sent         {shorten(sent)}")
    if answer.status != 200:
        print(f"    answered     {answer.status}: {answer.error}")
    else:
        target = answer.route["target"]
        print(f"    went to      {target} (rule {answer.route['rule']}, attempt {answer.route['attempt']})")
        if target in TARGET_NOTES:
            print(f"                 {TARGET_NOTES[target]}")
        print(f"    said         {shorten(answer.text)}")
        print(f"    tokens       {answer.input} in, {answer.output} out")
        print(f"    cost         ${answer.route['cost_usd']}")
        print(f"    first token  {answer.first_token_ms:.0f} ms")
    print(f"    why          {why}")
    if answer.status != expect_status or (expect_target and answer.route.get("target") != expect_target):
        sys.exit(f"    but {expect_target or expect_status} was expected: the story does not hold")


def story():
    ask = "Classify as positive or negative: 'The update made everything faster.'"
    show("acme classifies a review", ask, chat("acme", "classification", ask, max_tokens=16),
         "classification is commodity work: the private tier comes first", "private-gpu-llama-70b")
    ask = "Extract the city: 'Our office moved from Lyon to Geneva last spring.'"
    show("globex extracts a field", ask, chat("globex", "extraction", ask, max_tokens=16),
         "extraction goes the same way", "private-gpu-llama-70b")
    ask = "What should I see in Lisbon in one day?"
    show("initech chats", ask, chat("initech", "chat", ask), "chat is general generation: Claude Haiku",
         "anthropic-claude-haiku")
    ask = "Summarize: the committee met twice, agreed on the budget and postponed the vote."
    show("acme summarizes", ask, chat("acme", "summarization", ask), "so is summarization",
         "anthropic-claude-haiku")
    ask = "Compare three ways to price an API and recommend one."
    show("globex asks for an analysis", ask, chat("globex", "analysis", ask, max_tokens=200),
         "analysis needs a frontier model, and stays under its cost cap", "anthropic-claude-35-sonnet")

    admin("POST", "/faults", {"dialect": "anthropic", "fault": {"status": 529}, "count": 1})
    ask = "And in Porto?"
    show("the Anthropic stand-in answers 529 once; initech chats on", ask, chat("initech", "chat", ask),
         "overloaded before the first token: the next target of the rule, unseen by the client",
         "openai-gpt4o-mini")
    admin("DELETE", "/faults")

    show_engine()
    mesh("stop", "inference")
    ask = "Classify as spam or not spam: 'You have won a boat!'"
    show("the private tier is stopped; acme classifies", ask,
         chat("acme", "classification", ask, max_tokens=16),
         "health saw the replica go: Bedrock is now the first choice", "bedrock-llama-3-70b")
    mesh("start", "inference")
    mesh("wait", "inference")

    ask = "Write the full analysis, with every appendix. " + "Consider this paragraph. " * 600
    show("globex asks for an analysis over its cost cap", ask,
         chat("globex", "analysis", ask, max_tokens=8000), "the upper bound is refused before sending",
         expect_status=402)
    show("someone comes with a bad key", "Bearer tg_live_wrong",
         chat("acme", "chat", "hello", key="tg_live_wrong"), "nothing is sent", expect_status=401)


# ---- the accounts ----


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def served():
    """What the upstreams themselves logged: {event id: (tokens in, tokens out, status)}."""
    found = {}
    for entry in lines(RUN / "standins.jsonl"):
        if entry.get("attempt"):
            prompt = entry["input_tokens"] + entry["cache_read_tokens"] + entry["cache_write_5m_tokens"] + \
                entry["cache_write_1h_tokens"]
            found[entry["attempt"]] = (prompt, entry["output_tokens"], entry["status"])
    for entry in lines(RUN / "inference.jsonl"):
        found[f"{entry['request_id']}/{entry['attempt']}"] = (
            entry["prompt_tokens"], entry["output_tokens"], 200)
    return found


def kafka_events():
    code, out, err = command("events", "--kafka", ENV["TOLLGATE_KAFKA"])
    if code != 0:
        sys.exit(f"tollgate events failed: {err}")
    return {f"{e['request_id']}/{e['attempt']}": e for e in map(json.loads, out.splitlines())}


def ledger(*words):
    code, out, err = command("ledger", *words, "--json")
    if code != 0:
        sys.exit(f"tollgate ledger {' '.join(words)} failed: {out}{err}")
    return json.loads(out)


def settle(wanted):
    """Waits until the ledger has posted as many attempts as the upstreams served."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        verified = ledger("verify")
        if verified["transactions"] >= wanted or time.monotonic() > deadline:
            return verified
        time.sleep(0.1)


def statement_lines():
    found = []
    for tenant in TENANTS:
        found += ledger("statement", "--tenant", tenant)["lines"]
    return found


def metrics(url):
    """The series without labels, by name."""
    where = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=10)
    connection.request("GET", where.path)
    words = [line.split() for line in connection.getresponse().read().decode().splitlines()]
    return {word[0]: float(word[1]) for word in words if len(word) == 2}


def show_engine():
    """What the private tier's engine says of itself, in its metrics."""
    engine = {name.removeprefix("tollgate_engine_"): value for name, value in metrics(ENV["TOLLGATE_INFERENCE_METRICS"]).items()}
    busy, overhead, idle = (engine[f"{kind}_nanoseconds_total"] / 1e9 for kind in ("busy", "overhead", "idle"))
    print("\nThe private tier's engine\n")
    print(f"  {busy:.3f} s in steps, which its tenants pay; {overhead:.3f} s overhead, {idle:.3f} s idle")
    print(f"  {engine['prompt_tokens_total']:.0f} prompt tokens, {engine['cached_tokens_total']:.0f} of them cached; "
          f"{engine['output_tokens_total']:.0f} output tokens")
    print(f"  KV blocks: {engine['kv_blocks_free']:.0f} free, {engine['kv_blocks_cached']:.0f} cached, "
          f"{engine['kv_blocks_used']:.0f} in use; {engine['memory_bytes'] / 2**20:.0f} MiB in all")


def show_ledger(statement):
    print("\nThe ledger, by tenant\n")
    print(f"    {'tenant':9} {'target':28} {'attempts':>8} {'tokens in':>10} {'out':>7}  {'cost':<18}")
    for line in statement:
        note = " (assumed price)" if line["price_assumed"] else ""
        print(f"    {line['tenant']:9} {line['target']:28} {line['attempts']:8} {line['input_tokens']:10} "
              f"{line['output_tokens']:7}  {usd(int(line['cost_picousd'])):<18}{note}")
    total = sum(int(line["cost_picousd"]) for line in statement)
    compared = ledger("compare", "--target", COMPARED_TARGET)
    print(f"\n    all of it cost {usd(total)}; the same tokens, all on {COMPARED_TARGET}, would have cost "
          f"{usd(int(compared['there_picousd']))}")


checks_failed = 0


def check(what, ok, detail):
    global checks_failed
    checks_failed += not ok
    print(f"    {'agrees ' if ok else 'DIFFERS'}  {what}: {detail}")


def reconcile(logs, events, verified, statement):
    print("\nReconciliation\n")
    check("attempts in the upstreams' own logs = event ids in Kafka = ledger transactions",
          set(logs) == set(events) and verified["transactions"] == len(events),
          f"{len(logs)} = {len(events)} = {verified['transactions']}")
    check("postings balance", verified["ok"], f"{verified['postings']} postings, "
          f"{verified['quarantined']} quarantined, {verified['duplicates']} duplicates dropped")
    ids = {answer.route["request"] for _, answer in answers}
    extra = {event.split("/")[0] for event in events} - ids
    check("every answered request has its attempts, every refusal has none",
          all(f"{i}/1" in events for i in ids) and not extra and not any(
              r and f"{r}/1" in events for r in refused),
          f"{len(ids)} answered, {len(refused)} refused, {len(events)} attempts")
    billed = {i: (e["input_tokens"] + e["cache_read_tokens"] + e["cache_write_5m_tokens"] +
                  e["cache_write_1h_tokens"], e["output_tokens"]) for i, e in events.items()}
    witnessed = {i: (a, b) if status == 200 else (0, 0) for i, (a, b, status) in logs.items()}
    wrong = [i for i in billed if billed[i] != witnessed.get(i)]
    check("tokens of each attempt equal what the upstream counted", not wrong,
          f"{sum(a for a, _ in billed.values())} in, {sum(b for _, b in billed.values())} out"
          + (f"; differing: {[(billed[i], witnessed.get(i)) for i in wrong[:3]]}" if wrong else ""))
    for tenant in TENANTS:
        event_cost = sum(e["cost_picousd"] for e in events.values() if e["tenant"] == tenant)
        event_tokens = sum(sum(billed[i]) for i, e in events.items() if e["tenant"] == tenant)
        own = [line for line in statement if line["tenant"] == tenant]
        cost = sum(int(line["cost_picousd"]) for line in own)
        tokens = sum(line["input_tokens"] + line["cache_read_tokens"] + line["cache_write_tokens"] +
                     line["output_tokens"] for line in own)
        said = sum(round(float(a.route["cost_usd"]) * 10**12) for t, a in answers if t == tenant)
        check(f"{tenant}: events = ledger = what the answers said", event_cost == cost == said and
              event_tokens == tokens, f"{event_cost} = {cost} = {said} pico-dollars, {tokens} tokens")


def main():
    started = time.monotonic()
    story()
    logs = served()
    verified = settle(len(logs))
    events, statement = kafka_events(), statement_lines()
    show_ledger(statement)
    reconcile(served(), events, verified, statement)
    print(f"\n{'Everything agrees' if not checks_failed else f'{checks_failed} checks differ'}; "
          f"the story took {time.monotonic() - started:.1f} s.")
    return 1 if checks_failed else 0


if __name__ == "__main__":
    sys.exit(main())
