"""Guests made for a benchmark, as wasm."""

from insitu.sandbox.program import to_wasm

_PAGE = 64 << 10


def cat(buffer: int) -> bytes:
    """stdin to stdout by reads of at most `buffer` bytes, which must be a whole number of wasm pages.

    Exits with 1 when a read fails, with 2 when a write does.
    """
    assert buffer % _PAGE == 0
    return to_wasm(
        f"""
        (module
          (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") {1 + buffer // _PAGE})
          (func (export "_start")
            (loop $again
              (i32.store (i32.const 0) (i32.const {_PAGE}))
              (i32.store (i32.const 4) (i32.const {buffer}))
              (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
                (then (call $exit (i32.const 1))))
              (if (i32.load (i32.const 8)) (then
                (i32.store (i32.const 4) (i32.load (i32.const 8)))
                (loop $rest
                  (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12))
                    (then (call $exit (i32.const 2))))
                  (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.load (i32.const 12))))
                  (i32.store (i32.const 4) (i32.sub (i32.load (i32.const 4)) (i32.load (i32.const 12))))
                  (br_if $rest (i32.load (i32.const 4))))
                (br $again))))))
        """.encode()
    )


def toucher() -> bytes:
    """Writes to its memory, as a guest does that has run: once low, where a stack is, and once high."""
    return to_wasm(
        b"""
        (module
          (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 2)
          (func (export "_start")
            (i32.store (i32.const 4096) (i32.const 1))
            (i32.store (i32.const 81920) (i32.const 1))))
        """
    )


def opener(name: str, count: int) -> bytes:
    """Opens, reads (at most a page) and closes the file `name` below its first preopened directory, `count` times.

    Exits with 1, 2 or 3 when one of those fails, with 4 when there is nothing in the file.
    """
    return to_wasm(
        f"""
        (module
          (import "wasi_snapshot_preview1" "path_open"
            (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 2)
          (data (i32.const 1024) "{name}")
          (func (export "_start") (local $left i32)
            (local.set $left (i32.const {count}))
            (loop $again
              (if (call $open (i32.const 3) (i32.const 1) (i32.const 1024) (i32.const {len(name)}) (i32.const 0)
                    (i64.const 0x20_0026) (i64.const 0) (i32.const 0) (i32.const 16))
                (then (call $exit (i32.const 1))))
              (i32.store (i32.const 0) (i32.const {_PAGE}))
              (i32.store (i32.const 4) (i32.const {_PAGE}))
              (if (call $read (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 8))
                (then (call $exit (i32.const 2))))
              (if (i32.eqz (i32.load (i32.const 8))) (then (call $exit (i32.const 4))))
              (if (call $close (i32.load (i32.const 16))) (then (call $exit (i32.const 3))))
              (local.set $left (i32.sub (local.get $left) (i32.const 1)))
              (br_if $again (local.get $left)))))
        """.encode()
    )
