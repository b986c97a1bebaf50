"""What a request asks for: one run request, in a header or in the query, so that a link or an `<img>` works too.

    X-Run: watermark --text hello
    GET /v1/AUTH_a/photos/cat.jpg?run=watermark+--text+hello

Both are words of one grammar (runtime/grammar.py). The query is form-encoded: `+` is a space, and it is percent-decoded
once before the grammar decodes its words, so a literal per cent sign is %2525 there. `-` alone asks for the object as
it is, whatever its container's policy.

Swift's tempurl and s3api write a query of their own: with those, the header is the only way.
"""

from typing import Final
from urllib.parse import unquote_to_bytes

from insitu.runtime.grammar import GrammarError
from insitu.storage_hooks.inside import Environ

PLAIN: Final = "-"
"""The request for the object itself."""


def asked(environ: Environ) -> str | None:
    """The text of the run request that came with this request, for `parse_run`; None when there is none.

    Takes it out of `environ`, so that nothing behind the run hook sees it; of the query all else stays as it was.
    Raises `GrammarError` for two that differ.
    """
    header = environ.pop("HTTP_X_RUN", None)
    query = environ.get("QUERY_STRING") or ""
    if "run" not in query:
        # Bytes that are no UTF-8 are the grammar's to refuse.
        return None if header is None else header.encode("latin-1").decode("utf-8", "surrogateescape")
    return _both(header, query, environ)


def _both(header: str | None, query: str, environ: Environ) -> str | None:
    found = [] if header is None else [header.encode("latin-1").decode("utf-8", "surrogateescape")]
    kept: list[str] = []
    given = 0
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name != "run":
            kept.append(part)
            continue
        given += 1
        raw = unquote_to_bytes(value.replace("+", " ").encode("latin-1"))
        found.append(raw.decode("utf-8", "surrogateescape"))
    environ["QUERY_STRING"] = "&".join(kept)
    if given > 1:
        raise GrammarError(f"run request: the query has {given} of them, and one request is one run")
    if len(found) == 2 and found[0].strip() != found[1].strip():
        raise GrammarError("run request: X-Run and the query's run= differ, and one request is one run")
    return found[0] if found else None
