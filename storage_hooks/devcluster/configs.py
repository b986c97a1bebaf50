"""The text of Swift's configuration files for a development cluster.

The proxy's pipeline is the one a production proxy has, with insitu's two filters where an operator would put them.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from insitu.storage_hooks.devcluster.errors import OptionRefused
from insitu.storage_hooks.devcluster.policies import Policy

CACHE = "insitu.storage_hooks.devcluster.cache:filter_factory"
LOGS = "insitu.storage_hooks.devcluster.logs.to_stderr"

# Filters that Swift ships under the name the pipeline uses, with what else they need to be told.
SHIPPED = {
    "catch_errors": "",
    "gatekeeper": "",
    "healthcheck": "",
    "proxy-logging": "use = egg:swift#proxy_logging\n",
    "listing_formats": "",
    "list-endpoints": "use = egg:swift#list_endpoints\nswift_dir = {etc}\n",
    "bulk": "",
    "tempurl": "",
    "s3api": "location = us-east-1\ns3_acl = false\n",
    "copy": "",
    "container-quotas": "use = egg:swift#container_quotas\n",
    "account-quotas": "use = egg:swift#account_quotas\n",
    "staticweb": "",
    "slo": "min_segment_size = 1\n",  # tests need not upload megabytes to make a large object
    "dlo": "",
    "versioned_writes": "allow_versioned_writes = true\nallow_object_versioning = true\n",
    "symlink": "",
    # Not in the pipeline, but a test can put them there. The root secret is the development cluster's own token key.
    "keymaster": "encryption_root_secret = {secret}\n",
    "encryption": "",
}


def swift_conf(prefix: str, suffix: str, policies: Iterable[Policy]) -> str:
    head = f"[swift-hash]\nswift_hash_path_prefix = {prefix}\nswift_hash_path_suffix = {suffix}\n"
    return head + "".join(policy.section() for policy in policies)


def defaults(etc: Path, ip: str, port: int, log_level: str, devices: Path | None = None) -> str:
    """The [DEFAULT] section of any server."""
    where = "" if devices is None else f"devices = {devices}\nmount_check = false\ndisable_fallocate = true\n"
    return f"""[DEFAULT]
swift_dir = {etc}
bind_ip = {ip}
bind_port = {port}
workers = 0
log_level = {log_level}
log_custom_handlers = {LOGS}
{where}"""


def with_settings(text: str, server: str, settings: Mapping[str, Mapping[str, str]]) -> str:
    """A server's configuration with what `settings` (see Options) has for it instead of, or besides, its own lines.

    Raises OptionRefused for a section that it does not have.
    """
    for place, lines in settings.items():
        name, _, section = place.partition("/")
        if name != server:
            continue
        head, found, rest = text.partition(f"[{section}]\n")
        if not found:
            raise OptionRefused(f"settings of {place}: there is no such section")
        body, bracket, after = rest.partition("\n[")
        kept = [line for line in body.splitlines() if line.partition("=")[0].strip() not in lines]
        body = "\n".join([*(f"{key} = {value}" for key, value in lines.items()), *kept])
        text = f"{head}{found}{body}\n{bracket.lstrip()}{after}"
    return text


def proxy_pipeline(hooks: bool) -> list[str]:
    return [
        *("catch_errors", "gatekeeper", "healthcheck", "proxy-logging", "cache", "listing_formats", "list-endpoints"),
        *("bulk", "tempurl", "s3api", "tempauth"),
        *(["run_hook"] if hooks else []),
        *("copy", "container-quotas", "account-quotas", "staticweb", "slo", "dlo", "versioned_writes", "symlink"),
        "proxy-logging",
        *(["run_switch"] if hooks else []),
        "proxy-server",
    ]


def proxy(default: str, etc: Path, hook: tuple[str, Path, str] | None, users: Mapping[str, str], token_key: str) -> str:
    """`users` as in State. `token_key` (32 bytes in URL-safe base64) signs tempauth's tokens. `hook`: where the filters
    are to stand in the pipeline, name and socket of the insitu node beside the proxy, and the key that signs runs."""
    accounts = "".join(
        f"user_{user.replace(':', '_')} = {key}{''.join(' ' + group for group in GROUPS.get(user, ()))}\n"
        for user, key in users.items()
    )
    parts = [
        default,
        f"[pipeline:main]\npipeline = {' '.join(proxy_pipeline(hook is not None))}\n",
        "[app:proxy-server]\nuse = egg:swift#proxy\nallow_account_management = true\naccount_autocreate = true\n",
        f"[filter:cache]\npaste.filter_factory = {CACHE}\n",
        f"[filter:tempauth]\nuse = egg:swift#tempauth\nfernet_key_dev = {token_key}\n"
        f"active_fernet_key_id = dev\n{accounts}",
    ]
    secret = token_key.replace("-", "+").replace("_", "/")
    for name, text in SHIPPED.items():
        use = "" if text.startswith("use = ") else f"use = egg:swift#{name}\n"
        parts.append(f"[filter:{name}]\n{use}{text.format(etc=etc, secret=secret)}")
    if hook is not None:
        name, socket, key = hook
        parts.append(f"[filter:run_hook]\nuse = egg:insitu#run_hook\nsocket = {socket}\nnode = {name}\n")
        parts.append(f"[filter:run_switch]\nuse = egg:insitu#run_switch\nkey = {key}\n")
    return "\n".join(parts)


# tempauth's groups. Two accounts, an unprivileged user in the first of them, and a reseller admin.
GROUPS: dict[str, tuple[str, ...]] = {
    "admin:admin": (".admin", ".reseller_admin"),
    "test:tester": (".admin",),
    "test:tester3": (),
    "test2:tester2": (".admin",),
}


def storage(kind: str, default: str) -> str:
    """The account or the container server."""
    return f"""{default}
[pipeline:main]
pipeline = healthcheck {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
[filter:healthcheck]
use = egg:swift#healthcheck
"""


def object_server(default: str, hook: tuple[str, Path, str] | None) -> str:
    """`hook`: the node's name, the socket of its insitu node, and the key of the runs that it takes, where the object
    hook is to stand in the pipeline."""
    text = storage("object", default)
    if hook is None:
        return text
    name, socket, key = hook
    text = text.replace("pipeline = healthcheck object-server", "pipeline = healthcheck object_hook object-server")
    return f"{text}[filter:object_hook]\nuse = egg:insitu#object_hook\nsocket = {socket}\nnode = {name}\nkey = {key}\n"
