"""The stream between object server and proxy: what goes in comes out, whatever the pieces; nothing else passes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.sandbox.outcome import LimitHit, Outcome, Usage
from insitu.storage_hooks.frames import (
    BEAT,
    DATA,
    END,
    HEADER_SIZE,
    MALFORMED,
    MAX_PAYLOAD,
    META,
    WHOLE,
    Deframer,
    Frame,
    FrameError,
    encode,
    encode_end,
    unpack_outcome,
)

OUTCOME = Outcome(
    end="limit",
    limit=LimitHit("wall", 10.0, 10.02),
    usage=Usage(fuel=7, wall_us=10_020_000, bytes_out=3),
    stderr=b"half a \xe2\x82",
)

frames = st.lists(
    st.one_of(
        st.just(Frame(BEAT, b"")),
        st.builds(Frame, st.sampled_from([META, MALFORMED, DATA, WHOLE, END]), st.binary(min_size=1, max_size=200)),
    ),
    max_size=8,
)


@given(frames, st.integers(1, 64))
def test_frames_survive_any_cut(sent: list[Frame], size: int) -> None:
    stream = b"".join(encode(*frame) for frame in sent)
    deframer = Deframer()
    got = [f for at in range(0, len(stream), size) for f in deframer.feed(stream[at : at + size])]
    assert got == sent
    assert deframer.clean


@given(frames)
def test_a_reader_that_asks_for_what_is_wanted_never_asks_beyond_a_frame(sent: list[Frame]) -> None:
    deframer = Deframer()
    for frame in sent:
        stream = encode(*frame)
        got: list[Frame] = []
        while stream:
            assert deframer.wanted <= len(stream)
            piece, stream = stream[: deframer.wanted], stream[deframer.wanted :]
            got += deframer.feed(piece)
        assert got == [frame]
        assert deframer.wanted == HEADER_SIZE


def test_an_outcome_survives_the_way() -> None:
    [frame] = Deframer().feed(encode_end(OUTCOME))
    assert frame.kind == END
    assert unpack_outcome(frame.payload) == OUTCOME


@pytest.mark.parametrize(
    "stream",
    [b"plain bytes of an object", b"z\0\0\0\0\0\0\1y", DATA + b"\0\0\0" + (MAX_PAYLOAD + 1).to_bytes(4, "big")],
    ids=["no frame at all", "unknown kind", "too long"],
)
def test_what_is_no_frame_is_refused(stream: bytes) -> None:
    with pytest.raises(FrameError, match="no frame begins"):
        list(Deframer().feed(stream))


@pytest.mark.parametrize("cut", range(1, 12))
def test_half_a_frame_is_not_clean(cut: int) -> None:
    deframer = Deframer()
    assert list(deframer.feed(encode(DATA, b"abcd")[:cut])) == []
    assert not deframer.clean


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x80", b"\x01", b"\x81\xa3end\xa4okay"])
def test_what_is_no_outcome_is_refused(payload: bytes) -> None:
    with pytest.raises(FrameError, match="outcome"):
        unpack_outcome(payload)
