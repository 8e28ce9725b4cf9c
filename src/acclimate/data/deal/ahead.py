"""Values made in a background thread while the ones before them are used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """Iterates over ``items``, at most ``depth`` values ahead of what was taken.

    The thread starts with the first ``next``. An error raised while a value is made is raised by the ``next`` that
    would have given it. :meth:`close` ends the thread and closes ``items``; a forgotten one ends by itself, as long as
    ``items`` does not hold this object.

    Args:
        items: a generator; it runs in the thread and nowhere else.
        depth: values held ready.

    Example:
        >>> list(Ahead(n * n for n in range(4)))
        [0, 1, 4, 9]
    """

    def __init__(self, items: Generator[T, Any, Any], depth: int = 1) -> None:
        self._items = items
        self._made: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._room = threading.Semaphore(depth)
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._thread is None:
            if self._closed.is_set():
                raise StopIteration
            line = (self._items, self._made, self._room, self._closed)
            self._thread = threading.Thread(target=_work, args=line, name="acclimate-ahead", daemon=True)
            self._thread.start()
        kind, value = self._made.get()
        if kind == "value":
            self._room.release()
            found: T = value
            return found
        self._made.put((kind, value))  # whoever asks again gets the same answer
        if kind == "error":
            raise value
        raise StopIteration

    def close(self) -> None:
        """Waits for the value being made, drops what was not taken, and ends the thread."""
        self._closed.set()
        self._room.release()
        if self._thread is None:
            self._items.close()
        else:
            self._thread.join()
        self._made.put(("end", None))

    def __del__(self) -> None:
        self._closed.set()
        self._room.release()


def _work(
    items: Generator[Any, Any, Any],
    made: queue.SimpleQueue[tuple[str, Any]],
    room: threading.Semaphore,
    closed: threading.Event,
) -> None:
    try:
        while True:
            room.acquire()
            if closed.is_set():
                return
            try:
                value = next(items)
            except StopIteration:
                made.put(("end", None))
                return
            made.put(("value", value))
    except BaseException as error:  # also KeyboardInterrupt: whoever waits must hear of it
        made.put(("error", error))
    finally:
        items.close()
