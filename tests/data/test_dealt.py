"""What a step expects: the pull of a term is its weight at any share, row and batch length."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.build.schedule import Asked, over_run
from acclimate.data.deal.dealt import Dealt
from acclimate.data.deal.loader import Loader
from acclimate.data.deal.mix import Mixer
from acclimate.data.deal.pack import PackedSource
from acclimate.data.deal.passes import Passes
from acclimate.data.deal.shares import constant, stages
from acclimate.data.prepare.tokens import TokenCorpus
from acclimate.objective.cross_entropy import CrossEntropy
from acclimate.objective.objective import Objective
from acclimate.types.central import IGNORE, Route, RoutedTerm
from acclimate.verbs.validate import validate
from tests.fixtures.runs import config

SIZES = [(512, 512), (512, 2048), (2048, 2048), (2048, 4096)]
SHARES = [0.05, 0.09, 0.11, 0.15, 0.25, 0.5]


def corpus(route: int, documents: int = 1500, longest: int = 3000, seed: int = 0) -> TokenCorpus:
    """Documents of lognormal length around 100, all of whose tokens are learned."""
    lengths = np.exp(np.random.default_rng([seed, route]).normal(4.6, 0.7, documents)).clip(4, longest)
    ends = np.cumsum(lengths.astype(np.int64))
    starts = np.append(0, ends[:-1])
    nothing = np.zeros(int(ends[-1]), dtype=np.int32)
    return TokenCorpus(
        ids=nothing,
        routes=nothing.astype(np.int16),
        token_bytes=nothing,
        bounds=np.stack([starts, ends], 1),
        labels=(ends - starts - 1)[:, None].astype(np.int32),
        where=[""] * documents,
        table=np.array([route]),
    )


class Stream:
    """A run's stream and objective, without a model: by default a domain and general sources of equal share.

    Args:
        share: of the general sources together.
        terms: routes of each term.
    """

    def __init__(
        self, length: int, batch: int, share: float, general: int = 1, count: str = "domain", average: str = "token",
        terms: tuple[tuple[str, ...], ...] = (("domain",), ("general",)), **documents: Any,
    ) -> None:  # fmt: skip
        names = ["domain", *(f"general{i}" for i in range(general))]
        routes = [Route(name, "general" if name != "domain" else name) for name in names]
        objective = Objective([RoutedTerm("ce", CrossEntropy(), to) for to in terms], routes, {}, average=average)
        self.shares = {name: 1 - share if name == "domain" else share / general for name in names}
        corpora = {name: corpus(i, **documents) for i, name in enumerate(names)}
        step = batch if count == "all" else batch / self.shares[count]
        tokens = {name: part * step for name, part in self.shares.items()}
        counted = names if count == "all" else [count]
        selects = objective.selects.numpy()
        self.dealt = Dealt(corpora, tokens, counted, selects, [route.name for route in routes], length)
        self.rows = self.dealt.row_lengths()
        self.objective = replace(objective, expected=tuple(self.dealt.denominators(average)))
        packed = {n: PackedSource(c, n, length, selects.any(0), 0, row_length=self.rows[n]) for n, c in corpora.items()}
        mixer = Mixer({name: Passes(source) for name, source in packed.items()}, constant(self.shares))
        self.loader = Loader(mixer, count, batch, 8, np.arange(len(names)))

    def step(self) -> torch.Tensor:
        """[terms] what the tokens of a step weigh in each term together, of a nominal 1."""
        batches = self.loader.next_step()
        units = replace(self.objective, expected=None).step(batches).counts
        return units / self.objective.step(batches).counts.clamp_min(1e-9)

    def pulls(self, steps: int) -> torch.Tensor:
        return torch.stack([self.step() for _ in range(steps)])


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(("length", "batch"), SIZES)
def test_the_pull_of_a_term_is_its_weight(length: int, batch: int, share: float) -> None:
    stream = Stream(length, batch, share, longest=800)
    steps = max(30, math.ceil(15 * min(length, 800) / stream.dealt.tokens["general0"]))  # a row more or less is little
    pull = stream.pulls(steps)
    assert pull.mean(0).tolist() == pytest.approx([1, 1], abs=0.1)
    assert (pull[:, 0] == 1).all()  # the counted source has its own count
    predicted = stream.dealt.absent(stream.rows, steps, 0)
    assert predicted[0] == 0
    assert predicted[1] == pytest.approx((pull[:, 1] == 0).double().mean().item(), abs=0.1)


def test_where_a_step_expects_two_rows_nothing_changes() -> None:
    """Own counts and full rows, as ever: a ratio of 1:1 with the default sizes, in one source or two."""
    for general in (1, 2):
        stream = Stream(512, 2048, 0.5, general)
        assert stream.objective.expected == (None, None)
        assert set(stream.rows.values()) == {512}
        assert (stream.pulls(40) == 1).all()
    assert Stream(512, 1024, 0.5, 2).objective.expected == (None, None)  # two rows of the route, one of each source
    assert Stream(512, 1023, 0.5, 2).objective.expected == (None, pytest.approx(1023))


def test_a_source_alone_divides_by_its_own_count() -> None:
    for count in ("domain", "all"):
        alone = Stream(512, 512, 0.0, general=0, terms=(("domain",),), count=count)
        both = Stream(512, 512, 0.5, terms=(("domain", "general"),), count=count)
        assert alone.rows == {"domain": 512}
        for stream in (alone, both):
            assert stream.objective.expected == (None,)
            assert (stream.pulls(20) == 1).all()


def test_replay_has_the_rows_of_mol() -> None:
    mol, replay = Stream(512, 2048, 0.1), Stream(512, 2048, 0.1, terms=(("domain", "general"),))
    assert replay.rows == mol.rows
    assert replay.objective.expected == (None,)


@pytest.mark.parametrize("count", ["domain", "all"])
def test_sequences_are_expected_in_pieces(count: str) -> None:
    stream = Stream(512, 512, 0.1, average="sequence", count=count, documents=40)  # few, so that all are read
    expected = stream.objective.expected[1]
    tokens = stream.dealt.tokens["general0"]
    assert expected is not None
    assert 0 < expected < tokens / 50
    steps = math.ceil(15 * 512 / tokens)
    assert stream.pulls(steps).mean(0).tolist() == pytest.approx([1, 1], abs=0.1)


def test_short_rows_cut_no_document() -> None:
    stream = Stream(512, 512, 0.05)
    assert stream.rows == {"domain": 512, "general0": 13}
    (full, short) = (PackedSource(corpus(1), "g", 512, np.array([True, True]), 0, row_length=n) for n in (512, 13))
    assert [list(x) for x in (full.document, full.pieces.start, full.pieces.length)] == [
        list(x) for x in (short.document, short.pieces.start, short.pieces.length)
    ]
    rows = short.rows(0)
    assert max(row.length for row in rows) == 512
    assert all(row.length <= 13 or len(row.pieces) == 1 for row in rows)
    assert sum(row.trained for row in rows) == full.trained_tokens


@settings(max_examples=25, deadline=None)
@given(st.floats(0.02, 0.95), st.integers(1, 3), st.sampled_from(["domain", "all"]), st.integers(64, 400))
def test_shares_stay_exact_and_a_resumed_stream_goes_on(share: float, general: int, count: str, batch: int) -> None:
    def stream() -> Stream:
        return Stream(64, batch, share, general, count, documents=60, longest=200)

    one = stream()
    one.pulls(5)
    total = sum(one.loader.mixer.trained.values())
    for name, part in one.shares.items():
        assert abs(one.loader.mixer.trained[name] - part * total) <= 64 + 1e-6
    state = json.loads(json.dumps(one.loader.state_dict()))
    after = one.pulls(5)
    other = stream()
    other.loader.load_state_dict(state)
    assert torch.equal(other.pulls(5), after)


def test_all_ranks_count_the_whole_step() -> None:
    """Each holds its part of the same rows."""
    alone = Stream(64, 200, 0.2, documents=60, longest=200)
    parts = [Stream(64, 200, 0.2, documents=60, longest=200) for _ in range(2)]
    for rank, part in enumerate(parts):
        part.loader.rank, part.loader.world_size = rank, 2
    for _ in range(4):
        whole = sum(int((batch.labels != IGNORE).sum()) for batch in alone.loader.next_step())
        assert whole == sum(int((b.labels != IGNORE).sum()) for part in parts for b in part.loader.next_step())


@pytest.mark.parametrize(("share", "told"), [(0.05, True), (0.5, False)])
@pytest.mark.parametrize("objective", [{}, {"normalise": "all", "average": "sequence"}])
def test_validate_names_a_term_that_many_steps_lack(
    objective: dict[str, str], share: float, told: bool, pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    found = {"domain": {"path": str(corpora / "domain.jsonl"), "share": 1 - share, "heldout": 4},
             "general": {"path": str(corpora / "general.jsonl"), "share": share, "heldout": 4}}  # fmt: skip
    sentences = validate(config(pico_folder, corpora, tmp_path, sources=found, objective=objective)).warnings
    absent = [sentence for sentence in sentences if "is absent from about" in sentence]
    assert len(absent) == told
    for sentence in absent:
        assert sentence.startswith("reverse_kl on general is absent from about ")
        assert "budget.batch_tokens 128" in sentence


def test_the_pull_stays_a_term_s_weight_while_shares_move() -> None:
    """Where a step asks for less than a row, the term pulls in proportion; with a row or more, by its weight."""
    length, batch, steps = 256, 512, 240
    stream = Stream(length, batch, 0.2, longest=200)
    knots = {0.0: {"domain": 0.95, "general0": 0.05}, 0.5: {"domain": 0.7, "general0": 0.3}}
    shares = stages(over_run(knots, batch * steps, "domain"))
    asked, general = Asked(shares, "domain", batch), corpus(1, longest=200)
    dealt = replace(stream.dealt, tokens=asked.mean(steps))
    rows, expectation = dealt.row_lengths(), dealt.expectation("token")
    floor = rows["general0"] * 1.0  # each position of a row is learned
    assert asked(0)["general0"] < floor < asked(steps - 1)["general0"]
    stream.objective = replace(stream.objective, expected=lambda before: expectation(asked(before), rows))
    active = np.ones(2, dtype=bool)
    sources = {"domain": (corpus(0, longest=200), length), "general0": (general, rows["general0"])}
    packed = {n: PackedSource(c, n, length, active, 0, row_length=most) for n, (c, most) in sources.items()}
    data = Loader(Mixer({n: Passes(one) for n, one in packed.items()}, shares), "domain", batch, 8, np.arange(2))
    pulls = []
    for before in range(steps):
        batches = data.next_step()
        own = replace(stream.objective, expected=None).step(batches).counts
        pulls.append(own / stream.objective.step(batches, before=before).counts.clamp_min(1e-9))
    first, then = torch.stack(pulls[: steps // 2]).mean(0), torch.stack(pulls[steps // 2 :]).mean(0)
    assert first.tolist() == pytest.approx([1, asked(0)["general0"] / floor], rel=0.15)
    assert then.tolist() == pytest.approx([1, 1], abs=0.1)
    absent = dealt.absent(rows, steps, 0, [asked(before) for before in range(steps)])
    assert absent == pytest.approx([0, (torch.stack(pulls)[:, 1] == 0).double().mean().item()], abs=0.05)


def test_a_step_that_asks_for_none_of_a_term_is_not_one_without_it() -> None:
    stream = Stream(256, 512, 0.2, longest=200)
    shares = stages({0: {"domain": 1, "general0": 0}, 40_000: {"domain": 0.5, "general0": 0.5}})
    asked = [Asked(shares, "domain", 512)(before) for before in range(200)]
    assert stream.dealt.absent(stream.rows, 200, 0, asked)[1] <= 0.02
