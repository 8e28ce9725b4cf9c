"""What the log of steps says beside the results: how many were clipped, which loss term was absent from them, and where
online weights moved the shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from acclimate.config.chosen.online import CONTROL, ONLINE
from acclimate.reports.collect import ReportData, Run
from acclimate.reports.words import number
from acclimate.reports.words.names import joined, named
from acclimate.runs.folder import RunFolder

NEARLY_ALL = 0.95
"""From this part of clipped steps on, a note says what clipping hides."""
DIAL = "dial/share/"
SELDOM = 0.05
"""A term that is absent from more than this part of steps is named."""


def clipped(run: RunFolder) -> float | None:
    """Part of the steps whose gradient was longer than ``optimizer.max_grad_norm``; None where nothing is clipped."""
    limit = (run.config.get("optimizer") or {}).get("max_grad_norm", 1.0)
    norms = [norm for _, norm in run.series("gradient_norm")]
    return float(sum(norm > limit for norm in norms) / len(norms)) if norms and limit is not None else None


def absent(run: RunFolder) -> dict[str, float]:
    """Term -> part of the steps without any token of it; where shares move, of those steps that ask for some."""
    lines = [line for line in run.steps if "loss" in line]
    terms = [{key.rsplit("/", 1)[1] for key in line if key.startswith("loss/")} for line in lines]
    names = dict.fromkeys(name for found in terms for name in sorted(found))
    found = {}
    for name in names:
        asked = _asked(lines, name)
        found[name] = sum(name not in here for here, asks in zip(terms, asked, strict=True) if asks) / max(
            1, sum(asked)
        )
    return found


def _asked(lines: Sequence[Mapping[str, float]], term: str) -> list[bool]:
    """[steps] whether some source of the term was to give tokens."""
    sources = {key.split("/", 1)[1].rsplit("/", 1)[0] for line in lines for key in line if _of(key, term)}
    keys = [f"asked_tokens/{source}" for source in sources]
    if not any(key in line for line in lines for key in keys):
        return [True] * len(lines)
    return [any(now.get(key, 0.0) > before.get(key, 0.0) for key in keys) for before, now in pairwise([{}, *lines])]


def _of(key: str, term: str) -> bool:
    return key.startswith("loss/") and key.endswith(f"/{term}")


def step_notes(data: ReportData) -> list[str]:
    """One sentence each on clipping and on absent terms, over the seeds of a run."""
    notes = []
    alike: dict[tuple[str, bool], list[str]] = {}  # how many steps were clipped, whether nearly all -> runs
    for run in data.runs:
        parts = [part for seed in run.seeds if (part := clipped(seed)) is not None]
        mean = sum(parts) / len(parts) if parts else 0.0
        if mean > 0:
            alike.setdefault((number.share(mean), mean >= NEARLY_ALL), []).append(run.label)
    for (shown, nearly_all), labels in alike.items():
        hides = ", so max_grad_norm set the gradient's length and the weights of terms only its direction"
        notes.append(f"{joined(labels)}: the gradient was clipped in {shown} of steps{hides if nearly_all else ''}.")
    for run in data.runs:
        for term, part in _mean([absent(seed) for seed in run.seeds]).items():
            if part > SELDOM:
                notes.append(
                    f"{named(run.label)}: {named(term)} was absent from {number.share(part)} of steps; a larger "
                    "batch_tokens or share brings it to more of them."
                )
    return notes


def online_notes(data: ReportData) -> list[str]:
    """A sentence for each run whose shares a rule moved, over its seeds; and the control, if there is one."""
    notes = []
    for run in data.runs:
        rule = next((name for name in ONLINE if (run.seeds[0].config.get("mixture") or {}).get(name) is not None), None)
        if rule is None:
            continue
        first, mean, last = (_dials(run, place) for place in ("first", "mean", "last"))
        parts = "; ".join(
            f"{named(name)} {number.share(mean[name])} (from {number.share(first[name])} to {number.share(last[name])})"
            for name in mean
        )
        drift = max((value for seed in run.seeds for _, value in seed.series("online/drift")), default=0.0)
        notes.append(
            f"{named(run.label)}: {rule} gave, as a mean over the steps, {parts}. The logarithm of a share among those "
            f"it moves changed by at most {drift:.2g}."
        )
    return [*notes, CONTROL] if notes else []


def _dials(run: Run, place: str) -> dict[str, float]:
    """Shares of sources at the first or last step or as a mean over steps, each a mean over seeds."""
    found: dict[str, list[float]] = {}
    for seed in run.seeds:
        for key in seed.steps[-1] if seed.steps else ():
            if key.startswith(DIAL):
                values = [value for _, value in seed.series(key)]
                value = {"first": values[0], "last": values[-1], "mean": sum(values) / len(values)}[place]
                found.setdefault(key.removeprefix(DIAL), []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}


def _mean(found: Sequence[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for part in found for name in part)
    return {name: sum(part.get(name, 1.0) for part in found) / len(found) for name in names}
