"""The engine builds with a C compiler and CMake, and nothing else: no C++ compiler, no pkg-config, no library beside libc's; and the
program that comes of it answers."""
import os
import re
import subprocess

import tiny_llm
from mesh import ROOT

BUILD_S = 600
LIBRARIES = re.compile(r"(linux-vdso|libc|libm|libpthread|ld-linux[\w-]*|ld64|libgcc_s)\.so")
HIDDEN = ["PkgConfig", "simdjson", "gRPC", "Protobuf", "OpenSSL", "CURL", "ZLIB", "SQLite3"]  # what the service around it looks for


def run(*command, **more):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          stdin=subprocess.DEVNULL, timeout=BUILD_S, **more)
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


def test_it_builds_alone(tmp_path):
    env = os.environ | {"CXX": "/bin/false", "PKG_CONFIG": "/bin/false", "CCACHE_NOHASHDIR": "1"}  # built once, found again in the next folder
    hidden = [f"-DCMAKE_DISABLE_FIND_PACKAGE_{name}=ON" for name in HIDDEN]
    run("cmake", "-G", "Ninja", "-S", ROOT, "-B", tmp_path, "-DTOLLGATE_ENGINE_ONLY=ON", "-DCMAKE_BUILD_TYPE=Release", *hidden, env=env)
    run("cmake", "--build", tmp_path, "-j2", env=env)
    program = tmp_path / "bin" / "tollgate-generate"
    linked = [line.split()[0] for line in run("ldd", program).splitlines()]
    assert [name for name in linked if not LIBRARIES.search(name)] == []
    model = tmp_path / "tiny.gguf"
    shape = tiny_llm.Shape()
    tiny_llm.write(model, shape, tiny_llm.weights(shape))
    said = run(program, "--model", model, "--prompt", "hello", "--max-tokens", "8", "--threads", "1")
    assert said.strip() != ""
