"""How many requests at once: few at first, more while all is well, half after a failure."""

from __future__ import annotations

from kong_ai_tracing.pace import Pace


def answered(pace: Pace, count: int, seconds: float = 0.1) -> Pace:
    for _ in range(count):
        pace.succeeded(seconds)
    return pace


def test_it_begins_with_two_and_reaches_the_limit() -> None:
    """Each answer of the beginning adds one; a limit of one is a limit."""
    pace = Pace(8)
    assert pace.allowed == 2
    assert answered(pace, 3).allowed == 5
    assert answered(Pace(1), 9).allowed == 1
    assert answered(pace, 50).allowed == 8


def test_after_a_failure_it_grows_slowly_above_half_of_what_it_was() -> None:
    """One at first, quickly up to the half, from there by one for each round."""
    pace = answered(Pace(8), 50)
    pace.failed()
    assert pace.allowed == 1
    assert answered(pace, 3).allowed == 4
    assert answered(pace, 3).allowed == 4
    assert answered(pace, 2).allowed == 5


def test_slow_answers_shorten_the_queue() -> None:
    """A server that needs three times as long as it did has too much to do."""  # covers SNK-09
    pace = answered(Pace(16), 50)
    assert answered(pace, 60, seconds=4.0).allowed < 8


def test_answers_below_a_second_are_never_slow() -> None:
    """Small bodies are answered in milliseconds, large ones in tenths of a second."""
    pace = answered(Pace(8), 50, seconds=0.002)
    assert answered(pace, 50, seconds=0.5).allowed == 8


def test_a_destination_may_be_slower_for_good() -> None:
    """What was once the quickest answer is forgotten."""
    pace = answered(Pace(8), 50, seconds=0.5)
    assert answered(pace, 400, seconds=3.0).allowed == 8


def test_slow_answers_to_a_single_request_are_told() -> None:
    """Then the queue is made by others, and fewer requests at once cannot shorten it."""  # covers SNK-09
    pace = answered(Pace(4), 50)
    assert not pace.succeeded(0.1)
    told = [pace.succeeded(4.0) for _ in range(40)]
    assert pace.allowed == 1
    assert told[-1]
    assert not told[0]


def test_a_single_request_that_is_merely_slow_does_not_stand_in_a_queue() -> None:
    """A destination that became slower is sent one request after the other, without waits between."""
    pace = Pace(8)
    pace.succeeded(0.1)
    assert not any(pace.succeeded(2.0) for _ in range(50))
    assert pace.allowed == 1
