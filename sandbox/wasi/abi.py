"""WASI preview1 as tables: its functions and their signatures, its rights, flags and records.

Source: the specification's `wasi_snapshot_preview1.witx`. A pointer, a length, a flag set and a descriptor are all
32-bit words in the ABI.
"""

import struct
from ctypes import Array, c_uint32
from typing import Final

MODULE: Final = b"wasi_snapshot_preview1"

# Parameters of every function: i for a 32-bit word, I for a 64-bit one. All but proc_exit answer an error number.
SIGNATURES: Final[dict[str, str]] = {
    "args_get": "ii",
    "args_sizes_get": "ii",
    "clock_res_get": "ii",
    "clock_time_get": "iIi",
    "environ_get": "ii",
    "environ_sizes_get": "ii",
    "fd_advise": "iIIi",
    "fd_allocate": "iII",
    "fd_close": "i",
    "fd_datasync": "i",
    "fd_fdstat_get": "ii",
    "fd_fdstat_set_flags": "ii",
    "fd_fdstat_set_rights": "iII",
    "fd_filestat_get": "ii",
    "fd_filestat_set_size": "iI",
    "fd_filestat_set_times": "iIIi",
    "fd_pread": "iiiIi",
    "fd_prestat_dir_name": "iii",
    "fd_prestat_get": "ii",
    "fd_pwrite": "iiiIi",
    "fd_read": "iiii",
    "fd_readdir": "iiiIi",
    "fd_renumber": "ii",
    "fd_seek": "iIii",
    "fd_sync": "i",
    "fd_tell": "ii",
    "fd_write": "iiii",
    "path_create_directory": "iii",
    "path_filestat_get": "iiiii",
    "path_filestat_set_times": "iiiiIIi",
    "path_link": "iiiiiii",
    "path_open": "iiiiiIIii",
    "path_readlink": "iiiiii",
    "path_remove_directory": "iii",
    "path_rename": "iiiiii",
    "path_symlink": "iiiii",
    "path_unlink_file": "iii",
    "poll_oneoff": "iiii",
    "proc_exit": "i",
    "proc_raise": "i",
    "random_get": "ii",
    "sched_yield": "",
    "sock_accept": "iii",
    "sock_recv": "iiiiii",
    "sock_send": "iiiii",
    "sock_shutdown": "ii",
}

Arguments = Array[c_uint32]
"""A call's arguments, as `raw.Args`: argument k is words 4k (its low half, or all of it) and 4k + 1 (its high half)."""

# `$rights`: bit n is the right to do what the n-th function of this list does.
RIGHTS: Final = {
    name: 1 << bit
    for bit, name in enumerate(
        (
            "fd_datasync", "fd_read", "fd_seek", "fd_fdstat_set_flags", "fd_sync", "fd_tell", "fd_write", "fd_advise",
            "fd_allocate", "path_create_directory", "path_create_file", "path_link_source", "path_link_target",
            "path_open", "fd_readdir", "path_readlink", "path_rename_source", "path_rename_target",
            "path_filestat_get", "path_filestat_set_size", "path_filestat_set_times", "fd_filestat_get",
            "fd_filestat_set_size", "fd_filestat_set_times", "path_symlink", "path_remove_directory",
            "path_unlink_file", "poll_fd_readwrite", "sock_shutdown", "sock_accept",
        )
    )
}  # fmt: skip


def rights(*names: str) -> int:
    return sum(RIGHTS[name] for name in names)


ALL_RIGHTS: Final = rights(*RIGHTS)
READ, WRITE, SEEK, TELL = (RIGHTS[name] for name in ("fd_read", "fd_write", "fd_seek", "fd_tell"))
_ANY: Final = rights("fd_fdstat_set_flags", "fd_filestat_get", "poll_fd_readwrite")
STREAM_RIGHTS: Final = _ANY
FILE_RIGHTS: Final = _ANY | rights(
    "fd_datasync", "fd_read", "fd_seek", "fd_sync", "fd_tell", "fd_write", "fd_advise", "fd_allocate",
    "fd_filestat_set_size", "fd_filestat_set_times",
)  # fmt: skip
DIRECTORY_RIGHTS: Final = rights(
    "fd_fdstat_set_flags", "fd_filestat_get", "fd_filestat_set_times", "fd_sync", "fd_datasync", "fd_readdir",
    *(name for name in RIGHTS if name.startswith("path_")),
)  # fmt: skip

APPEND, DSYNC, NONBLOCK, RSYNC, SYNC = (1 << bit for bit in range(5))  # `$fdflags`
ALL_FDFLAGS: Final = (1 << 5) - 1
CREATE, OF_DIRECTORY, EXCLUSIVE, TRUNCATE = (1 << bit for bit in range(4))  # `$oflags`
FOLLOW: Final = 1  # `$lookupflags`
SET_ATIM, SET_ATIM_NOW, SET_MTIM, SET_MTIM_NOW = (1 << bit for bit in range(4))  # `$fstflags`

u32 = struct.Struct("<I").pack_into
u64 = struct.Struct("<Q").pack_into
two_u32 = struct.Struct("<II").unpack_from
fdstat = struct.Struct("<BxHxxxxQQ").pack_into  # type, flags, rights, inheriting
filestat = struct.Struct("<QQBxxxxxxxQQQQQ").pack_into  # device, inode, type, links, size, atim, mtim, ctim
dirent = struct.Struct("<QQIBxxx").pack  # cookie, inode, length of the name, type
subscription = struct.Struct("<QB7xI4xQQH6x").unpack_from  # userdata, tag, clock or fd, timeout, precision, flags
event = struct.Struct("<QHB5xQH6x").pack_into  # userdata, error number, tag, bytes, flags
