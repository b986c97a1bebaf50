"""A node's processes as they are confined, looked at from outside, and attacked from inside."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from insitu.runtime.client import NodeClient
from insitu.runtime.confine import bpf, check, identity, rlimits, worker_calls
from insitu.runtime.confine.bpf import ALLOW, Rule, failing
from insitu.runtime.confine.last_words import words
from insitu.runtime.confine.measure import ROLES, Missing
from insitu.runtime.confine.roles import AFTER_THREADS, BEFORE_THREADS, SECCOMP
from insitu.runtime.confine.seccomp import Filter
from insitu.runtime.confine.system import PR_SET_NO_NEW_PRIVS, prctl
from insitu.runtime.errors import Busy, NodeUnavailable
from insitu.runtime.place import is_friend
from tests.runtime.attacks import FORBIDDEN
from tests.runtime.conftest import NodeProcess, StartNode, eventually

ROOT = os.geteuid() == 0
SOMEBODY = 12_345


# From outside.


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_a_worker_is_confined_as_it_says(node: NodeProcess) -> None:
    node.calm()
    ping = node.client.ping()
    assert ping["workers"]
    for pid in ping["workers"]:
        found = status(pid)
        assert found["Seccomp"] == "2"
        assert found["NoNewPrivs"] == "1"
        assert {found[name] for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {"0" * 16}
        assert found["Threads"] == "2"  # its own, and the one that ends guests
        if ROOT:
            user = identity.resolve("")
            assert user is not None
            assert found["Uid"].split() == [str(user[0])] * 4
            assert found["Gid"].split() == [str(user[1])] * 4
            assert found["Groups"] == ""
            assert Path(f"/proc/{pid}/environ").read_bytes().strip(b"\0") == b""
            assert os.readlink(f"/proc/{pid}/root").endswith("(deleted)")
            assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
            assert descriptors(pid) <= {"/dev/null", "socket", "node.log", "cwasm"}
            limits = hard_limits(pid)
            assert limits["core file size"] == limits["processes"] == 0
            assert limits["data size"] <= rlimits.WORKER_MEMORY


def descriptors(pid: int) -> set[str]:
    """What kinds of them a process has."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        target = os.readlink(entry)
        kinds = ("socket", "node.log", "cwasm")
        found.add(next((kind for kind in kinds if kind in target), target))
    return found


def hard_limits(pid: int) -> dict[str, float]:
    """By name, as /proc has them. Looking at another user's in another way takes a right that even root may lack."""
    found = {}
    for line in Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]:
        name, hard = line[4:26].strip(), line[47:68].strip()
        found[name] = float("inf") if hard == "unlimited" else float(hard)
    return found


def test_so_is_its_spawner(node: NodeProcess) -> None:
    spawner = node.client.ping()["spawner"]
    found = status(spawner)
    assert (found["Seccomp"], found["NoNewPrivs"], found["Threads"]) == ("2", "1", "1")
    if ROOT:
        assert int(found["CapPrm"], 16).bit_count() <= 5
        assert Path(f"/proc/{spawner}/environ").read_bytes().strip(b"\0") == b""
        assert hard_limits(spawner)["core file size"] == 0


# From inside.


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[object]]:
    """What became of each attack, in a worker of its own."""
    command = [sys.executable, "-m", "tests.runtime.attacks", str(tmp_path_factory.mktemp("cache"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found: dict[str, list[object]] = json.loads(done.stdout)
    assert found.pop("nothing") == [0, "done"], "a worker that does nothing wrong lives"
    return found


@pytest.mark.parametrize("attack", sorted(FORBIDDEN))
def test_a_forbidden_call_ends_the_worker(attacked: dict[str, list[object]], attack: str) -> None:
    assert attacked[attack] == [-signal.SIGSYS, None]


def test_a_path_that_the_filter_cannot_see_leads_nowhere(attacked: dict[str, list[object]]) -> None:
    assert attacked["in vain"] == [0, errno.ENOENT]


def test_a_worker_may_still_abort(attacked: dict[str, list[object]]) -> None:
    assert attacked["abort"][0] == -signal.SIGABRT


CORRUPTED = """
import sys
sys.path[:0] = {paths!r}
from insitu.runtime import worker
honest = worker._run

def run(runner, program, message, fds):
    words = message["argv"][1:]
    if words[:1] == ["attack"]:
        from tests.runtime.attacks import FORBIDDEN
        FORBIDDEN[words[1]]()
    elif words[:1] == ["break"]:
        raise RuntimeError("the host is broken")
    return honest(runner, program, message, fds)

worker._run = run
import tests.runtime.attacks
{more}
"""


@pytest.fixture
def corrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Nodes that are started from here have workers that do as they are told by a launch's arguments."""

    def corrupt(more: str = "") -> None:
        place = tmp_path / "corrupted"
        place.mkdir()
        root = str(Path(__file__).parents[2])
        (place / "sitecustomize.py").write_text(CORRUPTED.format(paths=[root], more=more))
        monkeypatch.setenv("PYTHONPATH", str(place))

    return corrupt


@pytest.mark.parametrize("attack", ["open", "connect", "fork", "execve", "ptrace", "kill"])
def test_a_worker_that_is_taken_over_is_contained_and_replaced(
    start_node: StartNode, corrupted: Callable[[str], None], attack: str
) -> None:
    corrupted("")
    node = start_node("--workers", "2")
    node.still_serves()
    _, record = node.run("copy", "attack", attack, stdin=b"x", tenant="AUTH_evil")
    assert record.outcome.end == "lost"
    assert f"worker {record.worker} was contained: killed by SIGSYS" in record.outcome.sentence()
    assert "was contained: killed by SIGSYS" in node.log.read_text()
    node.still_serves()
    _, again = node.run("copy", stdin=b"x", tenant="AUTH_evil")
    assert again.outcome.ok
    assert again.worker != record.worker


def test_a_worker_that_breaks_says_why(start_node: StartNode, corrupted: Callable[[str], None]) -> None:
    """Python's own traceback opens the source, and would be the worker's end in the wrong name."""
    corrupted("")
    node = start_node("--workers", "2")
    _, record = node.run("copy", "break")
    assert "ended with status 70" in record.outcome.sentence()
    eventually(lambda: "RuntimeError: the host is broken" in node.log.read_text())
    assert "worker.py" in node.log.read_text()
    node.still_serves()


def test_last_words_have_the_cause_and_no_end_of_frames() -> None:
    def deep(left: int) -> None:
        if left:
            deep(left - 1)
        raise KeyError("inner")

    try:
        try:
            deep(200)
        except KeyError as why:
            raise ValueError("outer") from why
    except ValueError as error:
        text = words(type(error), error, error.__traceback__)
    assert text.index("KeyError: 'inner'") < text.index("ValueError: outer")
    assert "more" in text
    assert len(text.splitlines()) < 60


# What a compiler and a storekeeper can reach.

HELPER = """
import os, sys
from insitu.runtime.confine.guard import Guard
from insitu.runtime.confine.measure import Setup
cache, program, elsewhere, role = sys.argv[1:]
guard = Guard(Setup(cache=cache))
guard.enter_spawner()
guard.enter_compiler(program) if role == "compiler" else guard.enter_storekeeper(())
def tries(what, call):
    try:
        call()
        print(what, "yes")
    except OSError:
        print(what, "no")
tries("entry", lambda: open(cache + "/entry", "rb").close())
tries("new", lambda: open(cache + "/new", "xb").close())
tries("rename", lambda: os.rename(cache + "/entry", cache + "/other"))
tries("program", lambda: open(program, "rb").close())
tries("elsewhere", lambda: open(elsewhere, "rb").close())
tries("write elsewhere", lambda: open(elsewhere, "r+b").close())
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.parametrize(
    ("role", "may"),
    [("compiler", ("program",)), ("storekeeper", ("entry", "new", "rename"))],
    ids=lambda value: str(value),
)
def test_a_compiler_reads_its_program_and_a_storekeeper_has_the_cache(
    tmp_path: Path, role: str, may: tuple[str, ...]
) -> None:
    cache, program, elsewhere = tmp_path / "cache", tmp_path / "program", tmp_path / "elsewhere"
    cache.mkdir(mode=0o700)
    for file in (cache / "entry", program, elsewhere):
        file.write_bytes(b"bytes")
    done = subprocess.run(
        [sys.executable, "-c", HELPER, *map(str, (cache, program, elsewhere)), role],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    if landlock_holds():
        assert {what for what, could in found.items() if could == "yes"} == set(may)
    else:  # then the filter of system calls is all that holds it back
        assert ("new" in may) == (found["new"] == "yes")


def landlock_holds() -> bool:
    found = check.examine(identity.resolve(""))
    return any((f.role, f.measure, f.state) == ("compiler", "landlock", "holds") for f in found)


# A compiler's limits.


def large_program(functions: int) -> bytes:
    body = "(drop (i32.mul (i32.add (local.get 0) (i32.const {0})) (i32.xor (local.get 0) (i32.const 7))))" * 40
    text = "".join(f"(func (param i32) {body.format(at)})" for at in range(functions))
    return f'(module {text} (func (export "_start")))'.encode()


@pytest.mark.parametrize("limit", ["RLIMIT_DATA: 96 << 20", "RLIMIT_CPU: 1"])
def test_a_compiler_that_takes_too_much_is_ended_and_said(
    start_node: StartNode, corrupted: Callable[[str], None], tmp_path: Path, limit: str
) -> None:
    more = f"import resource\nfrom insitu.runtime.confine import rlimits\nrlimits._COMPILER |= {{resource.{limit}}}\n"
    corrupted(more)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "large.wasm").write_bytes(large_program(9000))
    (programs / "small.wasm").write_bytes(b'(module (func (export "_start")))')
    node = start_node("--workers", "2", programs=programs, cache=tmp_path / "cache")
    with pytest.raises(Busy, match="the compiler died"):
        node.run("large")
    _, record = node.run("small")
    assert record.outcome.ok


# What holds, what is missing, and strict.


def insitu_node(*options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "insitu", "node", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_check_tells_of_every_measure() -> None:
    done = insitu_node("--check")
    found = check.examine(identity.resolve(""))
    assert not any(len(names) != len(set(names)) for names in ([m.name for m in BEFORE_THREADS[r]] for r in ROLES))
    for role in ROLES:
        assert "descriptors" in {m.name for m in BEFORE_THREADS[role]} or role == "spawner"
        names = [m.name for m in BEFORE_THREADS[role] + AFTER_THREADS[role]] + [SECCOMP]
        assert sorted(names) == sorted(finding.measure for finding in found if finding.role == role)
    assert done.stdout.splitlines() == list(check.report(found))
    assert done.returncode == (1 if any(finding.state == "missing" for finding in found) else 0)
    assert done.stderr == ""


@contextmanager
def on_a_kernel_without(*names: str) -> Iterator[None]:
    """Processes that are started from here find these system calls missing: by a filter, which they cannot tell from
    a kernel that never had them."""
    missing = Filter([Rule(name, "", then=failing(errno.ENOSYS)) for name in names], ALLOW)
    start = subprocess.Popen.__init__

    def take_away() -> None:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        missing.install(os.getpid())

    def started(self: "subprocess.Popen[bytes]", *args: object, **kwargs: object) -> None:
        start(self, *args, preexec_fn=take_away, **kwargs)  # type: ignore[call-overload]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", started)
        yield


LACKS = {
    "landlock": ("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"),
    "seccomp": ("seccomp",),
    "namespaces": ("unshare",),
    "root": ("chroot",),
}


@pytest.mark.parametrize("measure", sorted(LACKS))
def test_a_kernel_that_lacks_a_measure_costs_one_warning(start_node: StartNode, measure: str) -> None:
    with on_a_kernel_without(*LACKS[measure]):
        node = start_node("--workers", "2")
        node.still_serves()
        warnings = [line for line in node.log.read_text().splitlines() if "WARNING" in line]
        # Whoever is not root has the right to change a root from a namespace.
        lost = {measure, "root"} if measure == "namespaces" and not ROOT else {measure}
        assert {line.split("not confined by ")[1].split()[0] for line in warnings} == lost
        assert len(warnings) == len(lost)


@pytest.mark.parametrize("measure", sorted(LACKS))
def test_and_a_strict_node_does_not_start_there(short_path: Path, compiled: Path, measure: str) -> None:
    options = ("--strict", "--socket", str(short_path / "s"), "--cache", str(compiled))
    with on_a_kernel_without(*LACKS[measure]):
        done = insitu_node(*options)
        checked = insitu_node("--check")
    assert done.returncode == 1
    assert "confinement is strict" in done.stderr
    assert measure in done.stderr
    assert "Traceback" not in done.stderr
    assert checked.returncode == 1
    assert any(line.split()[:2] == [measure, "missing"] for line in checked.stdout.splitlines())


def test_a_strict_node_starts_where_all_hold(start_node: StartNode) -> None:
    everything = all(finding.state != "missing" for finding in check.examine(identity.resolve("")))
    if everything:
        start_node("--strict").still_serves()
    else:
        with pytest.raises(AssertionError, match="confinement is strict"):
            start_node("--strict")


def test_the_page_has_every_measure() -> None:
    page = (Path(__file__).parents[2] / "docs" / "confinement.md").read_text()
    rows = {line.split("|")[1].strip(" `"): line for line in page.splitlines() if line.startswith("| `")}
    assert set(rows) == {m.name for role in ROLES for m in BEFORE_THREADS[role] + AFTER_THREADS[role]} | {SECCOMP}
    assert f"list of {len(worker_calls.RULES)} |" in rows[SECCOMP]


# Who workers are, and who may speak.


def test_workers_are_who_they_are_told_to_be(start_node: StartNode) -> None:
    if not ROOT:
        with pytest.raises(ValueError, match="only a node that is started as root"):
            identity.resolve("12345")
        return
    node = start_node("--user", str(SOMEBODY), "--workers", "2")
    node.still_serves()
    node.calm()  # one that is being forked may not be anybody yet
    about = node.client.ping()
    assert about["workers"]
    for pid in about["workers"]:
        assert status(pid)["Uid"].split() == [str(SOMEBODY)] * 4


@pytest.mark.parametrize("user", ["no-such-user", "root", "0", "-1", "4294967295", "99999999999999"])
def test_a_user_who_cannot_be_had_is_refused(short_path: Path, user: str) -> None:
    done = insitu_node(f"--user={user}", "--socket", str(short_path / "s"), "--cache", str(short_path / "c"))
    assert done.returncode == 1
    assert user in done.stderr
    assert "Traceback" not in done.stderr


def asks_as(uid: int, path: str) -> bool:
    """Whether a node answers a process of that user's, who is told if it does not."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            NodeClient(path).ping()
            os._exit(0)
        except NodeUnavailable as why:
            os._exit(1 if f"user id {uid} may not speak to this node" in str(why) else 3)
        finally:
            os._exit(2)
    return {0: True, 1: False}[os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]


def test_only_those_who_are_allowed_are_answered(start_node: StartNode, short_path: Path) -> None:
    short_path.chmod(0o711)
    node = start_node("--allow-uid", str(SOMEBODY))
    Path(node.path).parent.chmod(0o711)
    node.still_serves()
    if ROOT:
        assert asks_as(SOMEBODY, node.path)
        assert not asks_as(SOMEBODY + 1, node.path)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert is_friend(theirs)


def test_a_machine_whose_numbers_nobody_wrote_down_has_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(Missing, match="no system call numbers for riscv64"):
        Filter(worker_calls.RULES, bpf.KILL)
