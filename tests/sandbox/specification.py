"""WASI preview1 as its specification writes it: what the host is held against, written down independently of it."""

from typing import Final

# Parameters: i for i32, I for i64. All give an i32, the error number, but proc_exit, which gives nothing.
FUNCTIONS: Final = {
    "args_get": "ii",
    "args_sizes_get": "ii",
    "environ_get": "ii",
    "environ_sizes_get": "ii",
    "clock_res_get": "ii",
    "clock_time_get": "iIi",
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
    "fd_prestat_get": "ii",
    "fd_prestat_dir_name": "iii",
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
    "sched_yield": "",
    "random_get": "ii",
    "sock_accept": "iii",
    "sock_recv": "iiiiii",
    "sock_send": "iiiii",
    "sock_shutdown": "ii",
}
SUCCESS, BADF, FAULT, INVAL, NOTCAPABLE, NOTDIR, NOTSOCK, NOTSUP, PIPE, SPIPE = 0, 8, 21, 28, 76, 54, 57, 58, 64, 70
LAST_ERRNO: Final = 76


def wat_type(name: str) -> str:
    """`(param i32 i64) (result i32)`, as the text format writes it."""
    params = "".join(" i32" if letter == "i" else " i64" for letter in FUNCTIONS[name])
    return (f"(param{params})" if params else "") + ("" if name == "proc_exit" else " (result i32)")
