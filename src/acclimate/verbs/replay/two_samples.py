"""How far written texts are from real ones: what a classifier that sees both can tell of texts that it has not seen.

    x = hashed runs of one and two words, weighted 1 + ln(count), of length 1
    minimise mean ln(1 + exp(-y (w.x + b))) + |w|^2 / (2 C n),  C = 10

A two-sample test by a classifier (Lopez-Paz and Oquab, 2017, arXiv 1610.06545) [second-hand]: at 0.5 it cannot tell
them apart, at 1 it always can. The features are a plain choice [ours].
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import binomtest

from acclimate.data.prepare.near import WORD

FEATURES = 2**14
LONGEST = 200
"""Words of a text that are looked at, so that length tells little."""
FOLDS = 5
STRENGTH = 10.0
MOST = 2000
"""Texts of each kind."""
FEWEST = 20
"""Texts of each kind below which nothing can be said."""


def told_apart(written: Sequence[str], real: Sequence[str], seed: int = 0) -> dict[str, Any] | None:
    """Held-out accuracy over five folds of as many texts of each kind, with a 95 % interval.

    Equal texts are taken once, so that none is learned and asked. The interval is Wilson's over texts; it does not
    count that folds share what they learn from.

    Returns:
        ``{accuracy, low, high, texts}``, with ``texts`` of both kinds together; None of fewer than 20 a kind.
    """
    one, other = (list(dict.fromkeys(text for text in texts if WORD.search(text))) for texts in (written, real))
    size = min(len(one), len(other), MOST)
    if size < FEWEST:
        return None
    draw = np.random.default_rng(seed)
    chosen = [[texts[i] for i in draw.permutation(len(texts))[:size]] for texts in (one, other)]
    features = _features([*chosen[0], *chosen[1]])
    labels = np.repeat([1.0, -1.0], size)
    fold = np.tile(np.arange(size) % FOLDS, 2)
    right = 0
    for held in range(FOLDS):
        weights, bias = _fitted(features[fold != held], labels[fold != held])
        scores = features[fold == held] @ weights + bias
        right += int((np.sign(scores) == labels[fold == held]).sum())
    interval = binomtest(right, 2 * size).proportion_ci(method="wilson")
    found = {"accuracy": right / (2 * size), "low": interval.low, "high": interval.high}
    return {name: round(float(value), 4) for name, value in found.items()} | {"texts": 2 * size}


def _features(texts: Sequence[str]) -> Any:
    """[texts, FEATURES] sparse rows of length 1."""
    columns, values, ends = [], [], [0]
    for text in texts:
        words = WORD.findall(text.casefold())[:LONGEST]
        runs = [*words, *(f"{a} {b}" for a, b in pairwise(words))]
        counts = Counter(crc32(run.encode()) % FEATURES for run in runs)
        weights = [1 + math.log(count) for count in counts.values()]
        norm = math.sqrt(sum(weight * weight for weight in weights)) or 1.0
        columns += list(counts)
        values += [weight / norm for weight in weights]
        ends.append(len(columns))
    return sparse.csr_matrix((values, columns, ends), shape=(len(texts), FEATURES))


def _fitted(features: Any, labels: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Weights and bias of a logistic regression."""
    count = len(labels)

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, bias = parameters[:-1], parameters[-1]
        margin = labels * (features @ weights + bias)
        pull = -labels * expit(-margin) / count
        value = float(np.logaddexp(0, -margin).mean() + weights @ weights / (2 * STRENGTH * count))
        return value, np.append(features.T @ pull + weights / (STRENGTH * count), pull.sum())

    found = minimize(loss, np.zeros(FEATURES + 1), jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    return found[:-1], float(found[-1])
