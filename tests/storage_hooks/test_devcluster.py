"""The development cluster: a real Swift that answers, finds its objects, and leaves nothing behind however it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from insitu.storage_hooks.devcluster import DevCluster, DevClusterError, DirectoryRefused, NotRunning, StartFailed
from insitu.storage_hooks.devcluster.errors import AlreadyRunning, OptionRefused

PATIENCE = 30.0  # seconds until something that should have happened counts as not happening


def plain(directory: Path | None = None, nodes: int = 1) -> DevCluster:
    """Swift alone, which is what most of these tests are about."""
    return DevCluster(directory, nodes=nodes, hooks=False, daemons=False)


@pytest.fixture(scope="module")
def swift() -> Iterator[DevCluster]:
    with plain(nodes=4) as running:
        yield running


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def living_under(root: Path) -> list[int]:
    """Processes whose command line names a path under `root`: a supervisor and all that it forked."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.fsencode(root) in (entry / "cmdline").read_bytes() and alive(int(entry.name)):
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                pass
    return found


def wait_until_dead(pids: list[int]) -> None:
    deadline = time.monotonic() + PATIENCE
    while left := [pid for pid in pids if alive(pid)]:
        assert time.monotonic() < deadline, f"still alive: {left}"
        time.sleep(0.02)


def refuses(endpoint: str) -> bool:
    host, port = endpoint.removeprefix("http://").split(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_put_and_get_through_swiftclient(swift: DevCluster) -> None:
    with closing(swift.connection()) as connection:
        connection.put_container("c")
        connection.put_object("c", "o", b"some bytes", content_type="text/x-test")
        headers, body = connection.get_object("c", "o")
    assert (body, headers["content-type"]) == (b"some bytes", "text/x-test")


def test_put_and_get_through_boto3(swift: DevCluster) -> None:
    s3 = swift.s3
    client = boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
        region_name=s3.region,
        config=Config(retries={"total_max_attempts": 1}),
    )
    with closing(client):
        client.create_bucket(Bucket="bucket")
        client.put_object(Bucket="bucket", Key="a key", Body=b"other bytes")
        with closing(client.get_object(Bucket="bucket", Key="a key")["Body"]) as body:
            assert body.read() == b"other bytes"


def test_users_have_their_own_keys_and_rights(swift: DevCluster) -> None:
    import swiftclient

    with closing(swift.connection()) as owner:
        owner.put_container("private")
        storage_url, _ = owner.get_auth()
    with closing(swift.connection(user="test2:tester2")) as stranger:
        _, token = stranger.get_auth()
    with pytest.raises(swiftclient.ClientException) as refused:
        swiftclient.get_container(storage_url, token, "private")
    assert refused.value.http_status == 403
    with (
        closing(swiftclient.Connection(swift.auth_url, "test:tester", "testing", retries=0)) as guesser,
        pytest.raises(swiftclient.ClientException) as unknown,
    ):
        guesser.get_auth()
    assert unknown.value.http_status == 401


@pytest.mark.parametrize(("policy", "copies"), [("three", 3), ("one", 1), ("ec21", 3)])
def test_primaries_are_where_the_object_lies(swift: DevCluster, policy: str, copies: int) -> None:
    container = f"places-{policy}"
    with closing(swift.connection()) as connection:
        connection.put_container(container, headers={"X-Storage-Policy": policy})
        for name in ("plain", "with/slash", "ünïcode 😀"):
            before = data_files(swift)
            connection.put_object(container, name, b"x" * 100)
            primaries = swift.primaries("AUTH_test", container, name, policy=policy)
            assert len(primaries) == copies
            # Swift answers a PUT when most replicas are safe; the last may follow.
            deadline = time.monotonic() + PATIENCE
            while (new := data_files(swift) - before) and len(new) < copies:
                assert time.monotonic() < deadline, f"{len(new)} of {copies} replicas were written"
                time.sleep(0.02)
            assert sorted(path.parts[1] for path in new) == sorted(node.device for node in primaries)


def data_files(swift: DevCluster) -> set[Path]:
    return {path.relative_to(swift.directory) for path in swift.directory.glob("node*/*/objects*/**/*.data")}


def test_primaries_come_in_the_rings_order(swift: DevCluster) -> None:
    # In a process of its own: Swift's ring wants Swift's configuration, once per process.
    script = (
        "import sys, json, swift.common.utils as u\n"
        "u.SWIFT_CONF_FILE = sys.argv[1] + '/etc/swift.conf'\n"
        "u.validate_hash_conf()\n"
        "from swift.common.ring import Ring\n"
        "ring = Ring(sys.argv[1] + '/etc', ring_name='object')\n"
        "for n in range(50): print(json.dumps([d['device'] for d in ring.get_nodes('AUTH_test', 'c', f'o{n}')[1]]))\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", script, str(swift.directory)], capture_output=True, text=True, check=True
    ).stdout
    theirs = [json.loads(line) for line in out.splitlines()]
    ours = [[node.device for node in swift.primaries("AUTH_test", "c", f"o{n}")] for n in range(50)]
    assert ours == theirs
    assert len({tuple(row) for row in ours}) > 1


def test_two_at_once_know_nothing_of_each_other(swift: DevCluster) -> None:
    with plain() as other, closing(other.connection()) as there, closing(swift.connection()) as here:
        assert other.endpoint != swift.endpoint
        there.put_container("only-there")
        assert "only-there" not in [entry["name"] for entry in here.get_account()[1]]


def test_nothing_is_left_after_the_end() -> None:
    with plain(nodes=2) as running:
        directory, pids, endpoint = running.directory, running.pids(), running.endpoint
        assert set(pids) == {"supervisor", "proxy", "account", "container", "object-1", "object-2"}
        assert all(alive(pid) for pid in pids.values())
        assert directory.stat().st_mode & 0o777 == 0o700
    assert [name for name, pid in pids.items() if alive(pid)] == []
    assert not directory.exists()
    assert refuses(endpoint)
    running.stop()  # again does nothing


def test_nothing_is_left_when_the_supervisor_is_killed() -> None:
    running = plain(nodes=2).start()
    directory, pids = running.directory, running.pids()
    try:
        os.kill(pids["supervisor"], signal.SIGKILL)
        wait_until_dead(list(pids.values()))
    finally:
        running.stop()
    assert not directory.exists()


@pytest.mark.parametrize("how", ["end", "kill"])
def test_nodes_end_with_everything_they_forked(short_path: Path, how: str) -> None:
    directory = short_path / "c"
    with DevCluster(directory, nodes=2) as running, closing(running.connection()) as connection:
        connection.put_container("c")
        connection.put_object("c", "o", b"counted")
        _, body = connection.get_object("c", "o", headers={"X-Run": "cat"})
        assert body == b"counted"
        # Supervisor, proxy, account, container; per node an object server, the node, its spawner, workers.
        everyone = living_under(directory)
        assert len(everyone) >= 4 + 2 * 3 + 1
        if how == "kill":
            os.kill(running.pids()["supervisor"], signal.SIGKILL)
            wait_until_dead(everyone)
    assert [pid for pid in everyone if alive(pid)] == []
    assert living_under(directory) == []


def test_a_node_can_be_stopped_and_started(short_path: Path) -> None:
    with DevCluster(short_path / "c", nodes=1) as running, closing(running.connection()) as connection:
        connection.put_container("c")
        connection.put_object("c", "o", b"counted")
        before = running.nodes[0].daemon_pid
        assert before is not None
        running.stop_node(0)
        running.stop_node(0)
        assert running.nodes[0].daemon_pid is None
        assert not alive(before)
        assert running.dead() == ["node-1"]
        assert connection.get_object("c", "o")[1] == b"counted", "the object server lives on"
        running.start_node(0)
        running.start_node(0)
        assert running.dead() == []
        assert running.nodes[0].daemon_pid != before
        assert connection.get_object("c", "o", headers={"X-Run": "cat"})[1] == b"counted"
        with pytest.raises(DevClusterError, match="cannot do"):
            running.stop_node(1)


def test_a_dead_server_is_named(tmp_path: Path) -> None:
    with plain() as running:
        victim = running.pids()["container"]
        os.kill(victim, signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE
        while running.dead() != ["container"]:
            assert time.monotonic() < deadline, f"dead: {running.dead()}"
            time.sleep(0.02)
        assert "signal SIGKILL" in running.log("supervisor").read_text()


OWNER = """
import sys, time
from insitu.storage_hooks.devcluster import DevCluster
running = DevCluster(nodes=1, hooks=False, daemons=False)
running.start(progress=lambda stage: print(stage, flush=True))
print("up", running.directory, *running.pids().values(), flush=True)
time.sleep(600)
"""


@pytest.fixture
def owner(short_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that starts a cluster, with its temporary directories under `short_path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        env={**os.environ, "TMPDIR": str(short_path)},
        # A shell that started the tests in the background has told them, and so their children, to ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.kill()
    wait_until_dead(living_under(short_path))


def gone(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while list(path.iterdir()):
        assert time.monotonic() < deadline, f"left behind: {list(path.iterdir())}"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_its_owner_dies(
    owner: "subprocess.Popen[str]", short_path: Path, number: signal.Signals
) -> None:
    assert owner.stdout is not None
    words = next(line for line in owner.stdout if line.startswith("up")).split()
    assert Path(words[1]).parent == short_path
    assert len(living_under(short_path)) == len(words) - 2
    owner.send_signal(number)
    wait_until_dead([int(word) for word in words[2:]])
    gone(short_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_when_the_start_is_broken_off(
    owner: "subprocess.Popen[str]", short_path: Path, number: signal.Signals
) -> None:
    assert owner.stdout is not None
    assert "Swift" in next(line for line in owner.stdout if "Swift" in line)  # servers are being forked right now
    owner.send_signal(number)
    assert owner.wait(PATIENCE) == -number if number == signal.SIGTERM else owner.wait(PATIENCE) != 0
    wait_until_dead(living_under(short_path))
    gone(short_path)


def test_a_named_directory_keeps_its_data(short_path: Path) -> None:
    directory = short_path / "kept"
    with plain(directory) as first, closing(first.connection()) as connection:
        key = first.key
        connection.put_container("c")
        connection.put_object("c", "o", b"kept")
        with pytest.raises(AlreadyRunning):
            plain(directory).start()
    with pytest.raises(NotRunning):
        DevCluster.attach(directory)
    with pytest.raises(StartFailed, match=r"--nodes 2: .* spread over 1"):
        plain(directory, nodes=2).start()
    with plain(directory) as second, closing(second.connection()) as connection:
        assert second.key == key
        assert connection.get_object("c", "o")[1] == b"kept"


def test_a_server_that_cannot_start_is_named_with_the_end_of_its_log(short_path: Path) -> None:
    directory = short_path / "broken"
    with plain(directory):
        pass
    identity = json.loads((directory / "identity.json").read_text())
    (directory / "identity.json").write_text(json.dumps({**identity, "token_key": "no key"}))
    with pytest.raises(StartFailed, match=r"(?s)\Aproxy ended while starting .*Fernet key") as failure:
        plain(directory).start()
    assert "proxy.log" in str(failure.value).splitlines()[0]
    assert living_under(directory) == []


def test_directories_of_others_are_left_alone(short_path: Path) -> None:
    (short_path / "mine").mkdir()
    (short_path / "mine" / "thesis").write_text("years of work")
    with pytest.raises(DirectoryRefused, match="not empty and not a cluster's"):
        plain(short_path / "mine").start()
    assert [path.name for path in (short_path / "mine").iterdir()] == ["thesis"]
    with pytest.raises(DirectoryRefused, match="not a directory"):
        plain(short_path / "mine" / "thesis").start()
    with pytest.raises(DirectoryRefused, match="too long"):
        plain(short_path / ("x" * 100)).start()


def test_options_without_sense_are_refused(tmp_path: Path) -> None:
    for nodes in (0, 17):
        with pytest.raises(OptionRefused, match=f"--nodes {nodes}: allowed are 1 to 16"):
            DevCluster(nodes=nodes)
    with pytest.raises(OptionRefused, match="no such directory"):
        DevCluster(programs=[tmp_path / "nowhere"])
