"""The form of a program in which it is compiled, loaded and run: its digest, and which of two engines it is for.

    sha256:<64 hex>             real launches
    sha256:<64 hex>+frozen      frozen ones, whose engine has canonical NaNs, and so machine code of its own

Whatever is counted, bounded, warmed or waited for of loaded programs is so by form; a program is loaded only in those
that were asked for. Compiler and cache keep the two apart by the engine's settings (`cache.engine_key`).
"""

from typing import Final

_FROZEN: Final = "+frozen"


def form_of(digest: str, *, frozen: bool) -> str:
    return digest + _FROZEN if frozen else digest


def is_frozen(form: str) -> bool:
    return form.endswith(_FROZEN)


def digest_of(form: str) -> str:
    return form.removesuffix(_FROZEN)
