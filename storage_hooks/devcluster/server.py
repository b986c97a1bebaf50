"""One Swift server inside a process that the supervisor has forked, on a socket that the supervisor has bound.

Swift's own command would bind its port itself, late; between choosing a free port and binding it another process may
take it. Here the port is bound before the configuration that names it is written.
"""

import importlib
import socket
import sys
from pathlib import Path
from typing import Final

MODULES: Final = {
    "proxy": "swift.proxy.server",
    "account": "swift.account.server",
    "container": "swift.container.server",
    "object": "swift.obj.server",
}

# What the pipelines load, imported once before the forks instead of in every process.
MIDDLEWARE: Final = (
    *("account_quotas", "bulk", "catch_errors", "container_quotas", "copy", "dlo", "gatekeeper", "healthcheck"),
    *("list_endpoints", "listing_formats", "proxy_logging", "s3api.s3api", "slo", "staticweb", "symlink", "tempauth"),
    *("tempurl", "versioned_writes"),
)
HOOKS: Final = ("object_hook", "run_hook", "run_switch")


def preload(hooks: bool) -> None:
    """Imports everything that the servers need. Swift must know its swift.conf by then, see provision.py."""
    for name in MODULES.values():
        importlib.import_module(name)
    for name in MIDDLEWARE:
        importlib.import_module(f"swift.common.middleware.{name}")
    if hooks:
        for name in HOOKS:
            importlib.import_module(f"insitu.storage_hooks.{name}")


def serve(kind: str, conf: Path, listener: socket.socket) -> None:
    """Serves until the process is killed. `kind` is one of MODULES."""
    from swift.common import wsgi

    sys.argv = [f"swift-{kind}-server", str(conf)]
    # Patches the process for green threads, so it must not happen before the fork.
    settings, logger, global_conf, _ = wsgi.check_config(str(conf), f"{kind}-server")
    green = socket.socket(fileno=listener.detach())  # the patched class
    green.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    green.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    wsgi.run_server(settings, logger, green, global_conf=global_conf)
