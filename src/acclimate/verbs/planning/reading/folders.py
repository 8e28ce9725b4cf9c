"""Run folders as readings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acclimate.config.load import RunConfig, load_config
from acclimate.paired.metrics import DRIFT
from acclimate.runs.folder import read_summary
from acclimate.runs.layout import Layout, read_json
from acclimate.runs.measured import base_of, check_measured
from acclimate.runs.scores import last_line, read_scores
from acclimate.types.errors import RunError
from acclimate.verbs.planning.reading.readings import Reading, Readings, check_one, mean
from acclimate.verbs.planning.reading.settings import method_of, weight_of

Scores = Mapping[str, np.ndarray]
LN2 = math.log(2)


def read_folders(paths: Sequence[Path]) -> Readings:
    """The ends of finished runs. What is unfinished, diverged or steered is left out, and said.

    Raises:
        RunError: none is a finished run, or one is damaged.
        UsageError: two runs are of another base, tokenizer or held-out text.
    """
    found: dict[str, Reading] = {}
    configs: dict[str, RunConfig] = {}
    records: dict[str, Mapping[str, Any]] = {}
    notes: list[str] = []
    corpus: float | None = None
    names = [path.resolve().name for path in paths]
    for path, name in zip(paths, names, strict=True):
        run, label = Layout(path), name if names.count(name) == 1 else str(path)
        if why := _left_out(run):
            notes.append(f"Left out: {label}, {why}.")
            continue
        record, data = read_json(run.provenance), read_json(run.data)
        check_measured(path, record)
        config = load_config(run.config)
        found[label] = _reading(run, label, config, data)
        configs[label], records[label] = config, record
        tokens = [one.get("trained_tokens") for one in data["sources"].values() if one["role"] == "domain"]
        if tokens and all(tokens):
            corpus = float(sum(tokens))
    if not found:
        raise RunError(f"Nothing can be planned from these folders. {' '.join(notes)}")
    check_one({n: str(base_of(r).get("digest")) for n, r in records.items()}, "base", "plan from runs of one base.")
    check_one(
        {name: str(base_of(record).get("reading")) for name, record in records.items()},
        "tokenizer or configuration of the base",
        "plan from runs that read text alike.",
    )
    held_out = {name: str(sorted(record.get("held_out", record["data"]).items())) for name, record in records.items()}
    check_one(held_out, "held-out text", "plan from runs that were measured on the same documents.")
    return Readings(tuple(found.values()), corpus=corpus, configs=configs, notes=tuple(notes))


def _left_out(run: Layout) -> str:
    """Why a folder is no reading, or nothing."""
    if not run.config.is_file():
        return "which is no run folder: it has no config.yaml"
    if not run.summary.is_file():
        return "which is not finished (acclimate train --resume goes on with it)"
    if run.retain.is_file():
        return "whose strength was moved to meet a budget, so its drift tells the budget"
    return ""


def _reading(run: Layout, label: str, config: RunConfig, data: Mapping[str, Any]) -> Reading:
    roles = {entry["set"]: entry["role"] for entry in read_summary(run.summary)}
    scores = {name: read_scores(run.scores(name)) for name in roles}
    line = last_line(run.metrics)
    tokens = {key.partition("/")[2]: n for key, n in line.items() if key.startswith("trained_tokens/")}
    domain = sum(n for name, n in tokens.items() if data["sources"][name]["role"] == "domain")
    gain, drift = outcomes({name: (roles[name], of) for name, of in scores.items()})
    return Reading(
        run=label,
        method=method_of(config),
        tokens=domain,
        share=domain / sum(tokens.values()),
        learning_rate=config.optimizer.learning_rate,
        weight=weight_of(config),
        gain=gain,
        drift=drift,
        seed=config.seed,
        step=int(line["step"]),
    )


def outcomes(sets: Mapping[str, tuple[str, Scores]]) -> tuple[float, float]:
    """Gain in bits per byte and drift in nats a token: means over the domain's sets, and over the others.

    nan where there is no such set.

    Args:
        sets: name -> role and sums by document.
    """
    gains = [_part(s["base_nats"] - s["nats"], LN2 * s["bytes"]) for role, s in sets.values() if role == "domain"]
    drifts = [_part(s[DRIFT], s["tokens"]) for role, s in sets.values() if role != "domain"]
    return mean([v for v in gains if not math.isnan(v)]), mean([v for v in drifts if not math.isnan(v)])


def _part(above: np.ndarray, below: np.ndarray) -> float:
    return float(above.sum() / below.sum()) if below.sum() > 0 else math.nan
