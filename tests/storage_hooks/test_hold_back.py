"""When a status is decided: at 64 KiB, or 250 ms after the first byte, and not a byte or a moment sooner."""

from insitu.storage_hooks.hold_back import BYTES, SECONDS, HoldBack


def test_nothing_is_due_while_nothing_was_written() -> None:
    held = HoldBack()
    assert held.deadline is None
    assert not held.due(1e9)
    assert held.holding


def test_64_kib_are_due_at_once() -> None:
    held = HoldBack()
    held.add(b"x" * (BYTES - 1), now=0.0)
    assert not held.due(0.0)
    held.add(b"y", now=0.0)
    assert held.due(0.0)
    assert held.release() == b"x" * (BYTES - 1) + b"y"


def test_the_first_byte_sets_the_deadline_and_later_ones_do_not_move_it() -> None:
    held = HoldBack()
    held.add(b"a", now=5.0)
    held.add(b"b", now=5.0 + SECONDS - 0.001)
    assert held.deadline == 5.0 + SECONDS
    assert not held.due(5.0 + SECONDS - 0.001)
    assert held.due(5.0 + SECONDS)


def test_what_was_let_go_is_held_no_more() -> None:
    held = HoldBack()
    held.add(b"a", now=0.0)
    assert held.release() == b"a"
    assert not held.holding
    assert held.deadline is None
    assert not held.due(1e9)
    assert held.release() == b""
