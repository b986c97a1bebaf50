"""WASI preview1 as tables: its functions, their signatures, and what each answers about a stream.

Source: the specification's `wasi_snapshot_preview1.witx`. A pointer, a length, a flag set and a descriptor are all
32-bit words in the ABI.
"""

from typing import Final

from insitu.sandbox import errno

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

# What a call answers on an open descriptor that is a stream; on any other it is EBADF. The descriptor is argument 0.
ON_A_STREAM: Final[dict[str, int]] = {
    "fd_advise": errno.SPIPE,
    "fd_allocate": errno.SPIPE,
    "fd_datasync": errno.INVAL,
    "fd_filestat_set_size": errno.INVAL,
    "fd_filestat_set_times": errno.NOTCAPABLE,
    "fd_pread": errno.SPIPE,
    # wasi-libc looks for preopened directories at start-up and stops at the first EBADF.
    "fd_prestat_dir_name": errno.BADF,
    "fd_prestat_get": errno.BADF,
    "fd_pwrite": errno.SPIPE,
    "fd_readdir": errno.NOTDIR,
    "fd_seek": errno.SPIPE,
    "fd_sync": errno.INVAL,
    "fd_tell": errno.SPIPE,
    "path_create_directory": errno.NOTDIR,
    "path_filestat_get": errno.NOTDIR,
    "path_filestat_set_times": errno.NOTDIR,
    "path_link": errno.NOTDIR,
    "path_open": errno.NOTDIR,
    "path_readlink": errno.NOTDIR,
    "path_remove_directory": errno.NOTDIR,
    "path_rename": errno.NOTDIR,
    "path_symlink": errno.NOTDIR,
    "path_unlink_file": errno.NOTDIR,
    "sock_accept": errno.NOTSOCK,
    "sock_recv": errno.NOTSOCK,
    "sock_send": errno.NOTSOCK,
    "sock_shutdown": errno.NOTSOCK,
}
DESCRIPTOR_AT: Final = {"path_symlink": 8}  # its first two arguments are a path
