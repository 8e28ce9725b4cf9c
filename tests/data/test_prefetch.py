from __future__ import annotations

import json
import threading

import pytest

from acclimate.data.deal.pack import Row
from acclimate.data.deal.prefetch import Prefetch
from acclimate.types.central import Batch
from acclimate.types.errors import DataError
from tests.data.test_ahead import threads
from tests.data.test_loader import loader, same


def test_steps_and_states_are_those_of_the_loader() -> None:
    plain, ahead = loader(), Prefetch(loader())
    assert ahead.state_dict() == plain.state_dict()
    for _ in range(12):
        assert same(ahead.next_step(), plain.next_step())
        assert ahead.state_dict() == plain.state_dict()
        progress = ahead.progress()
        assert progress.pop("data_seconds") >= 0
        assert progress == plain.progress()
    ahead.close()
    assert threads() == []


def test_the_next_step_is_made_while_this_one_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, made = loader(), threading.Semaphore(0)
    original = plain.prepared

    def prepared() -> list[Batch]:
        batches = original()
        made.release()
        return batches

    monkeypatch.setattr(plain, "prepared", prepared)
    ahead = Prefetch(plain)
    ahead.next_step()
    for _ in range(2):
        assert made.acquire(timeout=10)
    assert plain.step == 2
    assert ahead.state_dict()["step"] == 1
    ahead.close()


def test_resume_and_closing_lose_no_step() -> None:
    plain = loader()
    steps = [plain.next_step() for _ in range(9)]
    ahead = Prefetch(loader())
    for batches in steps[:3]:
        assert same(ahead.next_step(), batches)
    state = json.loads(json.dumps(ahead.state_dict()))
    ahead.close()  # a step was made and not handed out
    for batches in steps[3:6]:
        assert same(ahead.next_step(), batches)
    ahead.load_state_dict(state)
    assert ahead.state_dict() == state
    for batches in steps[3:]:
        assert same(ahead.next_step(), batches)
    ahead.close()
    assert threads() == []


def test_an_error_belongs_to_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = loader()
    steps = [plain.next_step() for _ in range(4)]
    broken = loader()
    original, taken = broken.mixer.next_row, []

    def next_row() -> tuple[str, Row]:
        if broken.step == 4:
            taken.append(1)
            raise DataError("a.jsonl:7: this is not JSON.")
        return original()

    monkeypatch.setattr(broken.mixer, "next_row", next_row)
    ahead = Prefetch(broken)
    for batches in steps[:3]:
        assert same(ahead.next_step(), batches)
    state = ahead.state_dict()
    with pytest.raises(DataError, match=r"^a\.jsonl:7: this is not JSON\.$"):
        ahead.next_step()
    assert taken == [1]
    assert ahead.state_dict() == state
    ahead.close()
    assert threads() == []


def test_a_forgotten_loader_leaves_no_thread() -> None:
    ahead = Prefetch(loader())
    ahead.next_step()
    del ahead
    assert threads() == []
