"""Writes everything that Swift reads before it starts: swift.conf, rings, one configuration file per server.

Imports Swift for its ring builder; for the supervisor only.
"""

from collections.abc import Mapping

from insitu.storage_hooks.devcluster import configs
from insitu.storage_hooks.devcluster.identity import Identity
from insitu.storage_hooks.devcluster.layout import Layout
from insitu.storage_hooks.devcluster.options import Options
from insitu.storage_hooks.devcluster.policies import Device, policies, write_ring
from insitu.storage_hooks.devcluster.state import RingTable


def provision(
    layout: Layout, options: Options, identity: Identity, addresses: Mapping[str, tuple[str, int]]
) -> dict[str, RingTable]:
    """`addresses`: ip and port by server name, bound already. Gives the object rings' tables by policy name."""
    for directory in (layout.etc, layout.run, layout.cache, layout.devices("meta") / "d0"):
        directory.mkdir(parents=True, exist_ok=True)
    chosen = policies(options.nodes)
    swift_conf = layout.etc / "swift.conf"
    swift_conf.write_text(configs.swift_conf(identity.hash_prefix, identity.hash_suffix, chosen))
    import swift.common.utils

    # Storage policies and constraints are read from this file when their modules are imported; `swift_dir` in a
    # server's own configuration comes too late for them.
    swift.common.utils.SWIFT_CONF_FILE = str(swift_conf)

    for name in ("account", "container"):
        ip, port = addresses[name]
        write_ring(layout.etc / f"{name}.ring.gz", 1, [Device(ip, port, "d0")])
        text = configs.defaults(layout.etc, ip, port, options.log_level, layout.devices("meta"))
        (layout.etc / f"{name}.conf").write_text(configs.storage(name, text))
    devices = []
    for n in range(1, options.nodes + 1):
        ip, port = addresses[f"object-{n}"]
        devices.append(Device(ip, port, f"d{n}"))
        home = layout.devices(f"node{n}")
        (home / f"d{n}").mkdir(parents=True, exist_ok=True)
        text = configs.defaults(layout.etc, ip, port, options.log_level, home)
        hook = (f"object-{n}", layout.socket(n), identity.hook_key) if options.hooks else None
        text = configs.with_settings(configs.object_server(text, hook), f"object-{n}", options.settings)
        (layout.etc / f"object-{n}.conf").write_text(text)
    ip, port = addresses["proxy"]
    text = configs.defaults(layout.etc, ip, port, options.log_level)
    # On one machine, the proxy's own node can as well be a storage node's.
    hook = ("object-1", layout.socket(1), identity.hook_key) if options.hooks else None
    text = configs.proxy(text, layout.etc, hook, identity.users, identity.token_key)
    (layout.etc / "proxy.conf").write_text(configs.with_settings(text, "proxy", options.settings))
    return {
        policy.name: write_ring(layout.etc / f"{policy.ring}.ring.gz", policy.replicas, devices) for policy in chosen
    }
