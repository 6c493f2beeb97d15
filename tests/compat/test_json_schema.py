"""Random walks through what JSON schemas allow, validated by the reference implementation.

The schemas are drawn from a seed (TG_TEST_SEED) and use everything that docs/structured-output.md names, references that go
round included. The walks are of the C code, over a small vocabulary whose pieces cross the ends of strings, numbers and keys;
one mask in sixteen is held against trying every token.
"""
import json
import os
import pathlib
import random
import subprocess

import jsonschema
import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
BUILD = pathlib.Path(os.environ.get("TOLLGATE_BIN", ROOT / "build" / "bin"))
SEED = int(os.environ.get("TG_TEST_SEED", "0")) or random.randrange(1, 2**31)
SCHEMAS, WALKS = 400, 8
NAMES = ["a", "b", "id", "name", "x y", "caf\u00e9", 'q"q', "back\\slash", "tab\t", ""]
PATTERNS = ["^[a-z]{1,8}$", "[0-9]", "^(yes|no)$", "^\\d{2}-\\d{2}", "a|b\"", "^[^a]*$", "^.{2,5}$", "\\w+@\\w+"]
FORMATS = ["date", "time", "date-time", "uuid", "ipv4", "ipv6", "email", "hostname", "uri", "duration"]


class Draw:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.defs = []

    def maybe(self, one_in=2):
        return self.rng.randrange(one_in) == 0

    def bounds(self, low, high, low_name, high_name):
        a, b = sorted((self.rng.randint(low, high), self.rng.randint(low, high)))
        return {**({low_name: a} if self.maybe() else {}), **({high_name: b} if self.maybe() else {})}

    def value(self, depth=2):
        r = self.rng
        kind = r.randrange(8 if depth else 6)
        if kind == 6:
            return [self.value(depth - 1) for _ in range(r.randrange(3))]
        if kind == 7:
            return {r.choice(NAMES): self.value(depth - 1) for _ in range(r.randrange(3))}
        return [None, True, r.randint(-99, 99), r.choice([0.5, -1.25, 1e3, 2.50]), r.choice(NAMES), "\u0001\n\U0001f600/"][kind]

    def integer(self):
        bounds = {**self.bounds(-3000, 3000, "minimum", "maximum")}
        if self.maybe(3):
            bounds = self.bounds(-40, 40, "exclusiveMinimum", "maximum")
            bounds = {k: v - 50 if k == "exclusiveMinimum" else v for k, v in bounds.items()}
        step = self.rng.choice([2, 5, 7, 100]) if self.maybe(4) else None
        if step and bounds:
            bounds = {"minimum": -step} if self.maybe() else {"maximum": step}
        return {"type": "integer", **bounds, **({"multipleOf": step} if step else {})}

    def number(self):
        low, high = sorted(self.rng.choice([-100, -1.5, -0.25, 0, 1e-3, 0.1, 0.3, 2.75, 99.99, 1e4]) for _ in range(2))
        schema = {"type": "number"}
        if self.maybe():
            schema["minimum" if self.maybe() else "exclusiveMinimum"] = low
        if self.maybe():
            schema["maximum" if self.maybe() else "exclusiveMaximum"] = high + 1
        if self.maybe(5):
            schema = {"type": "number", "multipleOf": self.rng.choice([0.5, 0.25, 3, 0.125])}
        return schema

    def string(self):
        if self.maybe(3):
            return {"type": "string", "format": self.rng.choice(FORMATS)}
        if self.maybe(3):
            return {"type": "string", "pattern": self.rng.choice(PATTERNS), **({"maxLength": 9} if self.maybe() else {})}
        return {"type": "string", **self.bounds(0, 12, "minLength", "maxLength")}

    def array(self, depth):
        schema = {"type": "array", **self.bounds(0, 4, "minItems", "maxItems")}
        if self.maybe(3):
            schema["prefixItems"] = [self.schema(depth - 1) for _ in range(self.rng.randrange(1, 4))]
        if self.maybe(4) and "prefixItems" in schema and "minItems" not in schema:
            schema["items"] = False
        elif not self.maybe(5):
            schema["items"] = self.schema(depth - 1)
        return schema

    def object(self, depth):
        names = self.rng.sample(NAMES, self.rng.randrange(5))
        schema = {"type": "object", "properties": {n: self.schema(depth - 1) for n in names}}
        required = [n for n in names if self.maybe()]
        if self.maybe(6):
            required.append("unnamed")
            schema["additionalProperties"] = True
        if required or self.maybe():
            schema["required"] = required
        if self.maybe(3):
            schema["additionalProperties"] = self.rng.choice([False, True, {"type": "integer"}])
            if schema["additionalProperties"] is False and "unnamed" in required:
                required.remove("unnamed")
        return schema

    def reference(self, depth):
        """Into a definition that may hold itself, where an end can be reached: behind an optional member, an array, or beside null."""
        if len(self.defs) < 3 and depth > 0:
            at = len(self.defs)
            self.defs.append(None)
            this = {"$ref": f"#/$defs/d{at}"}
            body = self.object(depth - 1)
            body["properties"]["again"] = self.rng.choice([this, {"type": "array", "items": this}, {"anyOf": [{"type": "null"}, this]}])
            body.pop("additionalProperties", None)
            body["required"] = [n for n in body.get("required", []) if n in body["properties"]]
            self.defs[at] = body
        usable = [i for i, d in enumerate(self.defs) if d is not None]
        return {"$ref": f"#/$defs/d{self.rng.choice(usable)}", "description": "again"} if usable else {"type": "null"}

    def schema(self, depth):
        r = self.rng
        kind = r.randrange(12 if depth > 0 else 6)
        notes = {"title": "t", "default": None} if self.maybe(8) else {}
        if kind < 6:
            leaf = [self.integer, self.number, self.string, lambda: {"type": r.choice(["boolean", "null"])},
                    lambda: {"enum": [self.value() for _ in range(r.randrange(1, 5))]}, lambda: {"const": self.value()}][kind]()
            return {**leaf, **notes}
        if kind == 6:
            return {**self.array(depth), **notes}
        if kind in (7, 8):
            return {**self.object(depth), **notes}
        if kind == 9:
            return {"anyOf": [self.schema(depth - 1) for _ in range(r.randrange(1, 4))], **notes}
        if kind == 10:
            return self.reference(depth)
        return r.choice([
            lambda: {"type": ["string", "null", "integer"], "minLength": 1, "minimum": 3},
            lambda: {"allOf": [{"type": "integer", "minimum": -7}, {"maximum": 70}]},
            lambda: {"allOf": [self.reference(depth)], "title": "one"},
            lambda: {"oneOf": [{"type": "object", "properties": {"kind": {"const": k}, "it": self.schema(depth - 1)},
                                "required": ["kind"], "additionalProperties": False} for k in "abc"]},
            lambda: {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"],
                     "allOf": [{"properties": {"b": self.schema(depth - 1)}}]},
            lambda: {}, lambda: True])()

    def document(self):
        root = self.schema(3)
        if self.defs:
            root = {**(root if isinstance(root, dict) else {}), "$defs": {f"d{i}": d for i, d in enumerate(self.defs)}}
        return root


def walk(schemas, walks=WALKS):
    """(refusal or None, whole texts, how many were cut) of each schema"""
    done = subprocess.run([BUILD / "test-constrain", str(walks), str(SEED)], input="".join(json.dumps(s) + "\n" for s in schemas),
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"TG_TEST_SEED={SEED}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    told = []
    for line in done.stdout.splitlines():
        word, _, rest = line.partition(" ")
        if word in ("ok", "refused"):
            told.append([rest if word == "refused" else None, [], 0])
        elif word == "end":
            told[-1][1].append(bytes.fromhex(rest).decode())
        else:
            told[-1][2] += 1
    assert len(told) == len(schemas)
    return told


def validate(schema, text):
    checker = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    checker.check_schema(schema)
    wrong = list(checker.iter_errors(json.loads(text)))
    assert not wrong, f"TG_TEST_SEED={SEED}: {json.dumps(schema)} gave {text}: {wrong[0].message}"


def test_random_schemas():
    schemas = []
    for i in range(SCHEMAS):
        schemas.append(Draw(SEED * 1000 + i).document())
    whole = cut = refused = 0
    for schema, (refusal, texts, cuts) in zip(schemas, walk(schemas)):
        if refusal is not None:
            assert "no text can satisfy" in refusal or "minItems" in refusal, f"TG_TEST_SEED={SEED}: {json.dumps(schema)}: {refusal}"
            refused += 1
        for text in texts:
            validate(schema, text)
        whole, cut = whole + len(texts), cut + cuts
    print(f"{SCHEMAS} schemas, {refused} impossible; {whole} texts valid, {cut} cut")
    assert SCHEMAS - refused >= 300 and whole >= 2000 and cut * 4 < whole


STRICT = {
    "steps": {"type": "object", "properties": {"steps": {"type": "array", "items": {"type": "object", "properties": {
        "explanation": {"type": "string"}, "output": {"type": "string"}}, "required": ["explanation", "output"],
        "additionalProperties": False}}, "final_answer": {"type": "string"}}, "required": ["steps", "final_answer"],
        "additionalProperties": False},
    "tree of elements": {"type": "object", "properties": {"type": {"type": "string", "description": "of the element", "enum": ["div", "button", "field"]},
        "label": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#"}}, "attributes": {"type": "array", "items": {
            "type": "object", "properties": {"name": {"type": "string"}, "value": {"type": "string"}}, "additionalProperties": False,
            "required": ["name", "value"]}}}, "required": ["type", "label", "children", "attributes"], "additionalProperties": False},
    "linked list": {"type": "object", "properties": {"list": {"$ref": "#/$defs/node"}}, "$defs": {"node": {"type": "object", "properties": {
        "value": {"type": "number"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}, "additionalProperties": False,
        "required": ["next", "value"]}}, "additionalProperties": False, "required": ["list"]},
    "optional by null": {"type": "object", "properties": {"location": {"type": "string"}, "unit": {"type": ["string", "null"],
        "enum": ["C", "F", None]}, "zip": {"type": "string", "pattern": "^\\d{5}$"}, "days": {"type": "integer", "minimum": 1, "maximum": 14},
        "at": {"type": "string", "format": "date-time"}}, "required": ["location", "unit", "zip", "days", "at"], "additionalProperties": False},
    "pydantic": {"$defs": {"Kind": {"enum": ["cat", "dog"], "title": "Kind", "type": "string"}, "Pet": {"properties": {
        "kind": {"$ref": "#/$defs/Kind"}, "age": {"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "null"}], "default": None,
        "title": "Age"}}, "required": ["kind"], "title": "Pet", "type": "object"}}, "properties": {"pets": {"items": {"$ref": "#/$defs/Pet"},
        "title": "Pets", "type": "array", "maxItems": 3}, "best": {"allOf": [{"$ref": "#/$defs/Pet"}]}}, "required": ["pets"],
        "title": "Home", "type": "object"},
}


@pytest.mark.parametrize("name", STRICT)
def test_schemas_as_they_are_sent(name):
    [(refusal, texts, _)] = walk([STRICT[name]], 40)
    assert refusal is None and len(texts) >= 20
    for text in texts:
        validate(STRICT[name], text)
