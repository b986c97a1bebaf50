"""Two switches of the kernel's: no_new_privs, and undumpable.

`no_new_privs` holds back: gaining anything by executing a program; without it no filter can be installed.
`undumpable` holds back: other processes of the same user looking into this one (ptrace, /proc/PID/mem), and core files.
"""

from insitu.runtime.confine import system
from insitu.runtime.confine.measure import Missing, Setup


def take_no_new(_: Setup) -> None:
    system.prctl(system.PR_SET_NO_NEW_PRIVS, 1)


def prove_no_new(_: Setup) -> None:
    if system.prctl(system.PR_GET_NO_NEW_PRIVS) != 1:
        raise Missing("not set")


def take_undumpable(_: Setup) -> None:
    system.prctl(system.PR_SET_DUMPABLE, 0)


def prove_undumpable(_: Setup) -> None:
    if system.prctl(system.PR_GET_DUMPABLE) != 0:
        raise Missing("not set")
