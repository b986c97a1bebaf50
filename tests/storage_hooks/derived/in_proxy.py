"""What a filter of the proxy can do, done by a test: in a process of its own, with the pipeline of a running cluster.

    python in_proxy.py PROXY.CONF        JSON {"do": NAME, …} on stdin, JSON on stdout

Green threads and Swift's configuration are a process's affair, so none of this happens in the tests' own.
"""

import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from insitu.storage_hooks.devcluster import DevCluster


def in_proxy(cluster: DevCluster, do: str, **arguments: Any) -> Any:
    """What function `do` below gives for `arguments`."""
    done = subprocess.run(
        [sys.executable, __file__, str(cluster.directory / "etc" / "proxy.conf")],
        input=json.dumps({"do": do, **arguments}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.rpartition("\n")[2])


def main(conf: str) -> None:
    import swift.common.utils

    swift.common.utils.SWIFT_CONF_FILE = str(Path(conf).with_name("swift.conf"))
    from swift.common.concurrency import monkey_patch

    monkey_patch(all=False, socket=True, select=True, thread=True)
    from swift.common.wsgi import loadapp

    from insitu.storage_hooks.run_hook import RunHook

    loadapp(conf)
    [hook] = [made for made in gc.get_objects() if type(made) is RunHook]
    asked = json.load(sys.stdin)
    answer = DO[asked.pop("do")](hook.app, **asked)
    print("\n" + json.dumps(answer), end="", flush=True)


# -- what can be done --------------------------------------------------------------------------------------------------


def _environ(account: str, **variables: str) -> dict[str, Any]:
    from swift.common.swob import Request

    environ: dict[str, Any] = Request.blank(f"/v1/{account}/c/o").environ
    return environ | variables | {"swift.infocache": {}, "swift.trans_id": "tx-in-proxy"}


def _about(**facts: Any) -> Any:
    from insitu.storage_hooks.derived.about import About

    now = int(time.time())
    about: dict[str, Any] = {"source_etag": "e", "program": "copy", "digest": "d", "made": now, "expires": now + 600}
    return About(**(about | facts))


def keep(
    app: Any, account: str, name: str, chunks: list[str], end: str = "well", length: bool = False, **facts: Any
) -> Any:
    """Store as a body streams by, which ends `well`, `badly`, or not at all (`gone`)."""
    from swift.common.concurrency import sleep

    from insitu.storage_hooks.derived.keeping import Storing, Tee
    from insitu.storage_hooks.derived.store import put

    def body() -> Any:
        yield from (chunk.encode() for chunk in chunks)
        if end == "badly":
            raise RuntimeError("exit code 3")

    environ, about = _environ(account), _about(**facts)
    size = sum(map(len, chunks)) if length else None
    why: list[str | None] = []
    storing = Storing(
        lambda reader: put(environ, app, account, name, about, reader, size), max_bytes=1 << 30, done=why.append
    )
    tee = Tee(body(), storing)
    read = b""
    try:
        for at, chunk in enumerate(tee):
            read += chunk
            if end == "gone" and at == len(chunks) - 1:
                break
    except RuntimeError:
        pass
    tee.close()
    while not why:
        sleep(0.01)
    return {"why": why, "read": read.decode()}


def look(app: Any, account: str, name: str, method: str = "GET", plain: bool = False, **variables: str) -> Any:
    from insitu.storage_hooks.derived.about import About
    from insitu.storage_hooks.derived.store import lookup

    environ = _environ(account, **variables) | {"REQUEST_METHOD": method}
    answer = lookup(environ, app, account, name, plain=plain)
    if answer is None:
        return None
    body = b"".join(answer.body).decode("latin-1")
    answer.close()
    about = About.of_headers(answer.headers)
    return {
        "status": answer.status,
        "headers": {k.lower(): v for k, v in answer.headers},
        "body": body,
        "about": None
        if about is None
        else {"args": about.args, "metadata": dict(about.metadata), "of_source": about.of_source},
    }


def entries(app: Any, account: str, prefix: str = "") -> Any:
    from insitu.storage_hooks.derived.names import prefix_of
    from insitu.storage_hooks.derived.store import listing, used

    environ = _environ(account)
    found = listing(environ, app, account, prefix_of(prefix))
    return {
        "entries": [[e.name, e.bytes, e.etag, e.about.args if e.about else None] for e in found],
        "used": used(environ, app, account),
    }


def sweep(app: Any, account: str, bound: int, times: int = 1) -> Any:
    """Tell the sweeper of so many stores at once, and wait until it rests."""
    import logging

    from swift.common.concurrency import sleep

    from insitu.storage_hooks.derived.bounds import Sweeper

    sweeper = Sweeper(app, logging.getLogger("insitu"))
    for _ in range(times):
        sweeper.stored(_environ(account), account, bound)
    while sweeper._again:
        sleep(0.01)
    return entries(app, account)


def drop(app: Any, account: str, name: str) -> Any:
    from insitu.storage_hooks.derived.store import remove

    remove(_environ(account), app, account, name)


DO: dict[str, Callable[..., Any]] = {f.__name__: f for f in (keep, look, entries, sweep, drop)}

if __name__ == "__main__":
    main(sys.argv[1])
