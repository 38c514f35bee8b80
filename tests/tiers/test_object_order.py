"""Writes and deletions of one object never meet, in whatever order they are asked for."""

import threading

import pytest
import structlog.testing

from kvbm_tiers.errors import ObjectFailed
from kvbm_tiers.objects.order import Order

PATIENCE_S = 30.0


class Deleter:
    """Deletes when it is let."""

    def __init__(self):
        self.asked, self.go = threading.Event(), threading.Event()
        self.batches, self.failures = [], 0

    def __call__(self, keys):
        self.batches.append(list(keys))
        self.asked.set()
        assert self.go.wait(PATIENCE_S)
        if self.failures:
            self.failures -= 1
            raise ObjectFailed("HTTP 500")


@pytest.fixture
def deleter():
    return Deleter()


@pytest.fixture
def order(deleter):
    order = Order(deleter, batch_max=3, patience_s=PATIENCE_S)
    yield order
    deleter.go.set()
    order.close(PATIENCE_S)


def test_what_is_forgotten_is_deleted_in_batches_and_once(order, deleter):
    deleter.go.set()
    order.forget("abcde")
    order.forget("ab")
    assert order.flush(PATIENCE_S)
    assert sorted("".join(map("".join, deleter.batches))[:5]) == list("abcde")
    assert max(map(len, deleter.batches)) <= 3


def test_a_write_takes_the_place_of_a_deletion_that_has_not_begun(order, deleter):
    order.forget("x")
    assert deleter.asked.wait(PATIENCE_S)
    order.forget("ab")
    with order.writing("a"):
        pass
    deleter.go.set()
    assert order.flush(PATIENCE_S)
    assert deleter.batches == [["x"], ["b"]]


def test_a_write_waits_for_a_deletion_that_has_begun(order, deleter):
    order.forget("a")
    assert deleter.asked.wait(PATIENCE_S)
    written = threading.Event()

    def write():
        with order.writing("a"):
            written.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert not written.wait(0.1)
    deleter.go.set()
    assert written.wait(PATIENCE_S)
    writer.join()
    assert deleter.batches == [["a"]]


def test_a_deletion_waits_for_a_write_that_is_under_way(order, deleter):
    deleter.go.set()
    order.begin("a")
    order.forget("ab")
    assert deleter.asked.wait(PATIENCE_S)
    assert deleter.batches == [["b"]]
    order.end("a")
    assert order.flush(PATIENCE_S)
    assert deleter.batches == [["b"], ["a"]]


def test_a_second_write_of_an_object_is_refused_until_the_first_has_ended(order):
    order.begin("a")
    with pytest.raises(ObjectFailed, match="an earlier write"):
        order.begin("a")
    order.end("a")
    with order.writing("a"):
        pass


def test_a_deletion_that_does_not_end_is_not_waited_for_for_ever(deleter):
    order = Order(deleter, batch_max=3, patience_s=0.05)
    order.forget("a")
    assert deleter.asked.wait(PATIENCE_S)
    with pytest.raises(ObjectFailed, match="does not end"):
        order.begin("a")
    deleter.go.set()
    order.close(PATIENCE_S)


def test_what_could_not_be_deleted_is_told_and_left(order, deleter):
    deleter.failures = 1
    deleter.go.set()
    with structlog.testing.capture_logs() as logs:
        order.forget("ab")
        assert order.flush(PATIENCE_S)
        order.close(PATIENCE_S)
    assert order.left == 2
    assert [line["why"] for line in logs if "why" in line] == ["HTTP 500"]


def test_closing_leaves_what_is_not_begun_and_says_so(deleter):
    order = Order(deleter, batch_max=1, patience_s=PATIENCE_S)
    order.forget("abc")
    assert deleter.asked.wait(PATIENCE_S)
    with structlog.testing.capture_logs() as logs:
        order.close(0.05)
    assert order.left == 3
    assert [line["objects"] for line in logs] == [3]
    deleter.go.set()


def test_too_many_deletions_are_left_and_said_so(deleter):
    order = Order(deleter, batch_max=1, patience_s=PATIENCE_S, waiting_max=2)
    order.forget("x")
    assert deleter.asked.wait(PATIENCE_S)
    with structlog.testing.capture_logs() as logs:
        order.forget("abcd")
    assert [(line["objects"], line["why"]) for line in logs] == [(2, "2 wait already")]
    deleter.go.set()
    assert order.flush(PATIENCE_S)
    assert deleter.batches == [["x"], ["a"], ["b"]]
    order.close(PATIENCE_S)
    assert order.left == 2
