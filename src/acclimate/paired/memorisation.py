"""What a model learned by heart: its gain on text it was trained on, less what it gained on unseen text of its kind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from acclimate.paired.estimate import Estimate
from acclimate.paired.metrics import BITS, METRICS
from acclimate.paired.ratio import FEWEST_DOCUMENTS, ratio
from acclimate.paired.resample import indices


@dataclass(frozen=True)
class Memorisation:
    """Of one source. Changes are tuned minus base in bits per byte; ``gap`` is how much more training text gained."""

    measured: int  # documents of the sample
    trained_on: int  # documents in all
    parameters: int  # trained ones
    training: Estimate
    heldout: Estimate
    gap: Estimate  # bits/byte
    bits_per_parameter: Estimate
    heldout_bits_per_parameter: Estimate  # what the same sum makes of unseen documents: chance, not memory


def memorisation(
    training: Mapping[str, np.ndarray], heldout: Mapping[str, np.ndarray], trained_on: int, parameters: int
) -> Memorisation | None:
    """Bits memorised per trained parameter, extrapolated from a sample of the documents trained on.

    ``sum_x max(0, g(x) - h bytes(x)) / parameters`` over the documents trained on, where ``g(x) = (nats of the base -
    nats of the model) / ln 2`` and ``h`` is the gain per byte on held-out text: what generalises is not memorised.
    After Morris et al. (*How much do language models memorize?*, 2025, arXiv 2505.24832) [unverified]: ``mem(x) =
    max(0, -log2 p_ref(x) + log2 p_tuned(x))``; the subtraction is [ours]. The maximum turns differences between
    documents into bits even where nothing is memorised, so the same sum over held-out documents stands beside it.

    Args:
        training, heldout: columns ``nats``, ``base_nats``, ``bytes``, [M] each.
        trained_on: documents that were trained on; the sample stands for them.
        parameters: trained ones.

    Returns:
        None for fewer than ``FEWEST_DOCUMENTS`` documents of either. Intervals are percentiles of a bootstrap that
        draws both kinds of documents anew.
    """
    seen, unseen = _gains(training), _gains(heldout)
    if min(seen.shape[1], unseen.shape[1]) < FEWEST_DOCUMENTS:
        return None
    scale = trained_on / parameters
    table = [
        _sums(seen[:, own], unseen[:, other], scale)
        for own, other in indices(np.random.default_rng(0), seen.shape[1], unseen.shape[1])
    ]
    low, high = np.quantile(np.concatenate(table, axis=1), [0.025, 0.975], axis=1)
    values = _sums(seen, unseen, scale)
    ends = zip(values.tolist(), low.tolist(), high.tolist(), strict=True)
    gap, own, chance = (Estimate(value, least, most) for value, least, most in ends)
    before, after = (_change(kind, columns) for kind, columns in ((seen, training), (unseen, heldout)))
    return Memorisation(seen.shape[1], trained_on, parameters, before, after, gap, own, chance)


def document(found: Memorisation) -> dict[str, Any]:
    """Plain data for ``memorisation/check.json``."""
    changes = {"training_change": found.training, "heldout_change": found.heldout}
    intervals = {key: vars(getattr(found, key)) for key in ("gap", "bits_per_parameter", "heldout_bits_per_parameter")}
    return (
        {key: getattr(found, key) for key in ("measured", "trained_on", "parameters")}
        | {key: change.record(change=True) for key, change in changes.items()}
        | {key: {name: estimate[name] for name in ("value", "low", "high")} for key, estimate in intervals.items()}
    )


def _gains(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """[2, M] bits gained and bytes, of the documents that have text."""
    text = columns["bytes"] > 0
    return np.stack([(columns["base_nats"] - columns["nats"])[text] / math.log(2), columns["bytes"][text]])


def _change(gains: np.ndarray, columns: Mapping[str, np.ndarray]) -> Estimate:
    text = columns["bytes"] > 0
    base = columns["base_nats"][text].sum() / math.log(2) / columns["bytes"][text].sum()
    return ratio(-gains[0], gains[1]).within(METRICS[BITS].change_range(float(base)))


def _sums(seen: np.ndarray, unseen: np.ndarray, scale: float) -> np.ndarray:
    """[3, ...] gap in bits per byte, bits per parameter, and the latter of held-out documents of the same number and
    length, of gains [2, ..., M]."""
    general = unseen[0].sum(-1) / unseen[1].sum(-1)
    own, chance = (np.maximum(0.0, kind[0] - general[..., None] * kind[1]).mean(-1) for kind in (seen, unseen))
    longer = seen[1].mean(-1) / unseen[1].mean(-1)
    return np.stack([seen[0].sum(-1) / seen[1].sum(-1) - general, scale * own, scale * longer * chance])
