"""A machine for the kernel's classic BPF as far as filters of system calls use it: what a filter says of one call."""

import struct

from insitu.runtime.confine import calls


def verdict(code: bytes, number: int, *args: int, arch: int = calls.AUDIT_ARCH["x86_64"]) -> int:
    """What the filter returns."""
    data = struct.pack("<IIQ6Q", number, arch, 0, *(arg & (1 << 64) - 1 for arg in (*args, *(0,) * (6 - len(args)))))
    lines = list(struct.iter_unpack("=HBBI", code))
    at = accumulator = 0
    while True:
        operation, yes, no, value = lines[at]
        at += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif operation == 0x54:
            accumulator &= value
        elif operation == 0x15:
            at += yes if accumulator == value else no
        elif operation == 0x35:
            at += yes if accumulator >= value else no
        elif operation == 0x06:
            return int(value)
        else:
            raise AssertionError(f"instruction {operation:#x}")
