"""Host functions under arbitrary arguments, and a runner under thousands of launches."""

import os
import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from insitu.sandbox.channels import EmptySource
from insitu.sandbox.errors import ProgramError
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import Limits
from insitu.sandbox.program import to_wasm
from tests.sandbox.conftest import Sandbox
from tests.sandbox.guests import COPY, FLOOD, IMAGE, LOOP, NO_CALL, module
from tests.sandbox.specification import FUNCTIONS, LAST_ERRNO

# Numbers that are likely to hurt, among arbitrary ones.
_EDGES = [0, 1, 2, 3, 4, 8, 1023, 1024, 1025, 65535, 65536, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 64) - 1]
_words = st.one_of(st.sampled_from(_EDGES), st.integers(0, 300), st.integers(0, 1 << 64))
_calls = st.sampled_from([name for name in FUNCTIONS if name != "proc_exit"]).flatmap(
    lambda name: st.tuples(st.just(name), *[_words] * len(FUNCTIONS[name]))
)
_images = st.one_of(st.binary(max_size=400), st.randoms(use_true_random=False).map(lambda r: r.randbytes(IMAGE)))


@settings(max_examples=400, deadline=None)
@given(calls=st.lists(_calls, min_size=1, max_size=8), image=_images, stdin=st.binary(max_size=100))
def test_whatever_a_guest_asks_it_gets_an_error_number(
    sandbox: Sandbox, calls: list[tuple[str | int, ...]], image: bytes, stdin: bytes
) -> None:
    found = sandbox.calls(*calls, image=image, stdin=stdin, limits=Limits(wall=0.05, output=1 << 20))
    outcome = found.outcome
    if outcome.end == "limit":  # a sleep without end, or an absurd amount of output
        assert outcome.limit is not None
        assert outcome.limit.name in ("wall", "output")
        return
    assert outcome.end == "exit", (outcome, calls)
    assert outcome.exit_code is not None
    assert 0 <= outcome.exit_code <= LAST_ERRNO or outcome.exit_code == NO_CALL, (outcome, calls)


def test_arbitrary_bytes_are_never_a_crash(sandbox: Sandbox) -> None:
    """Real modules with a few bytes changed: each is refused, or runs to some outcome. Seeded: always the same."""
    chance = random.Random(20261122)
    originals = [to_wasm(wat.encode()) for wat in (COPY, FLOOD, module("(drop (memory.grow (i32.const 1)))"))]
    ran = refused = 0
    for _ in range(600):
        wasm = bytearray(chance.choice(originals))
        for _ in range(chance.randint(1, 3)):
            wasm[chance.randrange(8, len(wasm))] = chance.randrange(256)
        try:
            program = sandbox.runner.compile(bytes(wasm))
        except ProgramError:
            refused += 1
            continue
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            launch = Launch(["guest"], EmptySource(), nowhere, Limits(fuel=100_000, wall=0.5, output=1 << 16))
            assert sandbox.runner.run(program, launch).end in ("exit", "trap", "limit")
        finally:
            os.close(nowhere)
        ran += 1
    assert ran > 20
    assert refused > 20
    sandbox.still_serves()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_thousands_of_launches_leak_neither_descriptors_nor_memory() -> None:
    runner = Runner()
    trap, hog = (
        module("unreachable"),
        module("(memory.fill (i32.const 0) (i32.const 1) (i32.const 1048576))", memory="16"),
    )
    programs = [runner.compile(to_wasm(wat.encode())) for wat in (COPY, trap, hog, LOOP)]
    nowhere = os.open(os.devnull, os.O_WRONLY)

    def launch(count: int) -> None:
        for at in range(count):
            limits = Limits(fuel=1000) if at % 4 == 3 else Limits()
            runner.run(programs[at % 4], Launch(["guest", "x" * 1000], EmptySource(), nowhere, limits))

    try:
        launch(200)
        descriptors, before = len(os.listdir("/proc/self/fd")), resident()
        launch(2000)
        assert len(os.listdir("/proc/self/fd")) == descriptors
        # A launch that kept its megabyte, or its thousand bytes of words, would keep 500 MB, or 2 MB.
        assert resident() - before < 1_500_000
    finally:
        os.close(nowhere)
