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
    would have given it. :meth:`close` ends the thread and closes ``items``.

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
        self._closed = False
        self._thread: threading.Thread | None = None

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._thread is None:
            if self._closed:
                raise StopIteration
            self._thread = threading.Thread(target=self._run, name="acclimate-ahead", daemon=True)
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
        self._closed = True
        self._room.release()
        if self._thread is None:
            self._items.close()
        else:
            self._thread.join()
        self._made.put(("end", None))

    def _run(self) -> None:
        try:
            while True:
                self._room.acquire()
                if self._closed:
                    return
                try:
                    value = next(self._items)
                except StopIteration:
                    self._made.put(("end", None))
                    return
                self._made.put(("value", value))
        except BaseException as error:  # also KeyboardInterrupt: whoever waits must hear of it
            self._made.put(("error", error))
        finally:
            self._items.close()
