"""Which headers of an object also hold for what a program made of it."""

from insitu.storage_hooks import inside
from insitu.storage_hooks.result_headers import result_headers, run_headers

OBJECT = [
    ("Content-Type", "image/jpeg"),
    ("Content-Length", "1000"),
    ("Etag", "900150983cd24fb0d6963f7d28e17f72"),
    ("Last-Modified", "Sun, 22 Nov 2026 00:00:00 GMT"),
    ("Accept-Ranges", "bytes"),
    ("Content-Encoding", "gzip"),
    ("Content-Disposition", "attachment; filename=cat.jpg"),
    ("Cache-Control", "max-age=3600"),
    ("Expires", "Sun, 22 Nov 2027 00:00:00 GMT"),
    ("X-Object-Meta-Camera", "Leica"),
    ("X-Object-Sysmeta-S3Api-Etag", "beef-2"),
    ("X-Timestamp", "1.0"),
    ("X-Static-Large-Object", "True"),
    ("Access-Control-Allow-Origin", "*"),
    ("Vary", "Origin"),
    ("X-Backend-Run-Id", "0123"),
    ("X-Backend-Run-Where", "object-3; replica=1"),
    ("X-Backend-Run-Program", "sha256:ab"),
]


def names(headers: inside.Headers) -> set[str]:
    return {name.lower() for name, _ in headers}


def test_nothing_that_vouches_for_the_objects_bytes_is_left() -> None:
    for content_type in ("source", "text/plain"):
        left = names(result_headers(OBJECT, content_type))
        assert not left & {
            *("content-length", "etag", "last-modified", "accept-ranges", "expires", "x-timestamp"),
            *("x-object-sysmeta-s3api-etag", "x-static-large-object", "transfer-encoding", "x-backend-run-id"),
        }


def test_a_program_of_type_source_hands_on_how_the_bytes_are_to_be_read() -> None:
    result = dict(result_headers(OBJECT, "source"))
    assert result["Content-Type"] == "image/jpeg"
    assert result["Content-Encoding"] == "gzip"
    assert "Content-Disposition" in result


def test_a_program_with_a_type_of_its_own_does_not() -> None:
    result = result_headers(OBJECT, "text/plain")
    assert [v for k, v in result if k.lower() == "content-type"] == ["text/plain"]
    assert not names(result) & {"content-encoding", "content-disposition"}


def test_metadata_and_cors_stay_and_no_cache_may_keep_it() -> None:
    result = result_headers(OBJECT, "source")
    assert ("X-Object-Meta-Camera", "Leica") in result
    assert ("Access-Control-Allow-Origin", "*") in result
    assert ("Vary", "Origin") in result
    assert ("Vary", "X-Run") in result
    assert [v for k, v in result if k.lower() == "cache-control"] == ["no-store"]


def test_a_client_learns_of_the_run() -> None:
    assert dict(run_headers(OBJECT)) == {
        "X-Run-Id": "0123",
        "X-Run-Where": "object-3; replica=1",
        "X-Run-Program": "sha256:ab",
    }
