"""Run folders -> one comparison: seeds of one method together, one base for all."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from acclimate.config.apart import SAME_RUN, without
from acclimate.config.load import RunConfig
from acclimate.paired.estimate import Estimate
from acclimate.paired.metrics import BITS, DRIFT
from acclimate.paired.transfer import Transfer, improvement, transfer
from acclimate.reports.seeds import together
from acclimate.runs.comparison import BASE_TOLERANCE
from acclimate.runs.folder import RunFolder, TextSet, read_folder
from acclimate.runs.measured import base_of, check_measured
from acclimate.types.errors import RunError


@dataclass(frozen=True, eq=False)
class Run:
    """One method with one configuration, trained with one or several seeds."""

    label: str
    method: str
    seeds: tuple[RunFolder, ...]
    measures: Mapping[tuple[str, str], Estimate]  # (set, metric)
    changes: Mapping[str, Estimate]  # set -> paired change

    def measure(self, name: str, metric: str) -> Estimate | None:
        """Of several seeds the mean, with an interval over seeds and documents."""
        return self.measures.get((name, metric))

    def paired_change(self, name: str) -> Estimate | None:
        """Bits per byte, tuned minus base on the same documents; None if any seed's folder does not hold it."""
        return self.changes.get(name)

    def by_seed(self, name: str, metric: str) -> dict[int, float]:
        """Seed -> value."""
        return {seed.seed: seed.measures[name, metric].value for seed in self.seeds if (name, metric) in seed.measures}

    def changes_by_seed(self, name: str) -> dict[int, float]:
        """Seed -> paired change."""
        return {seed.seed: seed.changes[name].value for seed in self.seeds if name in seed.changes}

    @property
    def rates(self) -> dict[int, float]:
        """Seed -> trained tokens per second."""
        return {seed.seed: rate for seed in self.seeds if (rate := seed.tokens_per_second) is not None}


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything a report shows."""

    runs: tuple[Run, ...]
    sets: tuple[TextSet, ...]
    base: Mapping[str, Estimate]  # set -> bits per byte
    with_text: bool = True  # whether documents, prompts, answers and places may be shown

    @property
    def folders(self) -> tuple[RunFolder, ...]:
        return tuple(seed for run in self.runs for seed in run.seeds)

    @property
    def model(self) -> str:
        return model_name(self.folders[0].config)

    def role(self, *roles: str) -> list[TextSet]:
        """The sets of these roles, in the order the roles are named."""
        return [item for role in roles for item in self.sets if item.role == role]

    @property
    def domain(self) -> TextSet | None:
        """The set that says what was gained."""
        return next(iter(self.role("domain")), None)

    @property
    def kept(self) -> TextSet | None:
        """The set that says what was kept: chat behaviour where it was measured, otherwise general text."""
        measured = [item for item in self.role("chat", "general") if any(self.drift(run, item) for run in self.runs)]
        return next(iter(measured), None)

    def drift(self, run: Run, text_set: TextSet) -> Estimate | None:
        """KL(base || tuned) in nats per token."""
        return run.measure(text_set.name, DRIFT)

    def change(self, run: Run, text_set: TextSet, seed: int | None = None) -> float | None:
        """Bits per byte against the base, in percent; negative is better."""
        base = self.base.get(text_set.name)
        if seed is None:
            tuned = run.measure(text_set.name, BITS)
            value = tuned.value if tuned else None
        else:
            value = run.by_seed(text_set.name, BITS).get(seed)
        return None if base is None or value is None or not base.value else 100 * (value / base.value - 1)

    def relative_change(self, run: Run, text_set: TextSet, seed: int | None = None) -> Estimate | None:
        """:meth:`change` with the paired interval and the minimum detectable effect, all in percent of the base."""
        value = self.change(run, text_set, seed)
        if value is None:
            return None
        own = run.changes if seed is None else next(one.changes for one in run.seeds if one.seed == seed)
        found, part = own.get(text_set.name), 100 / self.base[text_set.name].value
        if found is None:
            return Estimate(value, n=run.seeds[0].measures[text_set.name, BITS].n)
        return replace(found.scaled(part), value=value)

    def transfer(self, run: Run) -> Transfer | None:
        """What the run gained and lost in bits per byte, over sets; None unless both kinds were measured."""
        gains: list[float] = []
        kept: list[float] = []
        for item in self.sets:
            base, tuned = self.base.get(item.name), run.measure(item.name, BITS)
            if base and tuned and base.value:
                (gains if item.role == "domain" else kept).append(improvement(base.value, tuned.value))
        return transfer(gains, kept) if gains and kept else None


def collect(run_dirs: Sequence[Path], with_text: bool = True) -> ReportData:
    """Reads run folders and lays them side by side.

    Args:
        run_dirs: finished run folders; seeds of one method and configuration become one run.
        with_text: whether a page may show documents, prompts, answers and where they lie.

    Raises:
        RunError: a folder is not a finished run, its numbers are not of its own weights, or the runs do not share one
            base and held-out text.
    """
    paths = list(dict.fromkeys(Path(path) for path in run_dirs))
    if not paths:
        raise RunError("A report needs at least one run folder, for example `acclimate report runs/mol runs/sft`.")
    folders = [read_folder(path) for path in paths]
    for folder in folders:
        check_measured(folder.path, folder.provenance)
    for other in folders[1:]:
        _check_comparable(folders[0], other)
    base: dict[str, Estimate] = {}
    sets: dict[str, TextSet] = {}
    for folder in folders:
        base = {**folder.base, **base}
        sets.update({item.name: item for item in folder.sets if item.name not in sets})
    return ReportData(_group(folders), tuple(sets.values()), base, with_text)


def model_name(config: Mapping[str, Any]) -> str:
    """The base model's short name: the last part of the hub id or path."""
    path = str((config.get("model") or {}).get("path", "model")).replace("\\", "/").rstrip("/")
    return path.rsplit("/", 1)[-1] or "model"


def _group(folders: Sequence[RunFolder]) -> tuple[Run, ...]:
    groups: dict[tuple[str, str], list[RunFolder]] = {}
    for folder in folders:
        settings = without({**folder.config, "seed": None}, RunConfig, SAME_RUN)
        key = (folder.method, json.dumps(settings, sort_keys=True, default=str))
        groups.setdefault(key, []).append(folder)
    methods = [method for method, _ in groups]
    runs: list[Run] = []
    for (method, _), seeds in groups.items():
        _check_seeds(method, seeds)
        # Two configurations of one method are two runs, told apart by the name their author gave them.
        label = method if methods.count(method) == 1 else f"{method} ({seeds[0].name})"
        if any(run.label == label for run in runs):
            label = f"{method} ({seeds[0].path.name}, {len(runs) + 1})"
        ordered = tuple(sorted(seeds, key=lambda seed: seed.seed))
        runs.append(Run(label, method, ordered, *together(ordered)))
    return tuple(runs)


def _check_seeds(method: str, seeds: Sequence[RunFolder]) -> None:
    first = seeds[0]
    seen: dict[int, RunFolder] = {}
    for folder in seeds:
        if (twin := seen.setdefault(folder.seed, folder)) is not folder:
            raise RunError(
                f"'{twin.path}' and '{folder.path}' are both {method} with seed {folder.seed}; a seed counts once. "
                "Leave one out, or train it with another seed."
            )
        if missing := sorted(first.measures.keys() ^ folder.measures.keys()):
            name, metric = missing[0]
            holder, lacking = (first, folder) if (name, metric) in first.measures else (folder, first)
            raise RunError(
                f"The seeds of {method} were not measured alike: '{holder.path}' has {metric} of '{name}' and "
                f"'{lacking.path}' has not. Run `acclimate eval {lacking.path}`."
            )


def _check_comparable(first: RunFolder, other: RunFolder) -> None:
    """Distances from two different bases, or scores on different documents, do not belong in one table."""
    opening = f"The runs in '{first.path}' and '{other.path}' cannot be compared: "
    models = _digest(base_of(first.provenance)), _digest(base_of(other.provenance))
    if all(models) and models[0] != models[1]:
        raise RunError(
            f"{opening}they start from different base models (digest {models[0][:12]} and {models[1][:12]}). "
            "Report them separately."
        )
    for name in first.base.keys() & other.base.keys():
        one, two = first.base[name], other.base[name]
        if math.isclose(one.value, two.value, rel_tol=BASE_TOLERANCE) and one.n == two.n:
            continue
        digests = [_digest((folder.provenance.get("data") or {}).get(name)) for folder in (first, other)]
        if all(digests) and digests[0] != digests[1]:
            reason = f"the data of '{name}' differ (digest {digests[0][:12]} and {digests[1][:12]})"
        elif one.n != two.n:
            reason = f"'{name}' was measured on {one.n} documents in one and {two.n} in the other"
        else:
            reason = "the held-out documents or the evaluation settings differ"
        raise RunError(
            f"{opening}the base scores {one.value:.4f} bits per byte on '{name}' in the first and {two.value:.4f} in "
            f"the second, because {reason}. Run `acclimate eval` on both with the same model and data."
        )


def _digest(value: Any) -> str:
    """The digest in a provenance entry, which is the entry itself or one of its keys."""
    if isinstance(value, Mapping):
        return next((str(item) for key, item in value.items() if "digest" in str(key) or "sha256" in str(key)), "")
    return str(value) if value else ""
