"""A guest's arguments and environment."""

from collections.abc import Sequence

from insitu.sandbox.wasi.abi import Arguments, u32
from insitu.sandbox.wasi.guest import Guest


def _sizes(guest: Guest, items: Sequence[bytes], a: Arguments) -> int:
    count, size = guest.span(a[0], 4), guest.span(a[4], 4)
    u32(count, 0, len(items))
    u32(size, 0, sum(len(item) + 1 for item in items))
    return 0


def _strings(guest: Guest, items: Sequence[bytes], a: Arguments) -> int:
    guest.wait.check()
    pointers, at = guest.span(a[0], 4 * len(items)), a[4]
    for index, item in enumerate(items):
        guest.span(at, len(item) + 1)[:] = item + b"\0"
        u32(pointers, 4 * index, at)
        at += len(item) + 1
    return 0


def args_sizes_get(guest: Guest, a: Arguments) -> int:
    return _sizes(guest, guest.args, a)


def args_get(guest: Guest, a: Arguments) -> int:
    return _strings(guest, guest.args, a)


def environ_sizes_get(guest: Guest, a: Arguments) -> int:
    return _sizes(guest, guest.env, a)


def environ_get(guest: Guest, a: Arguments) -> int:
    return _strings(guest, guest.env, a)
