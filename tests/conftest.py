"""A real Kafka for the session, one mesh shared by the tests that leave it as they found it, and gRPC stubs."""
import importlib
import os
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "tools"))

# Before numpy is loaded: threads of its that wait for one another, spinning, take from all else that runs beside.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from kafka_fixture import Kafka  # noqa: E402
from mesh import Mesh  # noqa: E402


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the ends of its mesh's logs."""
    report = yield
    if report.failed:
        for mesh in (value for value in item.funcargs.values() if isinstance(value, Mesh)):
            report.sections.append(("logs of the mesh", mesh.logs()))
    return report


@pytest.fixture(scope="session")
def kafka(tmp_path_factory):
    broker = Kafka(tmp_path_factory.mktemp("kafka"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def kafka_of_its_own(tmp_path):
    """A broker for one test, which may kill it."""
    broker = Kafka(tmp_path / "kafka")
    broker.start()
    yield broker
    broker.kill9()


@pytest.fixture(scope="session")
def shared_mesh(tmp_path_factory, kafka):
    mesh = Mesh(tmp_path_factory.mktemp("mesh"), kafka=kafka.bootstrap)
    kafka.create_topics(f"{mesh.topic}:4")
    mesh.up()
    yield mesh
    mesh.down()


@pytest.fixture
def mesh(shared_mesh):
    """The shared mesh, without faults before and after."""
    shared_mesh.no_faults()
    yield shared_mesh
    shared_mesh.no_faults()


@pytest.fixture
def own_mesh(tmp_path, kafka):
    """A mesh for one test, which may break it."""
    mesh = Mesh(tmp_path / "mesh", kafka=kafka.bootstrap)
    kafka.create_topics(f"{mesh.topic}:4")
    mesh.up()
    yield mesh
    mesh.down()


@pytest.fixture(scope="session")
def stubs(tmp_path_factory):
    """The generated Python code: {"router": router_pb2, "router_grpc": router_pb2_grpc, ...}"""
    root = pathlib.Path(__file__).resolve().parent.parent
    out = tmp_path_factory.mktemp("stubs")
    protos = sorted((root / "proto" / "tollgate" / "v1").glob("*.proto"))
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{root / 'proto'}", f"--python_out={out}",
                    f"--grpc_python_out={out}", *map(str, protos)], check=True)
    sys.path.insert(0, str(out))
    names = [p.stem for p in protos]
    return {n: importlib.import_module(f"tollgate.v1.{n}_pb2") for n in names} | {
        f"{n}_grpc": importlib.import_module(f"tollgate.v1.{n}_pb2_grpc") for n in names}
