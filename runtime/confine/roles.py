"""Who takes which measures, in the order in which they can be taken: one may need a right that a later one gives up."""

from typing import Final

from insitu.runtime.confine import (
    capabilities,
    descriptors,
    environment,
    helper_calls,
    identity,
    landlock,
    namespaces,
    privileges,
    rlimits,
    root,
    worker_calls,
)
from insitu.runtime.confine.bpf import KILL, Rule
from insitu.runtime.confine.measure import Measure, Role

_NO_NEW = Measure("no_new_privs", "gaining rights by executing", privileges.take_no_new, privileges.prove_no_new)
_STILL_NO_NEW = Measure("no_new_privs", "gaining rights by executing", lambda _: None, privileges.prove_no_new)
"""Children have their parent's."""
_UNDUMPABLE = Measure(
    "undumpable", "being looked into by processes of the same user", privileges.take_undumpable,
    privileges.prove_undumpable,
)  # fmt: skip

_STILL_EMPTY = Measure(
    "environment", "what the operator's environment says", lambda _: None, environment.prove
)  # fmt: skip
_DESCRIPTORS = Measure("descriptors", "what the spawner has open", descriptors.take, descriptors.prove)
"""Of a compiler and a storekeeper before what opens something: they may be more than the limits let those have."""
_HELPER_LIMITS = Measure(
    "rlimits", "filling memory, CPU, disk", rlimits.take_in_compiler, rlimits.prove_in_compiler
)  # fmt: skip

BEFORE_THREADS: Final[dict[Role, tuple[Measure, ...]]] = {
    "spawner": (
        Measure("environment", "what the operator's environment says", environment.take, environment.prove),
        Measure("rlimits", "core files, locked memory", rlimits.take_in_spawner, rlimits.prove_in_spawner),
        Measure("namespaces", "the network, shared memory", namespaces.take, namespaces.prove),
        _NO_NEW,
        Measure("capabilities", "root's rights", capabilities.take_in_spawner, capabilities.prove_in_spawner),
        Measure("landlock", "writing outside the cache", landlock.take_in_spawner, landlock.prove_read_only),
        _UNDUMPABLE,
    ),
    "worker": (
        _STILL_EMPTY,
        Measure("rlimits", "filling memory, descriptors", rlimits.take_in_worker, rlimits.prove_in_worker),
        Measure("root", "seeing what paths there are", root.take, root.prove),
        Measure("identity", "what the node's user may do", identity.take, identity.prove),
        Measure("capabilities", "root's rights", capabilities.take_all, capabilities.prove_none),
        _STILL_NO_NEW,
        Measure("landlock", "every path", landlock.take_in_worker, landlock.prove_closed),
        _UNDUMPABLE,
        _DESCRIPTORS,
    ),
    "compiler": (
        _STILL_EMPTY,
        _DESCRIPTORS,
        _HELPER_LIMITS,
        Measure("capabilities", "root's rights", capabilities.take_in_compiler, capabilities.prove_in_compiler),
        _STILL_NO_NEW,
        Measure("landlock", "all paths but the program", landlock.take_in_compiler, landlock.prove_closed),
        _UNDUMPABLE,
    ),
    "storekeeper": (
        _STILL_EMPTY,
        _DESCRIPTORS,
        _HELPER_LIMITS,
        Measure("capabilities", "root's rights", capabilities.take_all, capabilities.prove_none),
        _STILL_NO_NEW,
        Measure("landlock", "all paths but the cache", landlock.take_in_storekeeper, landlock.prove_closed),
        _UNDUMPABLE,
    ),
}
AFTER_THREADS: Final[dict[Role, tuple[Measure, ...]]] = {
    "spawner": (),
    "worker": (Measure("processes", "more processes or threads", rlimits.take_processes, rlimits.prove_processes),),
    "compiler": (),
    "storekeeper": (),
}
SECCOMP: Final = "seccomp"
"""The last of every role; it can be proved only by dying of it."""
HELD_BACK_BY_SECCOMP: Final[dict[Role, str]] = {
    "spawner": "sockets, other programs, other processes",
    "worker": "every system call but those on its list",
    "compiler": "sockets, other programs, other processes, changing files",
    "storekeeper": "sockets, other programs, other processes",
}
FILTERS: Final[dict[Role, tuple[tuple[Rule, ...], int]]] = {
    "spawner": (helper_calls.SPAWNER_RULES, helper_calls.DEFAULT),
    "worker": (worker_calls.RULES, KILL),
    "compiler": (helper_calls.COMPILER_RULES, helper_calls.DEFAULT),
    "storekeeper": (helper_calls.STOREKEEPER_RULES, helper_calls.DEFAULT),
}
