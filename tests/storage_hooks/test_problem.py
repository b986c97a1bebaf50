"""What a client reads when a run fails, and what of it gets through s3api."""

import json
from typing import Any

import pytest

from insitu.runtime.errors import (
    BY_CODE,
    BadRequest,
    Busy,
    NodeLost,
    NodeUnavailable,
    ProgramRejected,
    UnknownProgram,
)
from insitu.sandbox.outcome import LimitHit, Outcome
from insitu.storage_hooks import inside, problem

RUN = "0123456789abcdef0123456789abcdef"
DIGEST = "sha256:" + "ab" * 32


def answer(what: problem.Problem, **environ: str) -> tuple[str, dict[str, str], bytes]:
    seen: list[Any] = []
    body = b"".join(what.answer({"REQUEST_METHOD": "GET", **environ}, lambda *a: seen.append(a), [("X-Run-Id", RUN)]))
    status, headers = seen[0]
    return status, dict(headers), body


def test_a_program_that_failed_is_a_422_with_its_exit_code_and_stderr() -> None:
    status, headers, body = answer(
        problem.ended(Outcome(end="exit", exit_code=3, stderr=b"no \xe2\x98\x82 \xff today"), RUN, DIGEST)
    )
    assert status == "422 Unprocessable Entity"
    assert headers == {
        "X-Run-Id": RUN,
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
    }
    assert json.loads(body) == {
        "type": "urn:insitu:problem:program-failed",
        "title": "The program failed",
        "status": 422,
        "detail": "exit code 3",
        "run_id": RUN,
        "program": DIGEST,
        "exit_code": 3,
        "stderr": "no ☂ \ufffd today",
    }


def test_a_limit_is_named_with_its_figures() -> None:
    document = problem.ended(Outcome(end="limit", limit=LimitHit("wall", 10.0, 10.02)), RUN, DIGEST).document()
    assert document["status"] == 422
    assert document["limit"] == {"name": "wall", "allowed": 10.0, "reached": 10.02}
    assert "wall" in document["detail"]
    assert "exit_code" not in document


def test_a_trap_is_shown() -> None:
    document = problem.ended(Outcome(end="trap", trap="unreachable\n 0: f"), RUN, DIGEST).document()
    assert (document["status"], document["trap"]) == (422, "unreachable\n 0: f")


@pytest.mark.parametrize("end", ["lost", "cancelled"])
def test_what_was_started_and_has_no_known_end_is_a_500(end: Any) -> None:
    assert problem.ended(Outcome(end=end), RUN, DIGEST).status == 500


@pytest.mark.parametrize(
    ("error", "status"),
    [(BadRequest, 400), (UnknownProgram, 404), (ProgramRejected, 422), (Busy, 503), (NodeUnavailable, 503)],
)
def test_every_promise_that_nothing_was_started_has_its_status(error: Any, status: int) -> None:
    assert problem.refused(error.code, "because").status == status


def test_only_what_promises_that_nothing_was_started_is_a_503() -> None:
    retried = {code for code in [*BY_CODE, "anything else"] if problem.refused(code, "").status == 503}
    assert retried == {Busy.code, NodeUnavailable.code}
    assert problem.refused(NodeLost.code, "").status == 500


def test_an_s3_client_gets_a_400_for_every_4xx_and_text_that_xml_can_hold() -> None:
    failed = problem.ended(Outcome(end="exit", exit_code=3, stderr=b"bad \x00 X-Delete-At \x1b[31m"), RUN, DIGEST)
    status, headers, body = answer(failed, **{"swift.source": "S3"})
    assert status == "400 Bad Request"
    assert headers["Content-Type"].startswith("text/plain")
    text = body.decode()
    assert "exit code 3" in text
    assert RUN in text
    assert not {"\0", "\x1b"} & set(text)
    assert "X-Delete-" not in text
    assert answer(problem.refused(Busy.code, ""), **{"swift.source": "S3"})[0].startswith("503")


def test_a_long_stderr_shows_its_end() -> None:
    document = problem.ended(Outcome(end="exit", exit_code=1, stderr=b"x" * 100_000 + b"the end"), RUN, DIGEST)
    assert len(document.extra["stderr"]) == problem.STDERR_TAIL
    assert document.extra["stderr"].endswith("the end")


def test_reasons_survive_a_header() -> None:
    reason = 'no program "☂" at 100 %\r\nX-Evil: yes'
    quoted = inside.quote_reason(reason)
    assert quoted.isascii()
    assert quoted.isprintable()
    assert inside.unquote_reason(quoted) == reason
