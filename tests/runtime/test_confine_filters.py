"""The filters of system calls, by what they say of each call, on every machine that the tables know."""

import errno
import os

import pytest

from insitu.runtime.confine import bpf, calls, helper_calls, worker_calls
from insitu.runtime.confine.bpf import ALLOW, KILL, SELF, Arg, Rule, failing
from insitu.runtime.process import NODE_FD
from tests.runtime.bpf_machine import verdict

MACHINES = sorted(calls.AUDIT_ARCH)
ALL_ONES = (1 << 64) - 1
PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4

WORKER_MAY = {
    "mmap": (0, 4096, PROT_READ | PROT_WRITE),
    "mprotect": (0, 4096, PROT_READ | PROT_WRITE),
    "recvmsg": (NODE_FD,),
    "sendto": (NODE_FD, 0, 0, 0x4000, 0, 0),
    "newfstatat": (5, 0, 0, 0x1000),
    "fcntl": (5, 3),
    "ioctl": (5, 0x5421),
    "futex": (0, 9 | 128 | 256),
    "tgkill": (SELF, 7, 6),
    **dict.fromkeys(("pwrite64", "pwritev", "pwritev2", "ftruncate", "lseek"), (NODE_FD + 1, 0)),
}
"""For the calls that are allowed with certain arguments only: such arguments."""

WORKER_MAY_NOT = [
    ("mmap", (0, 4096, PROT_READ | PROT_EXEC)),
    ("mmap", (0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC)),
    ("mprotect", (0, 4096, PROT_EXEC)),
    ("recvmsg", (NODE_FD + 1,)),
    ("sendto", (NODE_FD + 1, 0, 0, 0, 0, 0)),
    ("sendto", (NODE_FD, 0, 0, 0, 0x7FFF_0000_0000, 16)),
    ("sendto", (NODE_FD, 0, 0, 0, 0x1000, 16)),
    ("newfstatat", (-100, 0, 0, 0)),
    ("newfstatat", (-100, 0, 0, 0x1100)),
    ("fcntl", (5, 0)),  # F_DUPFD
    ("fcntl", (5, 4)),  # F_SETFL
    ("fcntl", (5, 8)),  # F_SETOWN
    ("ioctl", (5, 0x5412)),  # TIOCSTI: types into a terminal
    ("futex", (0, 6)),  # FUTEX_LOCK_PI
    ("futex", (0, 11 | 128)),  # FUTEX_WAIT_REQUEUE_PI
    ("ftruncate", (2, 0)),
    ("pwrite64", (NODE_FD, 0)),
    ("tgkill", (SELF + 1, 7, 6)),
    ("tgkill", (SELF, 7, 9)),
]


def worker(machine: str) -> bytes:
    return bpf.assemble(worker_calls.RULES, KILL, machine)


def says(code: bytes, machine: str, name: str, *args: int) -> int:
    number = calls.number(name, machine)
    assert number is not None
    return verdict(code, number, *args, arch=calls.AUDIT_ARCH[machine])


@pytest.mark.parametrize("machine", MACHINES)
def test_a_worker_may_make_the_calls_on_its_list_and_no_others(machine: str) -> None:
    code = worker(machine)
    listed = {rule.name: rule for rule in worker_calls.RULES}
    for name in calls.NUMBERS:
        if calls.number(name, machine) is None:
            continue
        if name in listed:
            assert (name in WORKER_MAY) == bool(listed[name].when), name
            assert says(code, machine, name, *WORKER_MAY.get(name, (ALL_ONES,) * 6)) == ALLOW, name
        else:
            assert says(code, machine, name) == KILL, name
    allowed = {calls.number(name, machine) for name in listed}
    for number in [*range(600), 0x3FFFFFFF]:
        if number not in allowed:
            assert verdict(code, number, arch=calls.AUDIT_ARCH[machine]) == KILL, number


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("name", "args"), WORKER_MAY_NOT)
def test_a_worker_may_make_them_with_these_arguments_only(machine: str, name: str, args: tuple[int, ...]) -> None:
    assert says(worker(machine), machine, name, *args) == KILL


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_in_another_machines_way_are_none(machine: str) -> None:
    for rules, default in ((worker_calls.RULES, KILL), (helper_calls.SPAWNER_RULES, helper_calls.DEFAULT)):
        code = bpf.assemble(rules, default, machine)
        for number in range(500):
            assert verdict(code, number, arch=0x40000003) == KILL  # i386, whose numbers mean other calls
    assert verdict(worker("x86_64"), 0x40000000 | 0) == KILL  # x32


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    "rules", [helper_calls.SPAWNER_RULES, helper_calls.COMPILER_RULES, helper_calls.STOREKEEPER_RULES]
)
def test_what_spawner_and_compiler_have_no_use_for_ends_them(machine: str, rules: tuple[Rule, ...]) -> None:
    code = bpf.assemble(rules, helper_calls.DEFAULT, machine)
    for name in helper_calls.FATAL:
        if calls.number(name, machine) is not None:
            assert says(code, machine, name) == KILL, name
    assert says(code, machine, "clone3") == failing(errno.ENOSYS)
    assert verdict(code, 599, arch=calls.AUDIT_ARCH[machine]) == failing(errno.EPERM)
    for rule in worker_calls.RULES:  # theirs holds for workers too
        if calls.number(rule.name, machine) is not None:
            assert says(code, machine, rule.name, ALL_ONES) == ALLOW, rule.name


@pytest.mark.parametrize("machine", MACHINES)
def test_a_spawner_forks_and_a_compiler_does_not(machine: str) -> None:
    spawner = bpf.assemble(helper_calls.SPAWNER_RULES, helper_calls.DEFAULT, machine)
    compiler = bpf.assemble(helper_calls.COMPILER_RULES, helper_calls.DEFAULT, machine)
    sigchld, thread, new_user = 17, 0x3D0F00, 0x10000000
    assert says(spawner, machine, "clone", sigchld) == ALLOW
    assert says(spawner, machine, "clone", sigchld | new_user) == KILL
    assert says(compiler, machine, "clone", thread) == ALLOW
    assert says(compiler, machine, "clone", sigchld) == KILL


@pytest.mark.parametrize("machine", MACHINES)
def test_a_compiler_changes_no_file_and_a_storekeeper_does(machine: str) -> None:
    compiler = bpf.assemble(helper_calls.COMPILER_RULES, helper_calls.DEFAULT, machine)
    storekeeper = bpf.assemble(helper_calls.STOREKEEPER_RULES, helper_calls.DEFAULT, machine)
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_TMPFILE & ~os.O_DIRECTORY):
        assert says(compiler, machine, "openat", 0, 0, flags) == failing(errno.EPERM)
        assert says(storekeeper, machine, "openat", 0, 0, flags) == ALLOW
    assert says(compiler, machine, "openat", 0, 0, os.O_RDONLY | os.O_CLOEXEC) == ALLOW
    for name in ("renameat", "unlinkat", "mkdirat", "fchmodat"):
        assert says(compiler, machine, name) == failing(errno.EPERM)
        assert says(storekeeper, machine, name) == ALLOW


def test_every_call_on_a_workers_list_has_its_reason() -> None:
    for rule in worker_calls.RULES:
        assert len(rule.why) > 6, rule.name


def test_wide_arguments_are_compared_whole() -> None:
    rules = [Rule("close", "…", (Arg(1, (0x1_0000_0005,), mask=ALL_ONES, wide=True),))]
    code = bpf.assemble(rules, KILL, "x86_64")
    number = calls.number("close", "x86_64")
    assert number is not None
    assert verdict(code, number, 0, 0x1_0000_0005) == ALLOW
    for other in (5, 0x1_0000_0000, 0x2_0000_0005, 0x1_0000_0004):
        assert verdict(code, number, 0, other) == KILL


def test_what_cannot_be_assembled_is_said() -> None:
    twice = [Rule("close", "one"), Rule("close", "two")]
    with pytest.raises(ValueError, match="two rules"):
        bpf.assemble(twice, KILL, "x86_64")
    with pytest.raises(KeyError):
        bpf.assemble([], KILL, "riscv64")
