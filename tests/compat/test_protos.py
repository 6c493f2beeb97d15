"""The wire format keeps its promises: against the committed descriptor set (proto/tollgate.protoset here), a
field number is never reused, a type never changes, a method never turns into a stream.

Additions are fine. A removed field must leave its number and name `reserved`. After a release, or once an
addition is in use, commit the new set: cp build/asan/gen/tollgate.protoset tests/compat/proto/
"""
import os
import pathlib

import pytest
from google.protobuf import descriptor_pb2

HERE = pathlib.Path(__file__).resolve().parent


def load(path):
    return descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(path).read_bytes())


def messages_of(prefix, messages):
    for message in messages:
        name = f"{prefix}.{message.name}"
        yield name, message
        yield from messages_of(name, message.nested_type)


def shapes(descriptor_set):
    """Of every message its fields and what it reserves, of every enum its values, of every method its types."""
    messages, enums, methods = {}, {}, {}
    for file in descriptor_set.file:
        holders = [(file.package, file.enum_type)]
        for name, message in messages_of(file.package, file.message_type):
            fields = {f.number: {"name": f.name, "type": f.type, "label": f.label, "of": f.type_name,
                                 "oneof": message.oneof_decl[f.oneof_index].name if f.HasField("oneof_index") else ""}
                      for f in message.field}
            reserved = {n for r in message.reserved_range for n in range(r.start, r.end)}
            messages[name] = fields, reserved, set(message.reserved_name)
            holders.append((name, message.enum_type))
        for prefix, found in holders:
            for enum in found:
                enums[f"{prefix}.{enum.name}"] = {v.number: v.name for v in enum.value}
        for service in file.service:
            for m in service.method:
                methods[f"{file.package}.{service.name}.{m.name}"] = (
                    m.input_type, m.output_type, m.client_streaming, m.server_streaming)
    return messages, enums, methods


def broken_fields(name, old, new):
    fields, (now, reserved, reserved_names) = old[0], new
    for number, field in fields.items():
        if number not in now:
            if number not in reserved or field["name"] not in reserved_names:
                yield f"{name}.{field['name']} = {number} is gone without being reserved"
            continue
        for what, value in field.items():
            if now[number][what] != value:
                yield f"{name} = {number}: {what} was {value!r}, is {now[number][what]!r}"


def breaks(old_set, new_set):
    (old_messages, old_enums, old_methods) = shapes(old_set)
    (new_messages, new_enums, new_methods) = shapes(new_set)
    found = [f"message {n} is gone" for n in old_messages if n not in new_messages]
    for name in old_messages.keys() & new_messages.keys():
        found += broken_fields(name, old_messages[name], new_messages[name])
    for name, values in old_enums.items():
        for number, value in values.items():
            if new_enums.get(name, {}).get(number) != value:
                found.append(f"{name}.{value} = {number} is gone or renamed")
    for name, types in old_methods.items():
        if new_methods.get(name) != types:
            found.append(f"method {name} was {types}, is {new_methods.get(name)}")
    return found


@pytest.fixture(scope="module")
def committed():
    return load(HERE / "proto" / "tollgate.protoset")


def test_nothing_promised_is_broken(committed):
    built = load(pathlib.Path(os.environ["TOLLGATE_BUILD"]) / "gen" / "tollgate.protoset")
    assert not breaks(committed, built)


def find(descriptor_set, package, message):
    return next(m for f in descriptor_set.file if f.package == package for m in f.message_type if m.name == message)


def changed(committed, change):
    copy = descriptor_pb2.FileDescriptorSet()
    copy.CopyFrom(committed)
    change(copy)
    return breaks(committed, copy)


def observation(s):
    return find(s, "tollgate.v1", "Observation")


def reuse_a_number(s):
    observation(s).field[0].name = "something_else"


def change_a_type(s):
    observation(s).field[3].type = descriptor_pb2.FieldDescriptorProto.TYPE_STRING


def make_it_repeated(s):
    observation(s).field[0].label = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED


def drop_a_field(s):
    del observation(s).field[0]


def rename_an_enum_value(s):
    next(f for f in s.file if f.enum_type).enum_type[0].value[0].name = "OTHER"


def turn_into_a_stream(s):
    next(f for f in s.file if f.service).service[0].method[0].server_streaming ^= True


@pytest.mark.parametrize("change", [reuse_a_number, change_a_type, make_it_repeated, drop_a_field,
                                    rename_an_enum_value, turn_into_a_stream])
def test_a_break_is_seen(committed, change):
    assert changed(committed, change)


def add_a_field(s):
    observation(s).field.add(name="new", number=1000, type=descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
                       label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL)


def retire_a_field(s):
    field = observation(s).field[0]
    observation(s).reserved_range.add(start=field.number, end=field.number + 1)
    observation(s).reserved_name.append(field.name)
    del observation(s).field[0]


@pytest.mark.parametrize("change", [add_a_field, retire_a_field])
def test_growth_is_fine(committed, change):
    assert not changed(committed, change)
