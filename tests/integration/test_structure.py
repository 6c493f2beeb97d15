"""The tree keeps its shape: which folder may include which, what stays pure, how long a file may be.

`problems` is a pure function from {path: text} to sentences. The first test gives it the real tree, the
others trees with one mistake each, to prove that it would be found.
"""
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# A library may include libraries of a lower rank, and itself. The tokenizer ranks low because the engine
# builds alone, with it and libs/base.
RANKS = {"base": 0, "json": 1, "money": 1, "metrics": 1, "tokenizer": 1, "config": 2, "http": 3, "rpc": 4,
         "usage": 5, "service": 5}
PURE = ("services/router/policy/", "services/router/dialect/")
ENGINE = ("services/inference/engine/", "services/inference/model/", "services/inference/backend/",
          "services/inference/embed/", "services/inference/template/", "services/inference/text/",
          "services/inference/constrain/", "services/inference/answer/")
ENGINE_LIBS = ("libs/base/", "libs/tokenizer/")
IO_HEADERS = re.compile(r"(uv\.h|sqlite3\.h|time\.h|unistd\.h|fcntl\.h|threads\.h|pthread\.h|sys/(socket|time|stat|"
                        r"mman|epoll)\.h|(curl|grpc|librdkafka|netinet|arpa)/.*)$")
GENERATED = re.compile(r"(tollgate|grpc)/.*\.pb-c\.h$")
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:<([^>]+)>|"([^"]+)")', re.MULTILINE)
UNPACKING = re.compile(r"\b(protobuf_c_message_unpack|\w+__unpack)\s*\(")
CHECKED_UNPACKING = "libs/rpc/wire.c"
LINES_MAX = 600
COLUMNS_MAX = 100
VECTORS = "tests/unit/libs/http/sigv4_vectors.h"  # whole texts, to be compared by eye with where they come from
SOURCES = (".c", ".h", ".cpp", ".cu", ".py", ".proto")


def read_tree(root):
    folders = ("libs", "services", "cli", "proto", "deploy", "tests", "tools")
    paths = (p for folder in folders for p in (root / folder).rglob("*") if p.suffix in SOURCES and p.is_file())
    return {str(p.relative_to(root)): p.read_text() for p in paths}


def includes(text):
    """What a source includes: (name, quoted)."""
    return [(system or quoted, not system) for system, quoted in INCLUDE.findall(text)]


def owner(path):
    """The library or service a path belongs to: "libs/json", "services/router"; else its first folder."""
    parts = path.split("/")
    return "/".join(parts[:2]) if parts[0] in ("libs", "services") else parts[0]


def arrow_problem(path, name):
    """Why `path` must not include `name`, a file of ours; None if it may."""
    source, target = owner(path), owner(name)
    if path.startswith(ENGINE) and not name.startswith(ENGINE + ENGINE_LIBS):
        return f"the engine builds alone: only {' and '.join(ENGINE_LIBS)} are below it"
    if path.startswith("tests/providers/") and not name.startswith("tests/providers/"):
        return "the stand-ins share no code with what they test"
    if path.startswith(PURE) and name.startswith("services/") and not name.startswith(PURE):
        return "deciding and translating know nothing of doing"
    if source == target:
        return None
    if source.startswith("libs/"):
        if not target.startswith("libs/"):
            return "a library knows no service"
        if RANKS.get(source[5:], 0) <= RANKS.get(target[5:], 0):
            return f"{target} is not below {source}"
    if source.startswith("services/") and not target.startswith("libs/"):
        return "a service includes libraries only, never another service"
    return None


def arrow_problems(files):
    for path, text in files.items():
        if not path.startswith(("libs/", "services/", "cli/", "tests/providers/")):
            continue
        for name, quoted in includes(text):
            if not quoted or GENERATED.match(name):
                continue
            if name not in files:
                yield f'{path}: "{name}" is no file of this tree; includes are rooted at the repository'
                continue
            problem = arrow_problem(path, name)
            if problem:
                yield f"{path} includes {name}: {problem}"


def io_chain(path, files, seen):
    """The way from a file to an I/O header, through our own headers; None if there is none."""
    for name, quoted in includes(files[path]):
        if not quoted and IO_HEADERS.match(name):
            return [path, name]
        if quoted and name in files and name not in seen:
            seen.add(name)
            rest = io_chain(name, files, seen)
            if rest:
                return [path, *rest]
    return None


def purity_problems(files):
    for path in files:
        if path.startswith(PURE):
            chain = io_chain(path, files, set())
            if chain:
                yield f"pure code reaches an I/O header: {' → '.join(chain)}"


def form_problems(files):
    for path, text in files.items():
        lines = text.count("\n")
        if lines > LINES_MAX:
            yield f"{path} has {lines} lines; {LINES_MAX} is the most"
        if path.endswith((".c", ".h")) and path != VECTORS:
            for number, line in enumerate(text.split("\n"), 1):
                if len(line) > COLUMNS_MAX and max(map(len, line.split())) < 80:  # a name of 80 cannot be broken
                    yield f"{path}:{number} has {len(line)} columns; {COLUMNS_MAX} is the most"
        if path.startswith("libs/") and path.endswith(".h") and not text.startswith("/*"):
            yield f"{path} does not begin with a comment that says what it is for"
    for library in sorted({owner(path)[5:] for path in files if path.startswith("libs/") and path.count("/") > 1}):
        if library not in RANKS:
            yield f"libs/{library} has no rank in this test"


def unpacking_problems(files):
    for path, text in files.items():
        if path.startswith(("libs/", "services/", "cli/")) and path != CHECKED_UNPACKING and UNPACKING.search(text):
            yield f"{path} unpacks a message by itself: a text with a NUL byte is refused by {CHECKED_UNPACKING} only"


def problems(files):
    return [*form_problems(files), *arrow_problems(files), *purity_problems(files), *unpacking_problems(files)]


def test_the_tree():
    found = problems(read_tree(ROOT))
    assert not found, "\n".join(found)


HEADER = "/* What it is for. */\n"


@pytest.mark.parametrize("planted, expected", [
    ({"libs/base/a.c": '#include "libs/json/json.h"\n'}, "libs/json is not below libs/base"),
    ({"libs/money/a.c": '#include "libs/json/json.h"\n'}, "libs/json is not below libs/money"),
    ({"libs/base/a.c": '#include "services/router/edge/e.h"\n'}, "a library knows no service"),
    ({"services/health/a.c": '#include "services/router/edge/e.h"\n'}, "never another service"),
    ({"services/inference/engine/a.c": '#include "libs/json/json.h"\n'}, "the engine builds alone"),
    ({"tests/providers/a.c": '#include "libs/json/json.h"\n'}, "share no code"),
    ({"libs/base/a.c": '#include "json.h"\n'}, "rooted"),
    ({"cli/a.c": "m = tollgate__v1__stop__unpack(NULL, len, bytes);\n"}, "unpacks a message by itself"),
    ({"services/router/policy/a.c": "#include <uv.h>\n"}, "policy/a.c → uv.h"),
    ({"services/router/dialect/a.c": "  #  include <librdkafka/rdkafka.h>\n"}, "rdkafka"),
    ({"services/router/policy/a.c": '#include "libs/money/m.h"\n', "libs/money/m.h": HEADER + "#include <time.h>\n"},
     "policy/a.c → libs/money/m.h → time.h"),
    ({"services/router/policy/a.c": '#include "services/router/edge/e.h"\n'}, "know nothing of doing"),
    ({"libs/base/long.c": "int x;\n" * (LINES_MAX + 1)}, "601 lines"),
    ({"libs/base/wide.c": "int x = " + "1 + " * 23 + "1;\n"}, "wide.c:1 has 102 columns"),
    ({"libs/base/bare.h": "#ifndef A\n#endif\n"}, "does not begin with a comment"),
    ({"libs/novel/a.h": HEADER}, "no rank"),
])
def test_a_planted_mistake_is_found(planted, expected):
    sound = {"libs/json/json.h": HEADER, "libs/base/base.h": HEADER, "services/router/edge/e.h": HEADER,
             "libs/json/json.c": '#include "libs/base/base.h"\n#include "libs/json/json.h"\n#include <time.h>\n',
             "services/router/policy/p.c": '#include "libs/json/json.h"\n#include <string.h>\n',
             "cli/main.c": '#include "services/router/edge/e.h"\n#include "tollgate/v1/usage.pb-c.h"\n'}
    assert problems(sound) == []
    found = problems(sound | planted)
    assert len(found) == 1 and expected in found[0], found
