"""How often a gate check errs at a true drop of exactly its margin, where documents are neither alike nor independent.

Fresh documents are drawn from known populations; a check's interval (95 %) is held against the population's own value.
``python benchmarks/gate_error.py [--simulations 1500]`` prints a table in Markdown.

Columns: documents taken as independent (acclimate 0.1.0), groups given, groups found in texts by
``acclimate.data.prepare.near``: false passes / false failures in percent; and how often a check with the best of these
passes where the true drop is half the margin (power).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from acclimate.data.prepare.near import near_duplicates, sketch
from acclimate.data.read.records import Document, Part
from acclimate.paired.estimate import Estimate
from acclimate.paired.flips import score_change
from acclimate.paired.ratio import ratio

Random = np.random.Generator
Array = np.ndarray
POPULATION = 1_000_000
WORDS = np.array([f"{a}{b}{c}" for a in "bcdfgklmnprst" for b in "aeiou" for c in ("n", "rt", "l", "st", "m", "ck")])
TEMPLATE_WORDS, SLOTS = 30, 4


def lengths(random: Random, n: int) -> Array:
    """Tokens of documents."""
    return np.maximum(2, np.round(np.exp(random.normal(4.3, 0.9, n))))


def divergences(kind: str) -> Callable[[Random, int], tuple[Array, Array]]:
    """Sums of KL and tokens of n documents whose rates are independent."""

    def draw(random: Random, n: int) -> tuple[Array, Array]:
        tokens = lengths(random, n)
        if kind == "log-normal":
            rate = np.exp(random.normal(-2, 0.6, n))
        elif kind == "beginning":
            rate = np.exp(random.normal(-2, 0.5, n)) * (1 + 20 / tokens)
        elif kind == "part":
            rate = np.where(random.random(n) < 0.05, 1.5, 0.08) * np.exp(random.normal(0, 0.4, n))
        else:
            rate = 0.05 * (1 + random.pareto(2.2, n))
        return rate * tokens * np.exp(random.normal(0, 0.3 / np.sqrt(tokens / 20), n)), tokens

    return draw


def clustered(size: int) -> Callable[[Random, int], tuple[Array, Array]]:
    """The same of documents in clusters whose rates share an effect."""

    def draw(random: Random, n: int) -> tuple[Array, Array]:
        rate = np.repeat(np.exp(random.normal(-2, 0.5, -(-n // size))), size)[:n]
        tokens = lengths(random, n)
        return rate * np.exp(random.normal(0, 0.25, n)) * tokens, tokens

    return draw


def bits(kind: str, size: int = 1) -> Callable[[Random, int], tuple[Array, Array]]:
    """Change of nats, and bytes."""

    def draw(random: Random, n: int) -> tuple[Array, Array]:
        size_of = lengths(random, n) * np.exp(random.normal(1.4, 0.15, n))
        if kind == "part":
            rate = np.where(random.random(n) < 0.1, 0.15, 0.005) * (1 + 0.3 * random.normal(size=n))
        elif kind == "clusters":
            effect = np.repeat(random.normal(size=-(-n // size)), size)[:n]
            rate = 0.02 + 0.03 * effect + 0.015 * random.normal(size=n)
        else:
            rate = 0.02 + 0.03 * random.standard_t(4, n)
        return size_of * rate, size_of

    return draw


def answers(size: int) -> Callable[[Random, int], tuple[Array, Array]]:
    """Whether the base and the model are wrong, of items in clusters that flip together more or less."""

    def draw(random: Random, n: int) -> tuple[Array, Array]:
        lost = np.repeat(random.beta(0.5, 4.5, -(-n // size)), size)[:n]
        before = random.random(n) < 0.7
        after = before & (random.random(n) >= lost) | ~before & (random.random(n) < 0.05)
        return before.astype(float), after.astype(float)

    return draw


def texts(random: Random, n: int, size: int) -> list[str]:
    """n texts, of one template for each cluster, with other words in ``SLOTS`` places and another number."""
    found = []
    for cluster in range(-(-n // size)):
        template = WORDS[random.integers(0, len(WORDS), TEMPLATE_WORDS)].tolist()
        slots = random.choice(TEMPLATE_WORDS, SLOTS, replace=False).tolist()
        for _ in range(min(size, n - cluster * size)):
            for slot, word in zip(slots, random.integers(0, len(WORDS), SLOTS).tolist(), strict=True):
                template[slot] = str(WORDS[word])
            found.append(" ".join(template) + f" {random.integers(1, 9999)}.")
    return found


def found_groups(random: Random, n: int, size: int) -> Array:
    documents = [Document("s", str(i), (Part("text", t),), False) for i, t in enumerate(texts(random, n, size))]
    return np.unique(near_duplicates(np.stack([sketch(document) for document in documents])), return_inverse=True)[1]


@dataclass(frozen=True)
class Row:
    name: str
    draw: Callable[[Random, int], tuple[Array, Array]]
    sizes: tuple[int, ...] = (20, 40, 100)
    cluster: int = 1
    accuracy: bool = False


ROWS = [
    Row("KL, log-normal (sigma 0.6)", divergences("log-normal")),
    Row("KL, drift at the beginning of documents", divergences("beginning")),
    Row("KL, 5 % of documents forget 20 times as much", divergences("part"), (20, 40, 60, 100, 200)),
    Row("KL, Pareto tail (2.2)", divergences("pareto"), (20, 40, 60, 100)),
    Row("bits/byte, t with 4 degrees", bits("t")),
    Row("bits/byte, 10 % of documents lose much", bits("part")),
    Row("KL, clusters of 5", clustered(5), (40, 100), 5),
    Row("KL, clusters of 10", clustered(10), (40, 100), 10),
    Row("bits/byte, clusters of 5", bits("clusters", 5), (40, 100), 5),
    Row("bits/byte, clusters of 10", bits("clusters", 10), (40, 100), 10),
    Row("accuracy lost, clusters of 5", answers(5), (200,), 5, True),
    Row("accuracy lost, clusters of 10", answers(10), (200,), 10, True),
]


def estimate(row: Row, drawn: tuple[Array, Array], groups: Array | None) -> Estimate:
    return score_change(*drawn, groups=groups) if row.accuracy else ratio(*drawn, groups=groups)


def errors(row: Row, n: int, simulations: int, truth: float, how: str, seed: int = 1) -> tuple[float, float, float]:
    """False passes, false failures, and passes where the margin is twice the true drop, in percent."""
    random, texts_of = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    counts = np.zeros(3)
    for _ in range(simulations):
        drawn = row.draw(random, n)
        groups = None
        if how == "given":
            groups = np.repeat(np.arange(-(-n // row.cluster)), row.cluster)[:n]
        elif how == "found":
            groups = found_groups(texts_of, n, row.cluster)
        found = estimate(row, drawn, groups)
        counts += [found.high < truth, found.low > truth, found.high < 2 * truth]
    passes, failures, power = (100 * counts / simulations).tolist()
    return passes, failures, power


def truth_of(row: Row) -> float:
    numerator, denominator = row.draw(np.random.default_rng(999), POPULATION)
    return float(np.mean(numerator - denominator) if row.accuracy else numerator.sum() / denominator.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=1500)
    simulations = parser.parse_args().simulations
    print("| true drop = margin | n | groups | one by one | given | found | power |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for row in ROWS:
        truth = truth_of(row)
        for n in row.sizes:
            ways = ("none", "given", "found") if row.cluster > 1 else ("none",)
            cells = [errors(row, n, simulations, truth, how) for how in ways]
            shown = [f"{passes:.1f} / {failures:.1f}" for passes, failures, _ in cells] + [""] * (3 - len(cells))
            groups = math.ceil(n / row.cluster)
            print(f"| {row.name} | {n} | {groups} | {' | '.join(shown)} | {cells[-1][2]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
