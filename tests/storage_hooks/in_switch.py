"""What comes out of the run switch, whoever stands before it: in a process of its own, with a cluster's pipeline.

    python in_switch.py PROXY.CONF        JSON on stdin and on stdout, see `in_switch` and `_ask`

Green threads and Swift's configuration are a process's affair, so none of this happens in the tests' own.
"""

import base64
import gc
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.storage_hooks.store import Store


@dataclass(frozen=True)
class Switched:
    """One answer of the switch's."""

    status: str
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes
    error: str
    """What its body raised, "" for nothing."""
    provided: int
    """How often the program's bytes were asked for."""


def in_switch(
    store: Store,
    name: str,
    run: str | None,
    *,
    program: list[bytes] | str | None = None,
    headers: dict[str, str] | None = None,
    transaction: str = "tx-in-switch",
    at_once: int = 1,
) -> list[Switched]:
    """GET an object, marked with `run` unless that is None, `at_once` of them at once. `program`: pieces that there are
    for nodes that lack it; "nothing" for a provider that has none, "broken" for one that fails, "endless"."""
    asked = {
        "account": store.account,
        "container": store.container,
        "name": name,
        "run": run,
        "program": program if isinstance(program, str) else None,
        "pieces": [base64.b64encode(p).decode() for p in program] if isinstance(program, list) else None,
        "headers": headers or {},
        "transaction": transaction,
        "at_once": at_once,
    }
    done = subprocess.run(
        [sys.executable, __file__, str(store.cluster.directory / "etc" / "proxy.conf")],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    answers = json.loads(done.stdout.rpartition("\n")[2])
    return [Switched(**{**answer, "body": base64.b64decode(answer["body"])}) for answer in answers]


def main(conf: str) -> None:
    import swift.common.utils

    swift.common.utils.SWIFT_CONF_FILE = str(Path(conf).with_name("swift.conf"))
    from swift.common.concurrency import monkey_patch

    monkey_patch(all=False, socket=True, select=True, thread=True)
    from swift.common.concurrency import GreenPool
    from swift.common.wsgi import loadapp

    from insitu.storage_hooks.run_switch import RunSwitch

    loadapp(conf)
    [switch] = [made for made in gc.get_objects() if type(made) is RunSwitch]
    asked = json.load(sys.stdin)
    pool = GreenPool()
    threads = [pool.spawn(_ask, switch, asked, number) for number in range(asked["at_once"])]
    print("\n" + json.dumps([thread.wait() for thread in threads]), end="", flush=True)


def _ask(switch: Any, asked: dict[str, Any], number: int) -> dict[str, Any]:
    from swift.common.swob import Request

    from insitu.sandbox.limits import Limits
    from insitu.storage_hooks import inside
    from insitu.storage_hooks.inside import Terms

    path = "/v1/{account}/{container}/{name}".format(**asked)
    environ: dict[str, Any] = Request.blank(path, headers=asked["headers"]).environ
    environ |= {"swift.infocache": {}, "swift.trans_id": f"{asked['transaction']}-{number}"}
    if asked["run"] is not None:
        environ[inside.ENV_REQUEST] = asked["run"]
        environ[inside.ENV_TERMS] = Terms(tenant=asked["account"], limits=Limits()).encode()
    provided = 0

    def provider() -> Any:
        nonlocal provided
        provided += 1
        return _pieces(asked)

    if asked["program"] or asked["pieces"]:
        environ[inside.ENV_PROVIDER] = provider
    seen: list[Any] = []
    body = switch(environ, lambda *arguments: seen.append(arguments))
    found = b""
    error = ""
    try:
        for piece in body:
            found += piece
    except Exception as why:  # noqa: BLE001 - told
        error = repr(why)
    if hasattr(body, "close"):
        body.close()
    return {
        "status": seen[0][0],
        "headers": {key.lower(): value for key, value in seen[0][1]},
        "body": base64.b64encode(found).decode(),
        "error": error,
        "provided": provided,
    }


def _pieces(asked: dict[str, Any]) -> Any:
    if asked["pieces"] is not None:
        return (base64.b64decode(piece) for piece in asked["pieces"])
    if asked["program"] == "nothing":
        return None
    return _failing() if asked["program"] == "broken" else _endless()


def _failing() -> Any:
    yield b"\0asm"
    raise OSError("the program's own object cannot be read")


def _endless() -> Any:
    while True:
        yield bytes(1 << 20)


if __name__ == "__main__":
    main(sys.argv[1])
