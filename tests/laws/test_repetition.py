"""Repeated text, forgetting, facts, and batches: planted data and published constants."""

from __future__ import annotations

import numpy as np
import pytest

from acclimate.laws.fit import fit
from acclimate.laws.forms.forgetting import forgetting
from acclimate.laws.forms.infusion import peak
from acclimate.laws.forms.repetition import PUBLISHED, another_epoch, effective_epochs, effective_tokens, repetition
from acclimate.laws.law import Law
from acclimate.laws.noise_scale import noise_scale
from acclimate.types.errors import UsageError
from tests.laws.planted import PLANTED

EPOCHS = np.array([2, 4, 8, 16, 40])


def test_effective_epochs() -> None:
    """R* rounded to 15.39 gives the numbers that are quoted; the repository's own is 15.387756."""
    assert effective_epochs(EPOCHS, 15.39) == pytest.approx([1.968, 3.726, 6.624, 10.583, 15.169], abs=5e-4)
    assert effective_epochs(EPOCHS) == pytest.approx([1.968, 3.726, 6.624, 10.582, 15.167], abs=5e-4)
    assert effective_epochs(np.array([0.25, 1.0])) == pytest.approx([0.25, 1.0])
    assert effective_epochs(1e9) == pytest.approx(1 + PUBLISHED["R_D"])
    assert effective_tokens(1e6, 1.6e7) == pytest.approx(1.0582e7, rel=1e-4)
    gain = effective_epochs(EPOCHS + 1e-6) - effective_epochs(EPOCHS)
    assert another_epoch(EPOCHS) == pytest.approx(gain / 1e-6, rel=1e-4)
    with pytest.raises(UsageError, match="more than 0"):
        effective_epochs(np.array([1.0, 0.0]))


def test_published_constants() -> None:
    assert {name: round(PUBLISHED[name], 2 if name == "E" else 0) for name in "ABE"} == {"A": 521, "B": 1488, "E": 1.87}


def published(parameters: float, tokens: float, unique: float) -> float:
    """The repository's function, written out: E + A / N'^alpha + B / D'^beta."""
    a, b, e, alpha, beta, r_d, r_n = 6.255414, 7.3049974, 0.6254804, 0.3526596, 0.3526596, 15.387756, 5.309743
    growth = (alpha * np.exp(a) / (beta * np.exp(b))) ** (1 / (alpha + beta))
    fitting = min(parameters, (unique * growth) ** (beta / alpha) * growth)
    size = fitting + fitting * r_n * (1 - np.exp(-max(parameters / fitting - 1, 0) / r_n))
    data = unique + unique * r_d * (1 - np.exp(-max(tokens / unique - 1, 0) / r_d))
    return float(np.exp(e) + np.exp(a) / size**alpha + np.exp(b) / data**beta)


@pytest.mark.parametrize(("parameters", "tokens", "unique"), [(2.8e9, 5.5e10, 9e9), (1e8, 4e8, 1e8), (1e7, 4e10, 4e10)])
def test_the_form_with_size_is_the_repositorys(parameters: float, tokens: float, unique: float) -> None:
    table = {"unique": [unique], "tokens": [tokens], "parameters": [parameters]}
    law = Law(repetition(size=True), PUBLISHED, {}, 0.0)
    assert law.predict(table)[0] == pytest.approx(published(parameters, tokens, unique), rel=1e-12)


def test_sizes_are_fitted() -> None:
    unique, epochs, sizes = (
        part.ravel() for part in np.meshgrid([5e7, 1e8, 4e8], [0.5, 1, 2, 4, 8, 20], [1e8, 4e8, 1e9])
    )
    table = {"unique": unique, "tokens": unique * epochs, "parameters": sizes}
    truth = Law(repetition(size=True), PUBLISHED, {}, 0.0)
    noise = 0.002 * np.random.default_rng(0).standard_normal(len(unique))
    law = fit(truth.form, table | {"loss": truth.predict(table) + noise})
    point = {"unique": [2e8, 2e8], "tokens": [2e9, 6e9], "parameters": [6e8, 6e8]}
    assert law.predict(point) == pytest.approx(truth.predict(point), abs=0.005)


def test_rows_of_one_epoch_do_not_tell_what_repetition_is_worth() -> None:
    planted = PLANTED["repetition"]
    table = planted.measured("repetition")
    fresh = table["tokens"] <= table["unique"]
    law = fit(repetition(), {name: column[fresh] for name, column in table.items()})
    assert "R_D" in law.not_told()


FORGOTTEN = np.array(  # replay 0, 1, 5, 25 %; D 1M, 4M, 16M
    [[3.80000, 3.41383, 3.18978, 3.07560], [4.21257, 3.62724, 3.28766, 3.11460], [4.83792, 3.95072, 3.43600, 3.17369]]
)
TRUTH = {"A": 0.8, "beta": 0.3, "B": 200.0, "alpha": 0.6}


def forgetting_table() -> dict[str, np.ndarray]:
    tokens, replay = (part.ravel() for part in np.meshgrid([1.0, 4.0, 16.0], [0, 0.01, 0.05, 0.25], indexing="ij"))
    return {"replay": replay, "tokens": tokens, "start": np.full(12, 3.0), "loss": FORGOTTEN.ravel()}


def test_planted_forgetting() -> None:
    table = forgetting_table()
    law = Law(forgetting(), TRUTH, {}, 0.0)
    assert law.predict(table) == pytest.approx(table["loss"], abs=5e-6)
    point = {"replay": [0.1, 0.02], "tokens": [16.0, 64.0], "start": [3.0, 3.0]}
    assert law.predict(point) == pytest.approx([3.29580, 4.0606], abs=5e-5)


@pytest.mark.parametrize("seed", range(6))
def test_forgetting_at_unseen_shares(seed: int) -> None:
    table = forgetting_table()
    noise = 0.002 * np.random.default_rng(seed).standard_normal(12)
    law = fit(forgetting(), table | {"loss": table["loss"] + noise})
    near, far = law.predict({"replay": [0.1, 0.02], "tokens": [16.0, 64.0], "start": [3.0, 3.0]})
    assert near == pytest.approx(3.29580, abs=0.002)
    assert far == pytest.approx(4.0606, abs=0.005)


def test_large_shares_alone_tell_only_a_ratio() -> None:
    """B p >> 1: A / B^alpha is told, A and B are not; between two shares a prediction is off by a few noises."""
    table = forgetting_table()
    rows = table["replay"] >= 0.05
    noise = 0.002 * np.random.default_rng(0).standard_normal(12)
    law = fit(forgetting(), {name: (column + (noise if name == "loss" else 0))[rows] for name, column in table.items()})
    assert {"A", "B"} <= set(law.not_told())
    assert law.predict({"replay": [0.1], "tokens": [16.0], "start": [3.0]}) == pytest.approx([3.29580], abs=0.02)


def test_drift_and_sizes() -> None:
    table = forgetting_table()
    law = fit(forgetting("drift"), {**table, "drift": table["loss"] - 3})
    assert law.values == pytest.approx(TRUTH, rel=1e-3)
    sized = Law(forgetting("drift", size=True), TRUTH, {}, 0.0)
    point = {"replay": [0.0], "tokens": [1.0], "parameters": [32.0]}
    assert sized.predict(point) == pytest.approx([0.8 / 32**0.6])
    with pytest.raises(UsageError, match="'loss' or 'drift', not 'kl'"):
        forgetting("kl")  # type: ignore[arg-type]


REPEATS = np.array([1, 2, 5, 10, 20, 40, 80, 160, 320], dtype=float)
RETENTION = np.array([0.10, 0.16, 0.30, 0.45, 0.60, 0.70, 0.50, 0.30, 0.20])


@pytest.mark.parametrize("noise", [0.02, None])
def test_a_planted_peak_is_found(noise: float | None) -> None:
    for seed in range(10):
        drawn = 0.02 * np.random.default_rng(seed).standard_normal(9)
        found = peak(REPEATS, RETENTION + drawn, noise)
        assert found.repeats in {20.0, 40.0, 80.0}  # within a grid step
        assert found.low <= 40 <= found.high


@pytest.mark.parametrize(
    ("retention", "words"),
    [
        (np.linspace(0.1, 0.7, 9), "only rises"),
        (np.minimum(np.linspace(0.1, 1.2, 9), 0.7), "only rises"),
        (np.linspace(0.7, 0.1, 9), "only falls"),
        (np.full(9, 0.4), "flat within the noise"),
    ],
)
def test_no_peak_is_an_answer(retention: np.ndarray, words: str) -> None:
    """In at most 3 of 30 sweeps a level of 5 % finds one; of the first, the reason is pinned."""
    found = [peak(REPEATS, retention + 0.02 * np.random.default_rng(s).standard_normal(9), 0.02) for s in range(30)]
    assert sum(one.repeats is not None for one in found) <= 3
    assert words in found[0].reason


def test_repeated_counts_are_averaged() -> None:
    counts, scores = np.tile(REPEATS, 4), np.tile(RETENTION, 4)
    drawn = 0.05 * np.random.default_rng(0).standard_normal(36)
    found = peak(counts, scores + drawn, 0.05)
    assert found.low <= 40 <= found.high
    assert found.fall < peak(REPEATS, RETENTION + drawn[:9], 0.05).fall + 0.05


@pytest.mark.parametrize(
    ("repeats", "retention", "noise", "words"),
    [
        ([1, 2, 4, 8], [0.1] * 4, None, "5 repeat counts or more; the sweep has 4"),
        ([1, 2, 4, 8, 16], [0.1, 0.2, float("nan"), 0.1, 0.1], None, "finite"),
        ([0, 2, 4, 8, 16], [0.1] * 5, None, "more than 0"),
        ([1, 2, 4, 8, 16], [0.1] * 5, 0.0, "more than 0, not 0"),
    ],
)
def test_what_is_no_sweep(repeats: list[float], retention: list[float], noise: float | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        peak(np.array(repeats), np.array(retention), noise)


def norms(batch: int, pairs: int, seed: int, size: float = 0.1) -> np.ndarray:
    """|g_b|^2 of g_b ~ N(G, Sigma / b), G = size (1, ..., 1), Sigma = I / 4, 20 dimensions."""
    drawn = np.random.default_rng(seed).standard_normal((pairs, 20)) / (2 * np.sqrt(batch))
    return ((size + drawn) ** 2).sum(axis=1)


def test_noise_scale_of_planted_gradients() -> None:
    """|G|^2 = 0.2, tr Sigma = 5; the 95 % interval holds 25 in at least 34 of 40 samples (0.3 % by chance)."""
    found = [noise_scale(norms(4, 100, seed), norms(64, 100, 1000 + seed), 4, 64) for seed in range(40)]
    assert np.mean([one.signal for one in found]) == pytest.approx(0.2, rel=0.02)
    assert np.mean([one.noise for one in found]) == pytest.approx(5.0, rel=0.02)
    assert sum(one.batch.low < 25.0 < one.batch.high for one in found) >= 34


def test_noise_scale_is_exact_of_the_means() -> None:
    """|g_b|^2 has the mean |G|^2 + tr Sigma / b."""
    small, large = (np.full(2, 0.2 + 5.0 / b) for b in (4, 64))
    found = noise_scale(small, large, 4, 64)
    assert (found.signal, found.noise, found.batch.value) == pytest.approx((0.2, 5.0, 25.0))


def test_a_signal_that_is_not_told_has_no_interval() -> None:
    found = noise_scale(norms(4, 10, 0, size=0.0), norms(8, 10, 1, size=0.0), 4, 8)
    assert not found.batch.bounded


@pytest.mark.parametrize(
    ("small", "large", "sizes", "words"),
    [
        ([1.0], [1.0], (1, 2), "two or more pairs"),
        ([1.0, 2.0], [1.0], (1, 2), "pairs"),
        ([1.0, float("inf")], [1.0, 1.0], (1, 2), "finite"),
        ([1.0, 2.0], [1.0, 1.0], (4, 4), "below the large one and above 0; 4 and 4"),
    ],
)
def test_what_has_no_noise_scale(small: list[float], large: list[float], sizes: tuple[int, int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        noise_scale(np.array(small), np.array(large), *sizes)
