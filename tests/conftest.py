"""What tests of several rooms share: one real Swift cluster for the session, and programs to run on it."""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import wasmtime

from insitu.storage_hooks.devcluster import DevCluster

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(scope="session", autouse=True)
def _a_state_directory_of_our_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For nodes that are not told where their journal is: no test writes to the machine's."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STATE_DIRECTORY", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def test_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with every tests/programs/NAME.wat compiled to NAME.wasm, and the manifests beside them."""
    built = tmp_path_factory.mktemp("programs")
    for source in sorted(PROGRAMS.glob("*.wat")):
        (built / f"{source.stem}.wasm").write_bytes(wasmtime.wat2wasm(source.read_text()))
    for manifest in PROGRAMS.glob("*.toml"):
        shutil.copy(manifest, built)
    return built


@pytest.fixture(scope="session")
def cluster(test_programs: Path) -> Iterator[DevCluster]:
    """Four object servers with hooks and nodes, for the whole session. A test that stops a part starts it again."""
    with DevCluster(programs=[test_programs]) as running:
        yield running


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A temporary directory whose path is short enough for a cluster's Unix sockets, unlike some of pytest's."""
    with tempfile.TemporaryDirectory(prefix="it-") as directory:
        yield Path(directory).resolve()


@pytest.fixture
def container(cluster: DevCluster) -> Iterator[str]:
    """The name of a fresh container in the account of `cluster.user`; it goes away with what the test left in it."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    with closing(cluster.connection()) as connection:
        connection.put_container(name)
    yield name
    with closing(cluster.connection()) as connection:
        _, objects = connection.get_container(name, full_listing=True)
        for entry in objects:
            connection.delete_object(name, entry["name"])
        connection.delete_container(name)
