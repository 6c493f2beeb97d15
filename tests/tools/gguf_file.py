"""Just enough of GGUF for tests: read a file's metadata, write a file."""
import array
import struct

FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


def read_metadata(path):
    with open(path, "rb") as file:
        def take(fmt):
            return struct.unpack("<" + fmt, file.read(struct.calcsize("<" + fmt)))[0]

        def value(kind):
            if kind == 8:
                return file.read(take("Q"))
            if kind == 9:
                inner, count = take("I"), take("Q")
                return [value(inner) for _ in range(count)]
            return take(FORMATS[kind])

        assert file.read(4) == b"GGUF"
        take("I"), take("Q")
        return {value(8).decode(): value(take("I")) for _ in range(take("Q"))}


def text(data):
    data = data.encode() if isinstance(data, str) else data
    return struct.pack("<Q", len(data)) + data


def packed(value):
    if isinstance(value, bool):
        return 7, struct.pack("<?", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, str):
        return 8, text(value)
    if isinstance(value, array.array):  # of i32
        assert value.typecode == "i"
        return 9, struct.pack("<IQ", 5, len(value)) + value.tobytes()
    kind = packed(value[0])[0]
    return 9, struct.pack("<IQ", kind, len(value)) + b"".join(packed(v)[1] for v in value)


def write(path, metadata, tensors):
    """Tensors are (name, type, dims with the contiguous one first, bytes)."""
    align = 32
    with open(path, "wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)))
        for key, value in metadata.items():
            kind, data = packed(value)
            file.write(text(key) + struct.pack("<I", kind) + data)
        at = 0
        for name, kind, dims, data in tensors:
            file.write(text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims))
            file.write(struct.pack("<IQ", kind, at))
            at += -(-len(data) // align) * align
        for _, _, _, data in tensors:
            file.write(b"\0" * (-file.tell() % align) + data)
