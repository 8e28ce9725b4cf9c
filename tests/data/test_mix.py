from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.data.deal.mix import Mixer, resolve_shares
from acclimate.data.deal.pack import PackedSource
from acclimate.data.deal.passes import Passes
from acclimate.data.deal.shares import constant
from acclimate.types.errors import ConfigError, RunError
from tests.data.samples import section, token_corpus
from tests.fixtures.sentences import refused

ACTIVE = np.array([True])


def packed(name: str, lengths: list[int], sequence_length: int = 16, seed: int = 0) -> Passes:
    """A source whose documents have so many labels each."""
    return Passes(PackedSource(token_corpus([[0] * (n + 1) for n in lengths]), name, sequence_length, ACTIVE, seed))


def mixer(names: str = "ab", seed: int = 0) -> Mixer:
    random = np.random.default_rng(seed)
    sources = {name: packed(name, random.integers(1, 40, 20).tolist()) for name in names}
    return Mixer(sources, constant({name: 1.0 + i for i, name in enumerate(names)}))


source_strategy = st.tuples(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.floats(0.01, 1))


@settings(max_examples=80, deadline=None)
@given(st.lists(source_strategy, min_size=1, max_size=5), st.integers(2, 16))
def test_every_source_stays_within_one_row_of_its_share(sources: list[tuple[list[int], float]], length: int) -> None:
    packs = {f"s{i}": packed(f"s{i}", lengths, length) for i, (lengths, _) in enumerate(sources)}
    mix = Mixer(packs, constant({f"s{i}": share for i, (_, share) in enumerate(sources)}))
    first = max(row.trained for source in packs.values() for row in source.packed.rows(0))
    longest = first
    for _ in range(60):
        _, row = mix.next_row()
        longest = max(longest, row.trained)
        # A later epoch may pack a longer row than the first one did, which the rule went by.
        bound = longest + len(packs) * (longest - first)
        total = sum(mix.trained.values())
        for name, share in mix.shares(0).items():
            assert abs(mix.trained[name] - share * total) <= bound + 1e-5


def test_ratios_of_uneven_rows_are_exact_in_the_long_run() -> None:
    # The case in which giving rows to the largest deficit drifts 1.4 rows away.
    mix = Mixer({"a": packed("a", [1, 16, 1, 16]), "b": packed("b", [16]), "c": packed("c", [3])},
                constant({"a": 0.7, "b": 0.2, "c": 0.1}))  # fmt: skip
    for _ in range(3000):
        mix.next_row()
    total = sum(mix.trained.values())
    assert [round(mix.trained[name] / total, 2) for name in "abc"] == [0.7, 0.2, 0.1]


def test_a_source_gives_each_row_once_per_epoch() -> None:
    source = packed("a", [3, 1, 20, 4, 16, 7, 9])
    mix = Mixer({"a": source}, constant({"a": 1.0}))
    expected = [*source.packed.rows(0), *source.packed.rows(1)]
    drawn = [mix.next_row()[1] for _ in expected]
    assert drawn == expected
    assert mix.epochs == {"a": 2.0}
    assert mix.trained == {"a": 2 * source.packed.trained_tokens}


def test_ties_follow_the_configuration() -> None:
    equal = {name: packed(name, [4, 4]) for name in "zxy"}
    mix = Mixer(equal, constant(dict.fromkeys(equal, 1.0)))
    assert [mix.next_row()[0] for _ in range(6)] == list("zxyzxy")


@pytest.mark.parametrize("taken", [0, 1, 7, 50])
def test_resume_continues_the_stream(taken: int) -> None:
    straight = mixer("abc")
    before = [straight.next_row() for _ in range(taken)]
    assert len(before) == taken
    state = json.loads(json.dumps(straight.state_dict(), sort_keys=True))
    after = [straight.next_row() for _ in range(200)]
    assert min(straight.epochs.values()) > 1  # the stream crossed an epoch
    for _ in range(2):
        resumed = mixer("abc")
        resumed.next_row()  # whatever it did before
        resumed.load_state_dict(state)
        assert [resumed.next_row() for _ in range(200)] == after
        assert resumed.state_dict() == straight.state_dict()


def test_a_state_of_other_sources_or_documents_is_refused() -> None:
    with refused("The checkpoint's … sources a, b; this run … a, c.", RunError):
        mixer("ac").load_state_dict(mixer("ab").state_dict())
    state = mixer("ab").state_dict()
    smaller = Mixer({"a": packed("a", [3]), "b": packed("b", [3])}, constant({"a": 1.0, "b": 1.0}))
    with refused(f"Source 'a' had {state['a']['rows']} rows … checkpoint … and has 1 now: …", RunError):
        smaller.load_state_dict(state)


def test_shares() -> None:
    def shares(*given: float | None) -> list[float]:
        resolved = resolve_shares({f"s{i}": section(share=share) for i, share in enumerate(given)})
        return [round(share, 6) for share in resolved.values()]

    assert shares(None) == [1.0]
    assert shares(None, None) == [0.5, 0.5]
    assert shares(0.2, None, None) == [0.2, 0.4, 0.4]
    assert shares(0.2, 0.2) == [0.5, 0.5]
    assert shares(1.0, 1.0, 0.5) == [0.4, 0.4, 0.2]


def test_shares_that_leave_nothing() -> None:
    sections = {"law": section(share=0.8), "web": section(share=0.4), "a": section(), "b": section()}
    with refused("sources: … 1.2, … nothing for sources.a.share, sources.b.share; lower …", ConfigError):
        resolve_shares(sections)


SIX = {
    "notes": {"route": "domain"}, "faq": {"route": "domain"}, "chat": {"route": "domain"}, "pages": {"route": "domain"},
    "rows": {"route": "domain"}, "general": {},
}  # fmt: skip
SIZES = {"notes": 40_000, "faq": 20_000, "chat": 20_000, "pages": 10_000, "rows": 10_000, "general": 7}


def test_half_to_general_and_inside_a_route_by_size() -> None:
    six = {name: section(**given) for name, given in SIX.items()}
    found = resolve_shares(six, SIZES)
    assert found == pytest.approx({"notes": 0.2, "faq": 0.1, "chat": 0.1, "pages": 0.05, "rows": 0.05, "general": 0.5})
    unknown = resolve_shares(six, SIZES | {"faq": None})  # a stream: nobody knows its size
    assert unknown == pytest.approx(dict.fromkeys(SIX, 0.1) | {"general": 0.5})
    given = resolve_shares(six | {"general": section(share=0.25)}, SIZES)
    assert given["general"] == pytest.approx(0.25)
    assert given["notes"] == pytest.approx(0.3)
    before = resolve_shares({name: section(share=None, **own) for name, own in SIX.items()}, SIZES)
    assert before == pytest.approx(dict.fromkeys(SIX, 1 / 6))  # as runs of acclimate 0.1 have it in their config.yaml


some = st.none() | st.floats(0.01, 0.4)


@given(st.lists(st.integers(1, 10**9), min_size=6, max_size=6), some, some)
def test_shares_that_a_run_has_written_down_are_read_as_they_were(
    sizes: list[int], general: float | None, notes: float | None
) -> None:
    sections = {name: section(**given) for name, given in SIX.items()}
    sections["general"] = section() if general is None else section(share=general)
    sections["notes"] = section(route="domain") if notes is None else section(route="domain", share=notes)
    found = resolve_shares(sections, dict(zip(SIX, sizes, strict=True)))
    assert sum(found.values()) == pytest.approx(1, abs=1e-14)
    assert all(given is None or found[name] == given for name, given in (("general", general), ("notes", notes)))
    assert resolve_shares({name: section(share=share) for name, share in found.items()}) == found
