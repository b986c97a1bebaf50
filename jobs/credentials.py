"""Who asks the storage: the options and environment variables that the swift command reads, under its own names."""

from collections.abc import Mapping
from typing import Any

# See `swift --os-help`. Its `--os-user-id` is os_user_id here and OS_USER_ID there.
_OS_OPTIONS = """
    username user_id user_domain_name user_domain_id password tenant_id tenant_name project_id project_name
    project_domain_name project_domain_id auth_url auth_token auth_type application_credential_id
    application_credential_secret storage_url region_name service_type endpoint_type cacert cert key
"""
_ENVIRONMENT = {
    "auth": ("ST_AUTH",),
    "user": ("ST_USER",),
    "key": ("ST_KEY",),
    "auth_version": ("ST_AUTH_VERSION", "OS_AUTH_VERSION", "OS_IDENTITY_API_VERSION"),
    **{f"os_{name}": (f"OS_{name.upper()}",) for name in _OS_OPTIONS.split()},
}


def gather(given: Mapping[str, str | bool | None], environ: Mapping[str, str]) -> dict[str, Any]:
    """An option that is given, else its first variable that is set and not empty, else None; a value for every name."""
    options: dict[str, Any] = {}
    # Whoever names a store on the command line means that one: a token left in the environment, as `swift auth` leaves
    # it, may be another's, and would win silently.
    named = any(given.get(name) for name in ("auth", "user", "key", "os_auth_url", "os_username", "os_password"))
    for name, variables in _ENVIRONMENT.items():
        heard = () if named and name in ("os_storage_url", "os_auth_token") else variables
        options[name] = given.get(name) or next((environ[v] for v in heard if environ.get(v)), None)
    options["auth_version"] = options["auth_version"] or "1.0"
    insecure = environ.get("SWIFTCLIENT_INSECURE", "").lower() in ("true", "1", "yes", "on", "t", "y")
    options["insecure"] = bool(given.get("insecure")) or insecure
    return options
