from __future__ import annotations

import gc
import threading
from collections.abc import Generator

import pytest

from acclimate.data.deal.ahead import Ahead


def threads() -> list[str]:
    """Background threads that are left, once those of objects nobody holds have had time to end."""
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith("acclimate"):
            thread.join(timeout=1)
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("acclimate")]


class Counted:
    """Numbers, how many were made, and whether the generator was closed."""

    def __init__(self, stop: int | None = None) -> None:
        self.made, self.closed, self.stop = 0, False, stop
        self.wanted = threading.Semaphore(0)

    def items(self) -> Generator[int, None, None]:
        try:
            while self.made != self.stop:
                self.made += 1
                self.wanted.release()
                yield self.made
            raise ValueError("the well is dry")
        finally:
            self.closed = True

    def wait(self, made: int) -> None:
        for _ in range(made):
            assert self.wanted.acquire(timeout=10)


def test_values_come_in_order_and_no_further_ahead_than_asked_for() -> None:
    for depth in (1, 3):
        source = Counted()
        ahead = Ahead(source.items(), depth)
        assert source.made == 0  # nothing runs before it is wanted
        assert [next(ahead) for _ in range(5)] == [1, 2, 3, 4, 5]
        source.wait(5 + depth)
        assert not source.wanted.acquire(timeout=0.05)
        assert source.made == 5 + depth
        ahead.close()
        assert source.closed
        assert threads() == []


def test_an_error_is_raised_by_the_next_it_belongs_to() -> None:
    source = Counted(stop=2)
    ahead = Ahead(source.items())
    assert next(ahead) == 1
    source.wait(2)
    assert next(ahead) == 2
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^the well is dry$"):
            next(ahead)
    ahead.close()
    assert threads() == []


def test_the_end() -> None:
    ahead = Ahead(n for n in range(2))
    assert list(ahead) == [0, 1]
    assert list(ahead) == []
    ahead.close()
    assert threads() == []


def test_closing_before_the_first_value() -> None:
    source = Counted()
    ahead = Ahead(source.items())
    ahead.close()
    assert list(ahead) == []
    assert (source.made, threads()) == (0, [])


def test_closing_reaches_what_is_behind() -> None:
    source = Counted()
    inner = Ahead(source.items())

    def doubled() -> Generator[int, None, None]:
        try:
            for value in inner:
                yield 2 * value
        finally:
            inner.close()

    outer = Ahead(doubled())
    assert [next(outer) for _ in range(3)] == [2, 4, 6]
    outer.close()
    assert source.closed
    assert threads() == []


def test_a_forgotten_one_ends_by_itself() -> None:
    source = Counted()
    ahead = Ahead(source.items())
    assert next(ahead) == 1
    source.wait(2)
    assert threads() == ["acclimate-ahead"]
    del ahead
    assert threads() == []
    assert source.closed
