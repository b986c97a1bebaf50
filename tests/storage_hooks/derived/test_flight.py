"""One launch for all who ask at the same time, in a real hub."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swift.common.concurrency import sleep, spawn

from insitu.storage_hooks.derived.flight import ALONE, LEAD, STORED, Flights, Lead


@pytest.fixture
def flights() -> Flights[str]:
    return Flights()


def wait_all(flights: Flights[str], count: int) -> list[Any]:
    """So many green threads that wait in a flight that is under way."""
    seats = [flights.board("k") for _ in range(count)]
    assert not any(seat.leads for seat in seats)
    threads = [spawn(seat.wait, 30) for seat in seats]
    sleep(0)
    return threads


def test_two_hundred_who_come_at_once_make_one_leader(flights: Flights[str]) -> None:
    leader = flights.board("k")
    assert leader.leads
    threads = wait_all(flights, 199)
    leader.land(STORED)
    assert [thread.wait() for thread in threads] == [STORED] * 199
    assert len(flights) == 0
    assert flights.board("k").leads


def test_other_keys_fly_alone(flights: Flights[str]) -> None:
    assert flights.board("a").leads
    assert flights.board("b").leads


def test_a_problem_is_everybodys(flights: Flights[str]) -> None:
    leader = flights.board("k")
    threads = wait_all(flights, 3)
    leader.land("exit code 3")
    assert [thread.wait() for thread in threads] == ["exit code 3"] * 3


def test_what_cannot_be_kept_is_run_by_everybody(flights: Flights[str]) -> None:
    leader = flights.board("k")
    threads = wait_all(flights, 3)
    leader.land(ALONE)
    assert [thread.wait() for thread in threads] == [ALONE] * 3


def test_when_the_leader_has_nothing_the_first_who_waits_leads_and_the_others_wait_on(flights: Flights[str]) -> None:
    leader = flights.board("k")
    seats = [flights.board("k") for _ in range(3)]
    threads = [spawn(seat.wait, 30) for seat in seats]
    sleep(0)
    leader.land(None)
    assert threads[0].wait() is LEAD
    assert [seat.leads for seat in seats] == [True, False, False]
    seats[0].leave()
    assert threads[1].wait() is LEAD
    seats[1].land(STORED)
    assert threads[2].wait() is STORED
    assert len(flights) == 0


def test_who_looked_too_early_is_told(flights: Flights[str]) -> None:
    """Between its look and its boarding another flight of the same key came and ended."""
    leader = flights.board("k")
    before = flights.stored
    assert not flights.stored_since("k", before)
    leader.land(STORED)
    assert flights.board("k").leads
    assert flights.stored_since("k", before)
    assert not flights.stored_since("k", flights.stored)
    assert not flights.stored_since("other", before)


def test_a_second_word_counts_for_nothing(flights: Flights[str]) -> None:
    leader = flights.board("k")
    leader.land(STORED)
    after = flights.board("k")
    leader.land("late")
    leader.leave()
    assert after.leads
    assert len(flights) == 1


def test_who_has_waited_long_enough_goes_and_the_others_stay(flights: Flights[str]) -> None:
    leader = flights.board("k")
    impatient, patient = flights.board("k"), flights.board("k")
    thread = spawn(patient.wait, 30)
    assert impatient.wait(0.01) is ALONE
    leader.land(None)
    assert thread.wait() is LEAD


def test_whoever_is_interrupted_while_it_waits_has_left(flights: Flights[str]) -> None:
    class Gone(BaseException):
        pass

    leader = flights.board("k")
    first, second = flights.board("k"), flights.board("k")
    threads = [spawn(first.wait, 30), spawn(second.wait, 30)]
    sleep(0)
    threads[0].kill(Gone())
    with pytest.raises(Gone):
        threads[0].wait()
    leader.land(None)
    assert threads[1].wait() is LEAD


def test_the_lead_is_not_lost_on_one_that_goes_in_the_very_moment_it_gets_it(flights: Flights[str]) -> None:
    class Gone(BaseException):
        pass

    leader = flights.board("k")
    first, second = flights.board("k"), flights.board("k")
    threads = [spawn(first.wait, 30), spawn(second.wait, 30)]
    sleep(0)
    leader.land(None)  # the first has the lead, and has not run since
    threads[0].kill(Gone())
    with pytest.raises(Gone):
        threads[0].wait()
    assert threads[1].wait() is LEAD


@given(st.lists(st.sampled_from(["board", "stored", "problem", "nothing", "leave"]), max_size=40), st.data())
def test_there_is_one_leader_as_long_as_anyone_is_aboard(steps: list[str], data: st.DataObject) -> None:
    flights: Flights[str] = Flights()
    aboard: list[Any] = []
    for step in steps:
        if step == "board":
            aboard.append(flights.board("k"))
        elif aboard:
            leader = next(seat for seat in aboard if seat.leads)
            if step == "leave":
                seat = data.draw(st.sampled_from(aboard))
                seat.leave()
                aboard.remove(seat)
            else:
                leader.land({"stored": STORED, "problem": "p", "nothing": None}[step])
                aboard.remove(leader)
                if step != "nothing":
                    assert all(seat.wait(30) == (STORED if step == "stored" else "p") for seat in aboard)
                    aboard.clear()
        assert sum(seat.leads for seat in aboard) == (1 if aboard else 0)
        assert len(flights) == (1 if aboard else 0)
    for seat in aboard:
        if seat.leads and seat._news.ready():
            assert isinstance(seat.wait(30), Lead)
