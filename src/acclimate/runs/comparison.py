"""Two runs on the same held-out documents: how much more one lost than the other, paired."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from acclimate.paired.estimate import Estimate
from acclimate.paired.grouped import Groups, count, subset
from acclimate.paired.metrics import METRICS, Metric, of_texts
from acclimate.paired.ratio import FEWEST_DOCUMENTS
from acclimate.paired.seeds import Luck, crossed_ratio
from acclimate.runs.layout import Layout, parsed
from acclimate.runs.measured import base_of
from acclimate.runs.scores import read_places, read_scores
from acclimate.types.errors import RunError, reason

BASE_TOLERANCE = 1e-3
"""Of one base's score on the same documents: what another machine or batch size makes of it."""
Scores = Mapping[str, np.ndarray]


def compare_runs(run: Path, other: Path, set_name: str, level: float = 0.95) -> Mapping[str, Estimate]:
    """``run`` less ``other`` of each metric, over the documents that both runs measured.

    A document is the same where its place and its bytes are: what makes it hard for both runs cancels, as in a change
    from the base. Documents of one group are drawn together. Drift compares only where both have one base, which
    splits them into the same tokens.

    Returns:
        Metric -> estimate, of those that scores of documents make (:func:`~acclimate.paired.metrics.of_texts`); empty
        where fewer than ``FEWEST_DOCUMENTS`` documents, or groups of them, are shared.

    Raises:
        RunError: a file of scores or ``provenance.json`` is missing or damaged.
    """
    scores = _shared([run, other], set_name)
    compared = {}
    for metric in of_texts():
        if (found := _columns([run, other], scores, metric)) is not None:
            (mine, theirs), size, groups = found
            compared[metric.name] = metric.difference(mine, theirs, size, level, groups)
    return compared


def compare_seeds(runs: Mapping[int, Path], others: Mapping[int, Path], set_name: str, metric: str) -> Estimate | None:
    """The same of two methods that were trained with several seeds each; None where too few documents are shared.

    Seeds are paired where two or more are the same, and only those count then; otherwise the means over all seeds are
    compared, with the luck of both (:class:`~acclimate.paired.seeds.Luck`).

    Args:
        runs, others: seed -> run folder.
    """
    common = sorted(runs.keys() & others.keys())
    if len(common) >= 2:
        runs, others = ({seed: side[seed] for seed in common} for side in (runs, others))
    folders = [*runs.values(), *others.values()]
    if not all(Layout(folder).scores(set_name).is_file() for folder in folders):
        return None
    found = _columns(folders, _shared(folders, set_name), METRICS[metric])
    if found is None:
        return None
    sums, size, groups = found
    mine, theirs = sums[: len(runs)], sums[len(runs) :]
    if len(folders) == 2:
        return METRICS[metric].difference(mine[0], theirs[0], size, groups=groups)
    possible = METRICS[metric].change_range(float(theirs.mean(0).sum() / size.sum()))
    if len(common) >= 2:
        return crossed_ratio(mine - theirs, size, possible=possible, groups=groups)
    luck = [Luck.of((side.sum(1) / size.sum()).tolist()) for side in (mine, theirs)]
    apart = mine.mean(0, keepdims=True) - theirs.mean(0)
    return crossed_ratio(apart, size, possible=possible, groups=groups, luck=luck[0].beside(luck[1]))


def _shared(folders: Sequence[Path], set_name: str) -> list[Scores]:
    """Scores of the documents that stand in every folder, in the order of the first."""
    paths = [Layout(folder).scores(set_name) for folder in folders]
    scores = [read_scores(path) for path in paths]
    rows = [{place: row for row, place in enumerate(read_places(path))} for path in paths]
    table = [[one[place] for one in rows] for place in rows[0] if all(place in one for one in rows)]
    chosen = np.array(table, dtype=int).reshape(-1, len(folders))  # [M, folders]
    sizes = np.stack([one["bytes"][chosen[:, at]] for at, one in enumerate(scores)])
    chosen = chosen[(sizes == sizes[0]).all(0)]
    return [{name: column[chosen[:, at]] for name, column in one.items()} for at, one in enumerate(scores)]


def _columns(
    folders: Sequence[Path], scores: Sequence[Scores], metric: Metric
) -> tuple[np.ndarray, np.ndarray, Groups | None] | None:
    """A metric's sums [folders, M], their denominator [M] and groups [M], or None where it does not compare."""
    assert metric.below is not None
    kept = scores[0][metric.below] > 0
    groups = subset(next((one["group"] for one in scores if "group" in one), None), kept)
    if count(groups, int(kept.sum())) < FEWEST_DOCUMENTS:
        return None
    one_base = len({_base(folder) for folder in folders}) == 1
    same_tokens = all(np.array_equal(scores[0]["tokens"], other["tokens"]) for other in scores)
    if one_base and same_tokens:
        _check_base(folders, scores)
    elif metric.below == "tokens" or not metric.paired:
        return None
    return np.stack([one[metric.above][kept] / metric.per for one in scores]), scores[0][metric.below][kept], groups


def _check_base(folders: Sequence[Path], scores: Sequence[Scores]) -> None:
    """One base has one score on one text."""
    first = scores[0]["base_nats"].sum()
    for folder, other in zip(folders[1:], scores[1:], strict=True):
        if not math.isclose(first, other["base_nats"].sum(), rel_tol=BASE_TOLERANCE, abs_tol=BASE_TOLERANCE):
            raise RunError(
                f"'{folders[0]}' and '{folder}' name one base, but it scores {first:.4f} nats in the first and "
                f"{other['base_nats'].sum():.4f} in the second on the same documents. Run `acclimate eval` on both."
            )


def _base(run: Path) -> str:
    """Digest of the weights that the run is measured against."""
    path = Layout(run).provenance
    try:
        return str(base_of(parsed(path))["digest"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"'{path}' does not say which base the run began with ({reason(error)}).") from None
