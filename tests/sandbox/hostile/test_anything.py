"""Any calls with any arguments, on a tree with files, through descriptors that are open: deep into every function."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu.sandbox.errno import GuestStop
from insitu.sandbox.limits import Limits
from tests.sandbox.bare import Bare, counted
from tests.sandbox.specification import FUNCTIONS, LAST_ERRNO

# Memory as the calls find it: names, vectors and subscriptions at places that small numbers hit.
NAMES = [
    b"tmp",
    b"tmp/a",
    b"tmp/d",
    b"tmp/d/e",
    b"tmp/l",
    b"a",
    b"d",
    b"d/e",
    b"l",
    b"..",
    b".",
    b"d/../a",
    b"n/",
    b"\xff",
    b"\0",
]
NAME_AT, VECTORS_AT, FREE_AT = 0x1000, 0x2000, 0x4000
_offsets = [0]
for _name in NAMES:
    _offsets.append(_offsets[-1] + len(_name))

_names = st.sampled_from(range(len(NAMES))).map(lambda at: (NAME_AT + _offsets[at], len(NAMES[at])))
_fds = st.integers(0, 9)
_places = st.sampled_from(
    [NAME_AT, VECTORS_AT, VECTORS_AT + 16, FREE_AT, FREE_AT + 4, 0xFFF0, 0xFFFF, 0x10000, 0xFFFFFFFF]
)
_counts = st.one_of(st.integers(0, 9), st.sampled_from([24, 64, 100, 1000, 0x8000, 0xFFFFFFFF]))
_flags = st.one_of(st.integers(0, 15), st.sampled_from([1 << 16, 0xFFFFFFFF]))
_wide = st.one_of(st.integers(0, 200), st.sampled_from([1 << 16, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]))
_rights = st.sampled_from([0, 2, 64, 66, (1 << 28) - 1, (1 << 64) - 1])

# What goes where: f descriptor, n name (pointer and length), p pointer, c count, g flags, w 64 bits, r rights.
SHAPES = {
    "fd_advise": "fwwg", "fd_allocate": "fww", "fd_close": "f", "fd_datasync": "f", "fd_fdstat_get": "fp",
    "fd_fdstat_set_flags": "fg", "fd_fdstat_set_rights": "frr", "fd_filestat_get": "fp", "fd_filestat_set_size": "fw",
    "fd_filestat_set_times": "fwwg", "fd_pread": "fpcwp", "fd_prestat_dir_name": "fpc", "fd_prestat_get": "fp",
    "fd_pwrite": "fpcwp", "fd_read": "fpcp", "fd_readdir": "fpcwp", "fd_renumber": "ff", "fd_seek": "fwgp",
    "fd_sync": "f", "fd_tell": "fp", "fd_write": "fpcp", "path_create_directory": "fn", "path_filestat_get": "fgnp",
    "path_filestat_set_times": "fgnwwg", "path_link": "fgnfn", "path_open": "fgngrrgp", "path_readlink": "fnpcp",
    "path_remove_directory": "fn", "path_rename": "fnfn", "path_symlink": "nfn", "path_unlink_file": "fn",
    "poll_oneoff": "ppcp", "random_get": "pc", "clock_time_get": "gwp", "clock_res_get": "gp", "args_get": "pp",
    "args_sizes_get": "pp", "environ_get": "pp", "environ_sizes_get": "pp", "proc_exit": "g", "proc_raise": "g",
    "sched_yield": "", "sock_accept": "fgp", "sock_recv": "fpcgpp", "sock_send": "fpcgp", "sock_shutdown": "fg",
}  # fmt: skip
_KINDS = {"f": _fds, "n": _names, "p": _places, "c": _counts, "g": _flags, "w": _wide, "r": _rights}


def test_every_function_has_a_shape() -> None:
    assert set(SHAPES) == set(FUNCTIONS)
    for name, shape in SHAPES.items():
        assert len(shape.replace("n", "nn")) == len(FUNCTIONS[name]), name


def flat(words: tuple[int | tuple[int, int], ...]) -> list[int]:
    found: list[int] = []
    for word in words:
        found += word if isinstance(word, tuple) else (word,)
    return found


# Names come up more often than all else: what they make is what the rest works on.
_often = [*SHAPES, *(name for name in SHAPES if name.startswith("path_")), "path_open", "path_open"]
_calls = st.sampled_from(_often).flatmap(
    lambda name: st.tuples(st.just(name), st.tuples(*[_KINDS[kind] for kind in SHAPES[name]]).map(flat))
)


@settings(max_examples=600, deadline=None)
@given(calls=st.lists(_calls, min_size=5, max_size=60), vectors=st.binary(min_size=64, max_size=64))
def test_anything_in_any_order_is_answered_and_accounted_for(
    calls: list[tuple[str, list[int]]], vectors: bytes
) -> None:
    bare = Bare(Limits(tmp=5000, tmp_files=8, open_files=9), memory=1 << 16, wall=60)
    bare.memory[NAME_AT : NAME_AT + _offsets[-1]] = b"".join(NAMES)
    bare.memory[VECTORS_AT : VECTORS_AT + 64] = vectors
    bare.mkdir(3, b"tmp/d")
    bare.memory[NAME_AT : NAME_AT + _offsets[-1]] = b"".join(NAMES)
    ended = False
    for name, words in calls:
        try:
            code = bare.call(name, *words)
        except GuestStop:
            ended = True
            continue
        assert 0 <= code <= LAST_ERRNO, name
        assert len(bare.table) <= 9
    assert ended == any(name == "proc_exit" for name, _ in calls)
    # All that it left is what its quota counts; and once that is closed and removed, nothing is.
    top = bare.root.entries[b"tmp"]
    assert isinstance(top, type(bare.root))
    open_nodes = [entry.node() for entry in bare.table._fds.values()]
    held = [node for node in open_nodes if node is not None and node.volume is bare.volume]
    size, names = counted(top, held)
    assert (bare.volume.bytes, bare.volume.count) == (size, names)
    assert bare.volume.bytes <= 5000
    assert bare.volume.count <= 8
    bare.table.close_all()
    size, names = counted(top)
    assert (bare.volume.bytes, bare.volume.count) == (size, names)


@pytest.mark.parametrize("depth", [1_000, 100_000])
def test_a_tree_of_any_depth_goes_without_a_word(depth: int) -> None:
    """Python frees what hangs in a chain one inside the other: not so deep that its stack would end."""
    bare = Bare(Limits(tmp=1 << 30, tmp_files=1_000_000))
    code, fd = bare.opendir(3, b"tmp")
    for _ in range(depth):
        assert bare.mkdir(fd, b"d") == 0
        code, inner = bare.opendir(fd, b"d")
        assert code == 0
        assert bare.close(fd) == 0
        fd = inner
    assert bare.rename(3, b"tmp/d", fd, b"x") == 28
    assert bare.volume.count == depth
    bare.table.close_all()
    del bare
