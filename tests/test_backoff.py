"""How waits grow with failures and are forgotten, and when requests are spaced."""

from __future__ import annotations

import random

import pytest

from kong_ai_tracing.backoff import Backoff


def after(*ends: bool) -> Backoff:
    """A back-off that has seen requests pass or fail."""
    backoff = Backoff()
    for passed in ends:
        backoff.passed() if passed else backoff.failed()
    return backoff


def test_an_outage_alone_spaces_nothing() -> None:
    """A server that was away and is back gets what has waited, as fast as it takes it."""
    assert not after(*[False] * 20).is_spaced
    assert not after(*[False] * 20, True, True).is_spaced


def test_a_server_that_takes_some_and_refuses_some_gets_one_at_a_time() -> None:
    """It has too much to do: with a wait after each request, also after those that pass."""  # covers SNK-12
    backoff = after(*[False] * 5, True, False)
    assert backoff.is_spaced
    assert backoff.ceiling_seconds > 8


def test_spaced_requests_come_faster_until_they_need_not_be_spaced() -> None:
    """When nothing is refused any more, it takes a minute or two to be as free as before."""
    backoff = after(*[False] * 7, True, False)
    seconds = 0.0
    while backoff.is_spaced:
        backoff.passed()
        seconds += backoff.ceiling_seconds / 2
    assert 10 < seconds < 120


@pytest.mark.parametrize("share", [0.02, 0.05])
def test_now_and_then_a_failure_spaces_nothing_for_long(share: float) -> None:
    """A balancer with one bad member is no overload: what it costs is the repeated request."""
    dice = random.Random(3)
    backoff = Backoff()
    spaced = 0
    for _ in range(5_000):
        backoff.passed() if dice.random() > share else backoff.failed()
        spaced += backoff.is_spaced
    assert spaced < 250


def test_hosts_with_unequal_shares_come_to_equal_ones() -> None:
    """The rate grows evenly and is halved by a refusal: who has more loses more."""  # covers SNK-12
    dice = random.Random(4)
    hosts = [after(*[False] * failures, True, False) for failures in (3, 3, 7, 7)]
    due = [0.0] * len(hosts)
    sent = [0] * len(hosts)
    free_at = now = 0.0
    while now < 4 * 3_600:
        host = min(range(len(hosts)), key=lambda each: due[each])
        now = due[host]
        if now >= free_at:  # the server takes one each three seconds
            free_at = now + 3
            hosts[host].passed()
            sent[host] += 1
        else:
            hosts[host].failed()
        due[host] = now + hosts[host].ceiling_seconds * dice.random() + 0.01
    assert min(sent) > 0.5 * max(sent)


def test_slow_answers_space_requests_a_little() -> None:
    """A queue that others make is shortened by all; who is just slow is still asked every few seconds."""
    backoff = Backoff()
    for _ in range(50):
        backoff.slowed()
    assert backoff.is_spaced
    assert backoff.ceiling_seconds == 8
