from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acclimate.data.prepare.ranges import concatenated, sums
from acclimate.data.prepare.store import Strings, key_of


@given(st.lists(st.text(max_size=5), max_size=8))
def test_strings_are_a_list(texts: list[str]) -> None:
    raw = [text.encode("utf-8", "surrogatepass") for text in texts]
    texts = [text for text in texts if text.encode("utf-8", "replace").decode() == text]
    raw = [text.encode() for text in texts]
    strings = Strings(
        np.frombuffer(b"".join(raw), dtype=np.uint8) if any(raw) else np.empty(0, dtype=np.uint8),
        np.cumsum([len(text) for text in raw]).astype(np.int64),
    )
    assert list(strings) == texts
    assert strings[1:] == texts[1:]
    if texts:
        assert strings[-1] == texts[-1]
        backwards = np.arange(len(texts))[::-1]
        assert list(strings.take(backwards)) == texts[::-1]
        assert list(strings.take(backwards).take(np.array([0]))) == texts[-1:]
    with pytest.raises(IndexError):
        strings[len(texts)]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), max_size=9))
def test_ranges_are_those_of_a_loop(pairs: list[tuple[int, int]]) -> None:
    starts, lengths = np.array([p[0] for p in pairs], dtype=np.int64), np.array([p[1] for p in pairs], dtype=np.int64)
    assert concatenated(starts, lengths).tolist() == [i for start, n in pairs for i in range(start, start + n)]
    values = np.arange(15) ** 2
    assert sums(values, starts, starts + lengths).tolist() == [int(values[s : s + n].sum()) for s, n in pairs]


def test_a_key_follows_every_setting() -> None:
    keys = {key_of(settings) for settings in ([1], [2], ["1"], {"a": 1, "b": 2}, {"a": 2, "b": 1})}
    assert len(keys) == 5
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
