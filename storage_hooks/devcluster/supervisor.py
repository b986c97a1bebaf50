"""The process that a cluster is: it starts every server, watches them, answers for them, and ends them all.

Started by `launcher.py` as `python -m insitu.storage_hooks.devcluster.supervisor DIR REPORT LIFELINE OPTIONS`:

* REPORT, a pipe: one JSON object a line, `{"stage": …}` while it starts, then `{"ready": true}` or `{"failed": …}`
* LIFELINE, a pipe: end of file means that whoever wanted the cluster is gone, so it ends; a byte means that it shall
  live on without
* OPTIONS, as JSON

It ends on SIGTERM, SIGINT, a broken lifeline, or the word `stop` at its control socket, one JSON object a line each way
(see `control.py`). It imports Swift and forks, hence a single thread and no green threads in this process.
"""

import gc
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from insitu.storage_hooks.devcluster import processes
from insitu.storage_hooks.devcluster.desk import Desk
from insitu.storage_hooks.devcluster.errors import DevClusterError, StartFailed
from insitu.storage_hooks.devcluster.events import Events, Stopped
from insitu.storage_hooks.devcluster.identity import Identity
from insitu.storage_hooks.devcluster.layout import Layout
from insitu.storage_hooks.devcluster.logs import tail
from insitu.storage_hooks.devcluster.options import Options
from insitu.storage_hooks.devcluster.probe import Probe, accepts
from insitu.storage_hooks.devcluster.state import NodeInfo, RingTable, State

START_PATIENCE: Final = 60.0  # seconds until a server that does not answer is called a failure
POLL: Final = 0.05  # seconds between looks for a node's socket while nodes start


class Supervisor:
    """Owns every process and every listening socket of one cluster."""

    def __init__(self, layout: Layout, options: Options, report: int, lifeline: int) -> None:
        self.layout = layout
        self.options = options
        self.identity = Identity.keep(layout.identity, options.nodes)
        self._report = report
        self._lifeline = lifeline
        self._detached = False
        self._events = Events(self._children_ended)
        self._children: dict[str, int] = {}
        self._expected: list[str] = []
        self._listeners: dict[str, socket.socket] = {}
        self._addresses: dict[str, tuple[str, int]] = {}
        self._rings: dict[str, RingTable] = {}
        self._desk: Desk | None = None

    # -- life ------------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Returns the exit code, when everything that was started has ended."""
        self.layout.state.unlink(missing_ok=True)  # left by a supervisor that was killed
        self._events.watch(self._lifeline, self._lifeline_event)
        code = 0
        try:
            self._start()
            self._tell(ready=True)
            self._note("ready")
            while True:
                self._events.turn(None)
        except Stopped as reason:
            self._note(str(reason))
        except DevClusterError as e:
            code = 1
            self._tell(failed=str(e))
            self._note(str(e))
        except ImportError as e:
            code = 1
            missing = (e.name or "").partition(".")[0]
            hint = "; pip install 'insitu[cluster]'" if missing in ("swift", "eventlet", "pyeclib") else ""
            self._tell(failed=f"cannot import what the cluster runs: {e}{hint}")
        except Exception as e:
            self._tell(failed=f"the supervisor failed: {type(e).__name__}: {e}")
            raise
        finally:
            self._end(discard=self.options.temporary or (self.options.fresh and not self._detached and code == 0))
        return code

    def _start(self) -> None:
        self._listen()
        self._tell(stage=f"rings and configuration for {self.options.nodes} object servers")
        # Imports Swift: not at the top, where a missing Swift could not be reported.
        from insitu.storage_hooks.devcluster.provision import provision

        self._rings = provision(self.layout, self.options, self.identity, self._addresses)
        if self.options.daemons:
            self._tell(stage=f"{self.options.nodes} insitu nodes")
            for node in range(1, self.options.nodes + 1):
                self._start_daemon(node)
        self._tell(stage="Swift: proxy, account, container and object servers")
        self._preload()
        probes = [self._start_server(name, listener) for name, listener in self._listeners.items()]
        for listener in self._listeners.values():
            listener.close()  # a server's death must show as a refused connection
        self._await_all(probes, [self.layout.socket(n) for n in self._node_numbers()] if self.options.daemons else [])
        self._desk = Desk(self.layout.control, self._answer)
        self._events.watch(self._desk.fileno(), self._desk.serve_one)
        self._write_state()

    def _end(self, discard: bool) -> None:
        processes.end(self._children.values())
        self._children.clear()
        for path in (self.layout.control, self.layout.state, *self.layout.run.glob("*")):
            with suppress(OSError):
                path.unlink()
        if discard:
            with suppress(DevClusterError):
                self.layout.remove()

    # -- start -----------------------------------------------------------------------------------------------------

    def _node_numbers(self) -> range:
        return range(1, self.options.nodes + 1)

    def _listen(self) -> None:
        """Binds every port before any file names it: the kernel chooses free ones, and nobody can take them then."""
        addresses = {"account": "127.0.0.1", "container": "127.0.0.1"}
        addresses |= {f"object-{n}": f"127.0.0.{n}" for n in self._node_numbers()}
        addresses["proxy"] = "127.0.0.1"
        for name, ip in addresses.items():
            listener = socket.create_server((ip, 0), backlog=1024)
            self._listeners[name] = listener
            self._addresses[name] = (ip, listener.getsockname()[1])

    def _preload(self) -> None:
        from insitu.storage_hooks.devcluster import server

        server.preload(self.options.hooks)
        # The children share what is imported here; an untouched page stays shared.
        gc.collect()
        gc.freeze()

    def _start_server(self, name: str, listener: socket.socket) -> Probe:
        from insitu.storage_hooks.devcluster import server

        kind = name.partition("-")[0]
        others = [other.close for other in self._listeners.values() if other is not listener]
        self._children[name] = processes.spawn(
            self.layout.log(name),
            lambda: server.serve(kind, self.layout.etc / f"{name}.conf", listener),
            death=signal.SIGKILL,
            drop=[*others, *self._mine()],
        )
        self._expected.append(name)
        return Probe(name, self._addresses[name])

    def _start_daemon(self, node: int) -> None:
        name = f"node-{node}"
        options = self.options
        command = [sys.executable, "-m", "insitu", "node", "--socket", str(self.layout.socket(node))]
        cache = options.cache or self.layout.cache
        command += ["--name", f"object-{node}", "--cache", str(cache / name if options.apart else cache)]
        command += ["--journal", str(self.layout.journal(node))]
        for directory in options.programs:
            command += ["--programs", str(directory)]
        # SIGTERM, not SIGKILL, when this process dies: a node has workers of its own to end.
        self._children[name] = processes.spawn(
            self.layout.log(name), lambda: os.execv(sys.executable, command), death=signal.SIGTERM, drop=self._mine()
        )
        if name not in self._expected:
            self._expected.append(name)

    def _mine(self) -> list[Callable[[], object]]:
        """What a child closes: the parent's own ends. (The lock stays: it is free when the last server is gone.)"""
        mine: list[Callable[[], object]] = [self._events.close_in_child]
        if self._desk is not None:
            mine.append(self._desk.close)
        return mine + [partial(os.close, fd) for fd in (self._report, self._lifeline) if fd >= 0]

    def _await_all(self, probes: list[Probe], sockets: list[Path]) -> None:
        """Returns when every server answers and every node listens; raises StartFailed when one cannot."""
        deadline = time.monotonic() + START_PATIENCE
        pending = set(probes)
        for probe in probes:
            self._events.watch(probe.open(), partial(self._probe_event, probe, pending))
        missing = list(sockets)
        while pending or missing:
            self._events.turn(POLL if missing else 1.0)
            missing = [path for path in missing if not accepts(path)]
            if time.monotonic() > deadline:
                names = [p.name for p in pending] + [f"node-{path.name}" for path in missing]
                self._start_failed(sorted(names)[0], f"does not answer after {START_PATIENCE:.0f} s")

    def _probe_event(self, probe: Probe, pending: set[Probe]) -> None:
        self._events.unwatch(probe.fileno())
        answer = probe.read()
        if answer is None:
            # It closed the connection, most likely by ending: wait for the news of that, which says more.
            self._expect_end(probe.name)
        if answer != 200:
            self._start_failed(probe.name, f"answered its health check with {answer or 'nothing'}")
        pending.discard(probe)

    def _expect_end(self, name: str) -> None:
        deadline = time.monotonic() + 2.0
        while time.monotonic() < deadline:
            status = processes.reap(self._children[name])
            if status is not None:
                del self._children[name]
                self._start_failed(name, f"ended while starting ({processes.describe(status)})")
            time.sleep(POLL)

    def _start_failed(self, name: str, what: str) -> None:
        raise StartFailed(f"{name} {what}; the end of {self.layout.log(name)}:\n{tail(self.layout.log(name))}")

    # -- events ----------------------------------------------------------------------------------------------------

    def _children_ended(self) -> None:
        for name, pid in list(self._children.items()):
            status = processes.reap(pid)
            if status is not None:
                del self._children[name]
                self._note(f"{name} (pid {pid}) ended: {processes.describe(status)}")
                if self._desk is None:
                    self._start_failed(name, f"ended while starting ({processes.describe(status)})")
                self._write_state()

    def _lifeline_event(self) -> None:
        detached = os.read(self._lifeline, 1)
        self._events.unwatch(self._lifeline)
        os.close(self._lifeline)
        self._lifeline = -1
        self._detached = bool(detached)
        if not detached:
            self._events.stop("stopped: whoever wanted the cluster is gone")

    # -- control ---------------------------------------------------------------------------------------------------

    def _answer(self, request: dict[str, Any]) -> dict[str, Any] | None:
        what, node = request.get("do"), request.get("node")
        try:
            if what == "stop":
                self._events.stop("stopped: asked to")
                return None  # the end of this process is the answer
            if what == "state":
                self._children_ended()
                return {"state": json.loads(self.layout.state.read_text())}
            if what in ("stop-node", "start-node") and isinstance(node, int) and node in self._node_numbers():
                name = f"node-{node}"
                if what == "stop-node":
                    if name in self._children:
                        processes.end([self._children.pop(name)])
                elif name not in self._children:
                    self._start_daemon(node)
                    self._await_daemon(node)
                self._write_state()
                return {}
        except DevClusterError as e:
            return {"error": str(e)}
        return {"error": f"cannot do {request!r}"}

    def _await_daemon(self, node: int) -> None:
        name = f"node-{node}"
        deadline = time.monotonic() + START_PATIENCE
        while not accepts(self.layout.socket(node)):
            status = processes.reap(self._children[name])
            if status is not None:
                del self._children[name]
                self._start_failed(name, f"ended while starting ({processes.describe(status)})")
            if time.monotonic() > deadline:
                processes.end([self._children.pop(name)])
                self._start_failed(name, f"does not answer after {START_PATIENCE:.0f} s")
            time.sleep(POLL)

    def _write_state(self) -> None:
        State(
            supervisor=os.getpid(),
            addresses=self._addresses,
            users=self.identity.users,
            hash_prefix=self.identity.hash_prefix,
            hash_suffix=self.identity.hash_suffix,
            processes=dict(self._children),
            expected=self._expected,
            nodes=[self._node_info(n) for n in self._node_numbers()],
            rings=self._rings,
        ).write(self.layout.state)

    def _node_info(self, n: int) -> NodeInfo:
        ip, port = self._addresses[f"object-{n}"]
        return NodeInfo(
            name=f"object-{n}",
            ip=ip,
            port=port,
            device=f"d{n}",
            socket=self.layout.socket(n),
            server_pid=self._children.get(f"object-{n}"),
            daemon_pid=self._children.get(f"node-{n}"),
        )

    def _tell(self, **what: object) -> None:
        """A line to whoever started this process; it may be gone."""
        if self._report < 0:
            return
        with suppress(OSError):
            os.write(self._report, json.dumps(what).encode() + b"\n")
        if "stage" not in what:
            os.close(self._report)
            self._report = -1

    def _note(self, text: str) -> None:
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main(argv: list[str]) -> int:
    root, report, lifeline, options = argv
    os.umask(0o077)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    layout = Layout(Path(root))
    fds = int(report), int(lifeline)
    for fd in fds:
        os.set_inheritable(fd, False)
    try:
        layout.take_lock()  # ours until this process has ended
        return Supervisor(layout, Options.from_json(options), *fds).run()
    except DevClusterError as e:
        with suppress(OSError):
            os.write(fds[0], json.dumps({"failed": str(e)}).encode() + b"\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
