"""Who may ask a storage node to run something: only who has the key, only for what was signed, only for a while."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.storage_hooks.signature import LIFETIME, SignatureError, Statement, check, key_of, needed_key, sign

KEY, OTHER = b"0123456789abcdef0123456789abcdef", b"fedcba9876543210fedcba9876543210"
NOW = 1_700_000_000.25
STATEMENT = Statement("GET", "/AUTH_a/photos/cat.jpg", "watermark --text hello", '{"tenant":"AUTH_a"}', "tx123")


def refused(
    value: str | None, statement: Statement = STATEMENT, now: float = NOW, keys: tuple[bytes, ...] = (KEY,)
) -> str:
    with pytest.raises(SignatureError) as caught:
        check(keys, value, statement, now)
    return str(caught.value)


def test_what_was_signed_is_taken_until_it_is_too_old() -> None:
    value = sign(KEY, STATEMENT, NOW)
    for age in (0, 1, LIFETIME - 1):
        check([KEY], value, STATEMENT, NOW + age)
    assert "61 s ago and is good for 60 s" in refused(value, now=NOW + LIFETIME + 1)
    assert "it came late or again, or the clocks" in refused(value, now=NOW + 10**6)


def test_a_lifetime_of_its_own_is_signed_too() -> None:
    value = sign(KEY, STATEMENT, NOW, 5)
    check([KEY], value, STATEMENT, NOW + 4)
    assert "good for 5 s" in refused(value, now=NOW + 7)
    assert "wrong" in refused(value.replace(":5:", ":500000:"), now=NOW + 7)


def test_a_clock_that_is_ahead_is_named() -> None:
    value = sign(KEY, STATEMENT, NOW + LIFETIME - 1)
    check([KEY], value, STATEMENT, NOW)
    assert "120 s from now: the clocks" in refused(sign(KEY, STATEMENT, NOW + 120), now=float(int(NOW)))


@pytest.mark.parametrize("field", ["method", "path", "run", "terms", "transaction"])
@pytest.mark.parametrize("change", [lambda text: text + "x", lambda text: text[:-1], lambda _: "", str.swapcase])
def test_whatever_is_altered_is_noticed(field: str, change: object) -> None:
    assert callable(change)
    other = replace(STATEMENT, **{field: change(getattr(STATEMENT, field))})
    assert "signature is wrong" in refused(sign(KEY, STATEMENT, NOW), other)


def test_nothing_moves_over_from_one_to_the_next() -> None:
    here = replace(STATEMENT, path="/a/c/o", run="cat x")
    there = replace(STATEMENT, path="/a/c/ocat", run=" x")
    assert "signature is wrong" in refused(sign(KEY, here, NOW), there)


def test_another_key_is_no_key() -> None:
    assert "another key" in refused(sign(OTHER, STATEMENT, NOW))
    assert "another key" in refused(sign(KEY, STATEMENT, NOW), keys=())


def test_both_keys_are_taken_while_they_are_exchanged() -> None:
    for key in (KEY, OTHER):
        check([KEY, OTHER], sign(key, STATEMENT, NOW), STATEMENT, NOW)


@pytest.mark.parametrize("value", [None, ""])
def test_what_is_not_signed_is_told_how_it_would_be(value: str | None) -> None:
    assert "run_switch" in refused(value)


@pytest.mark.parametrize(
    "alter",
    [
        lambda value: value[:-1],
        lambda value: value + "0",
        lambda value: value.upper(),
        lambda value: " " + value,
        lambda value: value.rpartition(":")[0],
        lambda value: value.rpartition(":")[2],
        lambda value: value.replace("1:", "1:9", 1),
        lambda value: value[:-64] + "0" * 64,
        lambda value: value.replace("1:17", "1:\u0661\u0667", 1),
    ],
)
def test_what_is_forged_is_refused(alter: object) -> None:
    assert callable(alter)
    refused(alter(sign(KEY, STATEMENT, NOW)))


def test_a_later_version_says_so() -> None:
    assert "version 2" in refused("2" + sign(KEY, STATEMENT, NOW)[1:])


@given(st.text(max_size=200))
def test_any_text_is_refused_and_nothing_else_is_raised(value: str) -> None:
    refused(value)


@given(st.builds(Statement, *[st.text(st.characters(max_codepoint=255), max_size=20)] * 5))
def test_any_statement_can_be_signed(statement: Statement) -> None:
    check([KEY], sign(KEY, statement, NOW), statement, NOW)


def test_keys_from_a_setting_or_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "insitu.key"
    file.write_text("  " + KEY.decode() + "\n")
    assert needed_key({"key": KEY.decode()}, "run_switch") == KEY
    assert needed_key({"key_file": str(file)}, "run_switch") == KEY
    assert key_of({"old_key_file": str(file)}, "object_hook", "old_key") == KEY
    assert key_of({"key": KEY.decode()}, "object_hook", "old_key") is None


@pytest.mark.parametrize(
    ("conf", "says"),
    [
        ({}, "object_hook: neither 'key' nor 'key_file' is set.*openssl rand -base64 32.*run_switch.*object_hook"),
        ({"key": "x" * 31}, "'key' has 31 characters, and 32 are the least"),
        ({"key": ""}, "has 0 characters"),
        ({"key": "x" * 32, "key_file": "/f"}, "both 'key' and 'key_file'"),
        ({"key_file": "/nonexistent/key"}, "'key_file' \\(/nonexistent/key\\) cannot be read: .*No such file"),
    ],
)
def test_a_key_that_is_none_stops_the_server_s_start(conf: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        needed_key(conf, "object_hook")


def test_an_empty_file_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("\n")
    with pytest.raises(ValueError, match="has 0 characters"):
        needed_key({"key_file": str(tmp_path / "f")}, "object_hook")
