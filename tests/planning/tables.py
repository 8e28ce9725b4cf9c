"""Planted tables: logs and run folders whose gain and drift follow a formula."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from acclimate.verbs.planning.reading.readings import Reading, Readings

HEAD = ("run", "seed", "set", "domain_tokens", "share", "learning_rate", "bits_per_byte", "kl", "corpus_tokens")
BASES = (
    {"run": "base", "set": "domain", "domain_tokens": 0, "bits_per_byte": 1.05, "corpus_tokens": 10_000},
    {"run": "base", "set": "general", "domain_tokens": 0, "kl": 0, "corpus_tokens": 10_000},
)
NOISE = 0.02
"""Of drift, relative."""


def planted_drift(share: float, rate: float, tokens: float) -> float:
    """0.06 t^0.4 e^0.9 / sqrt(1 + 8 (1 - share)), t in 10,000 tokens, e in 1e-4."""
    return 0.06 * (tokens / 1e4) ** 0.4 * (rate / 1e-4) ** 0.9 / np.sqrt(1 + 8 * (1 - share))


def planted_gain(rate: float, tokens: float) -> float:
    """0.28 (1 - exp(-t e / 1.2))."""
    return 0.28 * -np.expm1(-(tokens / 1e4) * (rate / 1e-4) / 1.2)


def settings(
    shares: Sequence[float] = (0.25, 0.5, 0.9),
    rates: Sequence[float] = (1e-4, 4e-4),
    lengths: Sequence[float] = (5_000, 20_000),
) -> list[tuple[float, float, float]]:
    return list(itertools.product(shares, rates, lengths))


def planted(
    points: Iterable[tuple[float, float, float]] = (), seeds: int = 1, corpus: float | None = 10_000
) -> Readings:
    """Readings of mol at (share, rate, tokens); all of :func:`settings` where none are given."""
    draw = np.random.default_rng(0)
    found = [
        Reading(
            f"r{number}-{seed}",
            "mol",
            tokens,
            share,
            rate,
            gain=planted_gain(rate, tokens) + 0.002 * draw.standard_normal(),
            drift=planted_drift(share, rate, tokens) * np.exp(NOISE * draw.standard_normal()),
            seed=seed,
        )
        for number, (share, rate, tokens) in enumerate(points or settings())
        for seed in range(seeds)
    ]
    return Readings(tuple(found), corpus=corpus)


def log_lines(points: Iterable[tuple[float, float, float]] = ()) -> list[dict[str, object]]:
    """Lines of a log of the same runs, its base first."""
    lines: list[dict[str, object]] = [dict(base) for base in BASES]
    for one in planted(points).readings:
        shared = {
            "run": one.run, "seed": one.seed, "domain_tokens": one.tokens, "share": one.share,
            "learning_rate": one.learning_rate, "corpus_tokens": 10_000,
        }  # fmt: skip
        lines.append(shared | {"set": "domain", "bits_per_byte": 1.05 - one.gain})
        lines.append(shared | {"set": "general", "kl": one.drift})
    return lines


def write_log(path: Path, lines: Sequence[Mapping[str, object]], head: Sequence[str] = HEAD) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, head, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(lines)
    return path
