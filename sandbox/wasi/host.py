"""The host functions of preview1, defined once for an engine.

A callback never lets an exception out: ctypes would hand the engine whatever lies on its stack for an answer, which
the engine reads as success or as the address of a trap. So `Host._entry` keeps it in the guest's state and answers a
trap. What Python itself may raise between two instructions, an interrupt, is kept out of the few of them that no `try`
covers: see `_undisturbed`, and the trap that is made before it is needed.
"""

import opcode
from collections.abc import Callable
from types import FunctionType
from typing import Final

from insitu.sandbox import errno, raw
from insitu.sandbox.errno import GuestError, GuestStop
from insitu.sandbox.wasi import descriptors, paths, waiting, words
from insitu.sandbox.wasi.abi import MODULE, SIGNATURES, Arguments
from insitu.sandbox.wasi.guest import Guest, NoMemory

Call = Callable[[Guest, Arguments], int]
CALLS: Final[dict[str, Call]] = {
    name: getattr(family, name)
    for name in SIGNATURES
    for family in (words, descriptors, paths, waiting)
    if hasattr(family, name)
}
"""All 46, each with its error number for an answer."""


_RESUME: Final = opcode.opmap["RESUME"]
_NO_SIGNALS: Final = 2  # RESUME's argument where a function goes on after `yield from`, which looks for none
_DEPTH: Final = 40  # Python calls that a host function makes, one inside the other; no more than 20 are known


def _undisturbed(function: raw.Callback) -> raw.Callback:
    """Python looks for signals as a function begins, before its first `try`: an interrupt that comes while a guest
    computes would leave every callback there. This one looks for them only after that."""
    assert isinstance(function, FunctionType)
    code = function.__code__
    at = next(at for at in range(0, len(code.co_code), 2) if code.co_code[at] == _RESUME)
    function.__code__ = code.replace(co_code=code.co_code[: at + 1] + bytes([_NO_SIGNALS]) + code.co_code[at + 2 :])
    return function


def _room_for(depth: int) -> None:
    """Raises RecursionError when so many calls, one inside the other, are too many from here."""
    if depth:
        _room_for(depth - 1)


class Host:
    """The host functions, linked once for an engine; they serve one guest at a time, `guest`."""

    def __init__(self, engine: raw.Engine) -> None:
        self.linker = raw.new_linker(engine)
        self.guest: Guest | None = None
        self._stop = 0
        self._keep = [
            raw.define(
                self.linker,
                MODULE,
                name.encode(),
                params,
                "" if name == "proc_exit" else "i",
                self._entry(CALLS[name]),
            )
            for name, params in SIGNATURES.items()
        ]

    def make_ready(self) -> None:
        """Before each launch. Raises RecursionError so deep in Python's stack that a host function might not be
        entered."""
        _room_for(_DEPTH)
        # The trap that ends a guest is made now: no Python call, and so no interrupt, is on the way to it.
        self._stop = self._stop or raw.new_trap(b"stopped by the host")

    def _entry(self, function: Call) -> raw.Callback:
        args_at = raw.args_at

        def entry(_env: int, caller: int, address: int, _count: int) -> int:
            guest = self.guest
            try:
                a = args_at(address)
                if guest is None:
                    raise RuntimeError("a host function was called while no guest runs")
                try:
                    a[0] = function(guest, a)
                except NoMemory:
                    # Nothing is done before the first look at memory, so it can be done again.
                    a[0] = function(guest, a) if guest.instance.find_memory(caller) else errno.FAULT
                return 0
            except GuestError as error:
                a[0] = error.code
                return 0
            except GuestStop:
                trap, self._stop = self._stop, 0
                return trap or raw.new_trap(b"stopped by the host")
            except BaseException as crash:  # noqa: BLE001 - see the module's docstring; Deadline comes here too
                if guest is not None and guest.crash is None:
                    guest.crash = crash
                trap, self._stop = self._stop, 0
                return trap or raw.new_trap(b"stopped by the host")

        return _undisturbed(entry)
