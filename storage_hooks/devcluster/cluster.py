"""The handle on a development cluster: start it, find your way in it, end it."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self

from insitu.storage_hooks.devcluster import control
from insitu.storage_hooks.devcluster.errors import NotRunning
from insitu.storage_hooks.devcluster.launcher import Lifeline, Progress, launch
from insitu.storage_hooks.devcluster.layout import Layout
from insitu.storage_hooks.devcluster.options import Options
from insitu.storage_hooks.devcluster.state import NodeInfo, State

DEFAULT_USER: Final = "test:tester"


@dataclass(frozen=True)
class S3Access:
    """What an S3 client needs."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"


class DevCluster:
    """A Swift cluster with insitu nodes, alive between `start()` and `stop()`, or as a context manager.

    Without a directory it makes one, which goes away with it. It ends with this process, however this process ends,
    unless `start(detach=True)` was called; `attach()` gives a handle on such a one.

    Raises DevClusterError and its kin, see errors.py.
    """

    def __init__(
        self,
        directory: Path | None = None,
        nodes: int = 4,
        programs: Sequence[Path] = (),
        hooks: bool = True,
        *,
        daemons: bool = True,
        log_level: str = "INFO",
        cache: Path | None = None,
        apart: bool = False,
        settings: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    ) -> None:
        self._temporary = directory is None
        self._directory = directory
        self._options = Options(
            nodes=nodes,
            programs=tuple(p.resolve() for p in programs),
            hooks=hooks,
            daemons=daemons,
            log_level=log_level,
            cache=cache,
            apart=apart,
            settings={place: dict(lines) for place, lines in settings.items()},
            temporary=self._temporary,
        ).checked()
        self._layout: Layout | None = None if directory is None else Layout(directory.resolve())
        self._lifeline: Lifeline | None = None
        self._known: State | None = None

    @classmethod
    def attach(cls, directory: Path) -> "DevCluster":
        """A handle on a running cluster that someone else has started; `stop()` ends it. Raises NotRunning."""
        handle = cls(directory)
        handle.state()
        return handle

    # -- life ------------------------------------------------------------------------------------------------------

    def start(
        self, progress: Progress = lambda stage: None, detach: bool = False, *, replace_broken: bool = False
    ) -> Self:
        """Returns when every part answers. `progress` is told each stage; `detach`: outlive this process.

        Another start in the same directory is waited for. Raises AlreadyRunning when a cluster runs there then;
        `replace_broken`: one with dead parts is ended instead and started anew, with its data and keys.
        """
        if self._layout is None:
            # Resolved: the supervisor's directory may not be told otherwise by a link.
            self._layout = Layout(Path(tempfile.mkdtemp(prefix="insitu-cluster-")).resolve())
        layout = self._layout
        try:
            with layout.alone(lambda: progress(f"once another start in {layout.root} has ended")) as made:
                if replace_broken and layout.locked() and self.dead() != []:
                    progress("anew: what is left of it is ended first")
                    control.stop(layout)
                fresh = layout.claim(made or self._temporary) and detach
                self._lifeline = launch(layout, replace(self._options, fresh=fresh), progress)
                self._known = self.state()
            if detach:
                lifeline, self._lifeline = self._lifeline, None
                lifeline.detach()
        except BaseException:
            if self._lifeline is not None or self._temporary:
                self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ends everything; a directory of its own making goes too. Calling it again does nothing."""
        if self._lifeline is not None:
            lifeline, self._lifeline = self._lifeline, None
            lifeline.cut()
        elif self._layout is not None:
            control.stop(self._layout)
        if self._temporary:
            self._remove()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _remove(self) -> None:
        if self._layout is not None:
            shutil.rmtree(self._layout.root, ignore_errors=True)
            self._layout = None

    # -- what there is ---------------------------------------------------------------------------------------------

    @property
    def directory(self) -> Path:
        if self._layout is None:
            raise NotRunning("the cluster is not running")
        return self._layout.root

    def state(self) -> State:
        """Everything about it as it is now. Raises NotRunning."""
        layout = Layout(self.directory)
        with suppress(OSError, ValueError, KeyError, TypeError):
            if layout.locked():
                return State.read(layout.state)
        raise NotRunning(f"{layout.root}: no cluster runs here")

    @property
    def _facts(self) -> State:
        """What never changes while a cluster runs, without asking each time."""
        if self._known is None:
            self._known = self.state()
        return self._known

    @property
    def endpoint(self) -> str:
        """For example "http://127.0.0.1:40123"."""
        return self._facts.endpoint

    @property
    def auth_url(self) -> str:
        return f"{self.endpoint}/auth/v1.0"

    @property
    def user(self) -> str:
        return DEFAULT_USER

    @property
    def key(self) -> str:
        return self._facts.users[DEFAULT_USER]

    @property
    def users(self) -> dict[str, str]:
        """Key by user: admin:admin (reseller admin), test:tester, test:tester3 (unprivileged), test2:tester2."""
        return dict(self._facts.users)

    @property
    def s3(self) -> S3Access:
        return S3Access(self.endpoint, self.user, self.key)

    @property
    def nodes(self) -> list[NodeInfo]:
        """The storage nodes as they are now."""
        return self.state().nodes

    def pids(self) -> dict[str, int]:
        """Pid by process name, "supervisor" too; the dead are missing."""
        state = self.state()
        return {"supervisor": state.supervisor, **state.processes}

    def dead(self) -> list[str]:
        """The names of the processes that should live and do not; only "supervisor" where that one does not answer."""
        try:
            state = control.ask(Layout(self.directory), do="state")["state"]
        except NotRunning:
            return ["supervisor"]
        return [name for name in state["expected"] if name not in state["processes"]]

    def log(self, name: str) -> Path:
        """The log of "proxy", "account", "container", "object-1" …, "node-1" … or "supervisor"."""
        return Layout(self.directory).log(name)

    def primaries(self, account: str, container: str, obj: str, policy: str = "three") -> list[NodeInfo]:
        """The nodes that should hold an object, in the ring's order of replicas. Policies: "three", "one", "ec21"."""
        return self.state().primaries(account, container, obj, policy)

    def connection(self, user: str = DEFAULT_USER, **options: Any) -> Any:
        """A `swiftclient.Connection` for one of `users`, without retries unless `options` say otherwise."""
        import swiftclient

        return swiftclient.Connection(self.auth_url, user, self.users[user], **{"retries": 0, **options})

    # -- what one can do to it -------------------------------------------------------------------------------------

    def stop_node(self, node: int) -> None:
        """Ends the insitu node (not the object server) of `nodes[node]`. Already ended is fine."""
        control.ask(Layout(self.directory), do="stop-node", node=node + 1)

    def start_node(self, node: int) -> None:
        """Starts it again and returns when it listens. Already running is fine."""
        control.ask(Layout(self.directory), do="start-node", node=node + 1)
