"""The spawner: loads compiled programs, forks workers and compilers, and never runs or compiles a guest itself.

It is single-threaded and stays so, which is what makes its forks safe: the engine's threads (a compilation's) live and
die in children. It speaks with the node over one packet socket, descriptor 3, one answer to each order:

    load    {form, name, bundle}    → loaded {form, generation, size} | missing {form} | rejected {form, message}
            + what its compiler made, if the cache would not have it (runtime/stock.py)
                                    | unloadable {form, message}
    unload  {form}                  → nothing: the node asks to load it before it forks a worker for it again
    fork    {worker, warm, named} + socket → forked {worker, pid, generation} + pidfd | failed {worker, message}
    compile {compiler, path, form, name, bundle} + socket     → compiling {compiler, pid} + pidfd
            the child answers on that socket: {rejected: …} | {failed: …} | {} + what it made
    store   {compiler, form} + socket + what was made         → compiling {compiler, pid} + pidfd
            the child answers on that socket: {} | {unkept: why}
                                    of both: | uncompiled {compiler, message}

and `exited {pid, status, cpu_ns}` whenever a child has ended. `generation` counts loads: a worker can run every program
whose generation is not above its own. `form` and `warm` say programs by their form (runtime/form.py).
"""

import errno
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from insitu.runtime import process, wire
from insitu.runtime.cache import CacheError, CompiledCache, engine_key
from insitu.runtime.channels import Named
from insitu.runtime.confine.guard import Guard, NotConfined
from insitu.runtime.confine.settings import Confinement
from insitu.runtime.engines import Engines
from insitu.runtime.errors import ProgramRejected
from insitu.runtime.form import digest_of
from insitu.runtime.worker import prepare, serve
from insitu.sandbox.errors import EngineError, ProgramError
from insitu.sandbox.program import Program

SEE_OFF: Final = 2.0  # seconds


class Spawner:
    def __init__(self, node: socket.socket, cache: CompiledCache, guard: Guard) -> None:
        self._node, self._guard = node, guard
        self._cache, self._engines = cache, Engines(cache)
        self._programs: dict[str, Program] = {}
        """By form."""
        self._generation = 0
        self._pid = os.getpid()

    def serve(self) -> None:
        """Until the node closes the socket."""
        signal.signal(signal.SIGCHLD, self._reap)
        self._answer({"op": "hello"})
        while (packet := wire.receive_packet_or_less(self._node)) is not None:
            message, fds = packet
            try:
                getattr(self, f"_{message['op']}")(message, *fds)
            finally:
                wire.close_all(fds)
        self._see_off()

    def _see_off(self) -> None:
        """The node is gone, or ends us: its workers end too, and one that is not waited for stays a zombie in a
        container whose first process waits for nobody."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        until = time.monotonic() + SEE_OFF
        while time.monotonic() < until:
            try:
                if os.waitpid(-1, os.WNOHANG) == (0, 0):
                    time.sleep(0.005)
            except ChildProcessError:
                return

    def _answer(self, message: wire.Message, *fds: int) -> None:
        # A child's end must not put its word into the middle of another.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        try:
            wire.send_packet_in_time(self._node, message, fds)  # our end would be that of all workers
        except (BrokenPipeError, ConnectionResetError):
            pass  # the node is gone, which the next look for an order tells
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])

    def _reap(self, *_: object) -> None:
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            try:
                cpu_ns = int((used.ru_utime + used.ru_stime) * 1e9)
                wire.send_packet(self._node, {"op": "exited", "pid": pid, "status": status, "cpu_ns": cpu_ns})
            except OSError:
                return  # the node is gone, and so are we in a moment

    def _load(self, message: wire.Message, *handed: int) -> None:
        form = message["form"]
        if form not in self._programs:
            try:
                stock = self._engines.stock(form)
                program = stock.load(digest_of(form), message["name"], bundle=message["bundle"], handed=handed)
                if program is None:
                    return self._answer({"op": "missing", "form": form})
                self._add(form, program)
            except ProgramError as why:
                return self._answer({"op": "rejected", "form": form, "message": str(why)})
            except EngineError as why:
                return self._answer({"op": "unloadable", "form": form, "message": str(why)})
            except OSError as why:  # no descriptors, no memory: another time it may be loaded
                return self._answer({"op": "unloadable", "form": form, "message": why.strerror or str(why)})
        size = self._programs[form].size
        return self._answer({"op": "loaded", "form": form, "generation": self._generation, "size": size})

    def _add(self, form: str, program: Program) -> None:
        """Raises OSError; then it is not loaded."""
        try:
            self._guard.loaded()
        except OSError:
            program.close()
            raise
        self._programs[form] = program
        self._generation += 1

    def _unload(self, message: wire.Message) -> None:
        program = self._programs.pop(message["form"], None)
        if program is not None:
            program.close()
            self._guard.loaded()

    def _fork(self, message: wire.Message, *sock: int) -> None:
        gc.freeze()
        try:
            pid, pidfd = self._forked(lambda: self._be_worker(sock[0], message["warm"], message["named"]), sock)
        except OSError as why:
            return self._answer({"op": "failed", "worker": message["worker"], "message": str(why)})
        answer = {"op": "forked", "worker": message["worker"], "pid": pid, "generation": self._generation}
        self._answer(answer, pidfd)
        return os.close(pidfd)

    def _compile(self, message: wire.Message, *fds: int) -> None:
        try:
            self._engines.stock(message["form"])  # if its engine has to be made: not in a child
        except EngineError as why:
            return self._answer({"op": "uncompiled", "compiler": message["compiler"], "message": str(why)})
        return self._compiler(message, fds, lambda: self._be_compiler(fds[0], message))

    def _store(self, message: wire.Message, *fds: int) -> None:
        self._compiler(message, fds, lambda: self._be_storekeeper(fds[0], message["form"], fds[1:]))

    def _compiler(self, message: wire.Message, fds: Sequence[int], be: Callable[[], NoReturn]) -> None:
        try:
            pid, pidfd = self._forked(be, fds)
        except OSError as why:
            return self._answer({"op": "uncompiled", "compiler": message["compiler"], "message": str(why)})
        self._answer({"op": "compiling", "compiler": message["compiler"], "pid": pid}, pidfd)
        return os.close(pidfd)

    def _forked(self, be: Callable[[], NoReturn], fds: Sequence[int]) -> tuple[int, int]:
        """A child that is `be`: its process id and pidfd. `fds`: what it is given. Raises OSError."""
        if not fds:  # they could not be taken
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        os.close(os.dup(fds[0]))  # there is one left for its pidfd: without, it would be nobody's
        # Blocked over the fork: a child must not be reaped before its pidfd is there.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        try:
            pid = os.fork()
            if pid == 0:
                be()
            return pid, os.pidfd_open(pid)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])

    def _be_child(self, name: str, fd: int) -> socket.socket:
        """What every child does first. Returns its own socket to the node, its only one to anybody else."""
        process.die_with_parent(self._pid)
        process.set_name(name)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        own = os.dup2(fd, process.NODE_FD, inheritable=False)
        # Nothing else to close: what is open above are the engine's images of compiled programs, which it maps at every
        # launch, by these very descriptors.
        os.close(fd)
        return socket.socket(fileno=own)

    def _be_worker(self, fd: int, warm: list[str], channels: dict[str, list[list[str]]]) -> NoReturn:
        try:
            sock = self._be_child("insitu-worker", fd)
            named = {form: Named(tuple(inputs), tuple(outputs)) for form, (inputs, outputs) in channels.items()}
            rehearsal = self._guard.enter_worker(lambda: prepare(self._engines, self._programs, warm, named))
            serve(sock, self._engines, self._programs, rehearsal)
            os._exit(0)
        except BrokenPipeError:
            os._exit(0)  # the node has let it go while it got ready
        except BaseException:  # noqa: BLE001 - nothing of the spawner's stack may run in its child
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(70)

    def _be_compiler(self, fd: int, message: wire.Message) -> NoReturn:
        def work(answer: socket.socket) -> None:
            self._guard.enter_compiler(message["path"])
            wire.send_packet_in_time(answer, *self._compiled(message))

        self._be_helper("insitu-compile", fd, work)

    def _compiled(self, message: wire.Message) -> tuple[wire.Message, list[int]]:
        form, path, name = message["form"], message["path"], message["name"]
        try:
            return {}, self._engines.stock(form).prepare(path, digest_of(form), name, bundle=message["bundle"])
        except (ProgramError, ProgramRejected) as why:
            return {"rejected": str(why)}, []
        except (OSError, EngineError) as why:
            return {"failed": f"cannot be made ready: {why}"}, []

    def _be_storekeeper(self, fd: int, form: str, made: Sequence[int]) -> NoReturn:
        def work(answer: socket.socket) -> None:
            loaded = self._engines.entries(self._programs.items())
            self._guard.enter_storekeeper(made)
            try:
                self._engines.stock(form).store(digest_of(form), made, loaded)
            except OSError as why:
                wire.send_packet(answer, {"unkept": f"{self._cache.directory}: {why.strerror or why}"})
            else:
                wire.send_packet(answer, {})

        self._be_helper("insitu-store", fd, work)

    def _be_helper(self, name: str, fd: int, work: Callable[[socket.socket], None]) -> NoReturn:
        try:
            answer = self._be_child(name, fd)
            os.nice(10)  # launches come first
            work(answer)
            os._exit(0)
        except BaseException:  # noqa: BLE001 - as above
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(70)


def main() -> None:
    """`python -m insitu.runtime.spawner PARENT-PID CACHE-DIR CACHE-BYTES CONFINEMENT`, the packet socket to the node
    on descriptor 3."""
    parent, directory, cache_bytes = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    confinement = Confinement.from_word(sys.argv[4])
    process.die_with_parent(parent)
    process.set_name("insitu-spawner")
    # Ctrl-C in a terminal, and whoever stops a service, reach the whole group: the node ends us in good order.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr)
    node = socket.socket(fileno=process.NODE_FD)
    try:
        guard = Guard(confinement.setup(directory))
        spawner = Spawner(node, CompiledCache(directory, most=cache_bytes), guard)
        for canonical_nans in (False, True):
            engine_key(canonical_nans)  # looks into Python's packages, which may be out of reach from here on
        guard.enter_spawner_and_say(strict=confinement.strict)
    except (CacheError, EngineError, NotConfined) as why:
        wire.send_packet(node, {"op": "fatal", "message": str(why)})
        sys.exit(1)
    spawner.serve()


if __name__ == "__main__":
    main()
