"""Text at shares of trained tokens, packed for a loop of one's own."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest
import torch

import acclimate as ac
from acclimate.types.central import IGNORE
from acclimate.types.errors import AcclimateError, UsageError
from tests.fixtures.pico import pico_tokenizer
from tests.fixtures.runs import write_corpora


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpora(tmp_path_factory.mktemp("rows"))


def rows(folder: Path, **changed: object) -> ac.Mix:
    sources = {"law": ac.text(folder / "domain.jsonl", route="domain", heldout=4), "general": folder / "general.jsonl"}
    return ac.mix(sources, **({"shares": {"law": 0.25, "general": 0.75}, "cache_dir": folder / "cache"} | changed))


def learned(steps: list[list[ac.Batch]]) -> dict[str, int]:
    """Trained tokens by source."""
    found: dict[str, int] = {}
    for batch in (batch for step in steps for batch in step):
        for number, route in enumerate(batch.routes):
            count = int(((batch.route == number) & (batch.labels != IGNORE)).sum())
            found[route.source] = found.get(route.source, 0) + count
    return found


def test_steps_keep_shares_of_trained_tokens(folder: Path) -> None:
    packed = rows(folder).packed(pico_tokenizer(), length=64, tokens=256, rows=2)
    steps = list(packed)
    assert len(steps) == len(packed) > 2
    found = learned(steps)
    assert abs(found["law"] - 0.25 * sum(found.values())) <= 64
    assert all(abs(sum(learned([step]).values()) - 256) <= 128 for step in steps)
    assert max(len(batch.input_ids) for step in steps for batch in step) <= 2
    again = list(packed)  # every loop begins anew
    assert all(torch.equal(a.input_ids, b.input_ids) for a, b in zip(chain(*steps), chain(*again), strict=True))
    assert repr(packed).endswith("steps of 256 tokens: law 25%, general 75%)")


def test_a_loop_goes_on_where_it_stopped(folder: Path) -> None:
    packed = rows(folder).packed(pico_tokenizer(), length=64, tokens=256, steps=4)
    whole, states = [], []
    for step in packed:
        whole.append(step)
        states.append(packed.state_dict())
    other = rows(folder).packed(pico_tokenizer(), length=64, tokens=256, steps=4)
    other.load_state_dict(states[1])
    rest = list(other)
    assert len(rest) == 2
    assert all(torch.equal(a.labels, b.labels) for a, b in zip(chain(*whole[2:]), chain(*rest), strict=True))
    assert other.progress()["trained_tokens/law"] == learned(whole)["law"]


@pytest.mark.filterwarnings("ignore:packed. .* hold no token")
def test_shares_in_stages_and_by_a_rule(folder: Path) -> None:
    late = rows(folder, shares={"law": {0: 0, 0.5: 3}, "general": 1}).packed(
        pico_tokenizer(), length=64, tokens=250, steps=4
    )
    counts = [learned([step])["law"] for step in late]
    assert counts[:2] == [0, 0]
    assert sum(counts) == pytest.approx(0.75 * 500, abs=2 * 64)
    race = rows(folder, shares=None, mixture={"priorities": {"law": 1, "general": 16}})
    packed = race.packed(pico_tokenizer(), length=64, tokens=256)
    first, *_ = steps = list(packed)
    found = learned(steps)
    assert learned([first])["general"] >= 0.75 * 256  # of 0.94 a row less
    assert packed.progress()["epochs/law"] == packed.progress()["epochs/general"] == 1
    assert found["law"] == packed.progress()["trained_tokens/law"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mixture": {"temperature": 5}}, "shares and mixture are both given"),
        ({"shares": {"law": {0.5: 1}, "general": 1}}, "no stage of 'law' begins at 0"),
        ({"shares": {"law": {0: 1, 2: 1}, "general": 1}}, r"law\.share: 2 is no part of the run"),
        ({"shares": None, "mixture": {"ramp": {"drift": 0.1}}}, "a ramp that follows drift needs a run"),
        ({"shares": None, "mixture": {"temprature": 5}}, "Did you mean 'temperature'"),
    ],
)
def test_schedules_that_are_wrong(folder: Path, changes: dict[str, object], says: str) -> None:
    with pytest.raises(AcclimateError, match=says):
        rows(folder, **changes)


def test_shares_may_move(folder: Path) -> None:
    moving = ac.Shares({0: {"law": 0.0, "general": 1.0}, 1000: {"law": 1.0, "general": 0.0}})
    packed = rows(folder, shares=moving).packed(pico_tokenizer(), length=64, tokens=250, steps=4)
    counts = [learned([step])["law"] / 250 for step in packed]
    assert counts == pytest.approx([0.125, 0.375, 0.625, 0.875], abs=64 / 250)
    assert counts[0] < counts[-1]


def test_what_is_held_out_is_never_trained_on(folder: Path) -> None:
    packed = rows(folder).packed(pico_tokenizer(), length=64, tokens=256)
    held = {
        name: {int(d) for batch, _ in batches for d in batch.document.unique() if d >= 0}
        for name, batches in packed.heldout.items()
    }
    trained = {int(d) for step in packed for batch in step for d in batch.document.unique() if d >= 0}
    assert len(held["law"]) == 4
    assert len(held["general"]) == 20  # half of them
    assert not trained & (held["law"] | held["general"])


def test_rows_for_a_trainer_are_those_of_the_steps(folder: Path) -> None:
    packed = rows(folder).packed(pico_tokenizer(), length=64, tokens=256)
    train = packed.train
    assert {name: value.ndim for name, value in train[0].items()} == dict.fromkeys(
        ("input_ids", "labels", "position_ids", "document", "route"), 1
    )
    assert sum(int((row["labels"] != IGNORE).sum()) for row in train) == sum(learned(list(packed)).values())


def test_seldom_met_text_is_said(folder: Path) -> None:
    few = rows(folder, shares={"law": 0.02, "general": 0.98})
    with pytest.warns(UserWarning, match=r"\d+% of the steps hold no token of the route 'domain'"):
        few.packed(pico_tokenizer(), length=64, tokens=128)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"tokens": 32}, "a step of 32 tokens is less than a row of 64; give tokens=64"),
        ({"tokens": 0}, "tokens is 0; accepted: a whole number of 1 or more"),
        ({"epochs": 1.0, "steps": 3}, "epochs and steps are both given"),
        ({"epochs": 0.0}, "epochs is 0.0; accepted: a number above 0"),
    ],
)
def test_numbers_that_do_not_go_together(folder: Path, asked: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        rows(folder).packed(pico_tokenizer(), length=64, **asked)


@pytest.mark.parametrize(
    ("sources", "shares", "says"),
    [
        ({}, None, "there is no source"),
        ({"law": "a.jsonl"}, {"law": 0.5, "web": 0.5}, "differ at 'web': there is no such source"),
        ({"law": "a.jsonl", "web": "b.jsonl"}, {"law": 1.0}, "differ at 'web': it has no share"),
        ({"law": "a.jsonl"}, {"law": -1.0}, "that of 'law' is -1"),
        ({"law": ac.text("a.jsonl", feilds={"text": "body"})}, None, r"sources.law.feilds.*'fields'"),
        ({"law": "self"}, None, "'law' is to be written by the base"),
    ],
)
def test_sources_and_shares_that_are_wrong(sources: dict[str, object], shares: object, says: str) -> None:
    with pytest.raises(AcclimateError, match=says):
        ac.mix(sources, shares)


def test_a_share_belongs_to_mix() -> None:
    with pytest.raises(UsageError, match="share belongs to mix"):
        ac.text("a.jsonl", share=0.5)


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AcclimateError, match=r"sources\.law\.path: .*nowhere\.jsonl"):
        ac.mix({"law": "nowhere.jsonl"}, cache_dir=tmp_path).packed(pico_tokenizer())
