"""Leases: who may go on holding what."""

import pytest

from kvbm_events.schema.errors import TooManyRequests
from kvbm_nats.service.leases import MAX_CLIENTS, Leases


def test_a_silent_client_leaves_its_requests():
    leases = Leases(30, (), 0)
    leases.renew("a", 0)
    leases.note("r1", "a", is_open=True)
    leases.note("r2", "a", is_open=True)
    assert leases.expire(29.9) == {}
    assert leases.expire(30) == {"a": ["r1", "r2"]}
    assert leases.expire(1000) == {}


def test_asking_renews_the_lease():
    leases = Leases(30, (), 0)
    leases.renew("a", 0)
    leases.note("r1", "a", is_open=True)
    leases.renew("a", 20)
    assert leases.expire(49) == {}
    assert leases.expire(50) == {"a": ["r1"]}


def test_a_request_belongs_to_the_client_that_named_it_last():
    leases = Leases(30, (), 0)
    leases.renew("a", 0)
    leases.renew("b", 20)
    leases.note("r1", "a", is_open=True)
    leases.note("r1", "b", is_open=True)
    assert leases.expire(30) == {"a": []}
    assert leases.expire(50) == {"b": ["r1"]}


def test_a_request_that_is_over_is_nobodys():
    leases = Leases(30, (), 0)
    leases.renew("a", 0)
    leases.note("r1", "a", is_open=True)
    leases.note("r1", "a", is_open=False)
    assert leases.expire(30) == {"a": []}


def test_recovered_requests_have_one_period_to_be_named():
    leases = Leases(30, ["r1", "r2"], 100)
    leases.renew("a", 110)
    leases.note("r2", "a", is_open=True)
    assert leases.expire(129) == {}
    assert leases.expire(130) == {"": ["r1"]}
    assert leases.expire(140) == {"a": ["r2"]}


def test_time_in_which_nobody_could_be_heard_does_not_count():
    leases = Leases(30, ["r0"], 0)
    leases.renew("a", 0)
    leases.extend(40)
    assert leases.expire(69) == {}
    assert set(leases.expire(70)) == {"a", ""}


def test_the_limit_of_clients_spares_those_who_have_a_lease():
    leases = Leases(30, (), 0)
    for number in range(MAX_CLIENTS):
        leases.renew(f"c{number}", number / MAX_CLIENTS)
    with pytest.raises(TooManyRequests, match=str(MAX_CLIENTS)):
        leases.renew("one more", 1)
    leases.renew("c0", 1)
    assert leases.clients == MAX_CLIENTS
    leases.expire(30.5)
    leases.renew("one more", 30.5)
