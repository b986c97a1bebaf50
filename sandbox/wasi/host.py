"""The host functions of preview1, defined once for an engine.

A callback never lets an exception out, since the engine would read that as success: `Host._entry` keeps it in the
guest's state and answers a trap.
"""

from collections.abc import Callable
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


class Host:
    """The host functions, linked once for an engine; they serve one guest at a time, `guest`."""

    def __init__(self, engine: raw.Engine) -> None:
        self.linker = raw.new_linker(engine)
        self.guest: Guest | None = None
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
                return raw.new_trap(b"stopped by the host")
            except BaseException as crash:  # noqa: BLE001 - see the module's docstring; Deadline comes here too
                if guest is not None and guest.crash is None:
                    guest.crash = crash
                return raw.new_trap(b"stopped by the host")

        return entry
