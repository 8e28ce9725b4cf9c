"""The panels of a run, read from RUN/panels/: what each set says, and items whose answer changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acclimate.errors import RunError
from acclimate.evaluate.measured import check_panel
from acclimate.paired.estimate import Estimate
from acclimate.paired.metrics import DRIFT, METRICS


@dataclass(frozen=True)
class Row:
    """One set and metric; the change's p is adjusted over all changes of the panel."""

    text_set: str
    role: str
    metric: str
    base: Estimate
    tuned: Estimate
    change: Estimate
    drift: Estimate | None  # KL(base || tuned) on the set

    @property
    def loss(self) -> float:
        """The change with its sign turned so that more is worse."""
        return -self.change.value if METRICS[self.metric].higher_is_better else self.change.value


@dataclass(frozen=True)
class Flip:
    """An item that one of the two models got right and the other did not. ``context`` is empty in old folders."""

    text_set: str
    where: str
    context: str
    choices: tuple[str, ...]
    right: int
    base_picked: int | None  # None of a cloze
    tuned_picked: int | None
    lost: bool
    nats: float  # log-likelihood of the right answer, model less base


@dataclass(frozen=True)
class PanelFolder:
    """One panel that was put to a run's model and its base."""

    name: str
    digest: str
    settings: Mapping[str, Any]
    rows: tuple[Row, ...]
    flips: tuple[Flip, ...]


def read_panels(run_dir: Path, provenance: Mapping[str, Any]) -> tuple[PanelFolder, ...]:
    """Every panel of a run, by name.

    Raises:
        RunError: a file is damaged or edited, or a panel was measured on another model than the run's.
    """
    found = []
    for path in sorted((run_dir / "panels").glob("*/panel.json")):
        found.append(_panel(path.parent))
        check_panel(run_dir, provenance, path.parent)
    return tuple(found)


def _panel(folder: Path) -> PanelFolder:
    path = folder / "panel.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        settings, sets = document["panel"], document["sets"]
        rows = _rows(document["records"])
        kinds = {str(name): str(entry["kind"]) for name, entry in sets.items()}
        digest = str(settings["digest"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from None
    answered = {name: kind == "lm_eval" for name, kind in kinds.items() if kind != "text"}
    flips = [flip for name, task in answered.items() for flip in _flips(folder / f"{name}.jsonl", name, task)]
    return PanelFolder(folder.name, digest, settings, rows, tuple(flips))


def _rows(records: Sequence[Mapping[str, Any]]) -> tuple[Row, ...]:
    found = {(str(r["set"]), str(r["metric"]), str(r["run"])): r for r in records}
    rows = []
    compared = [name for name, metric in METRICS.items() if metric.paired]
    for name, metric in ((name, metric) for name, metric, run in found if run == "base" and metric in compared):
        base, tuned = (Estimate.from_record(found[name, metric, run]) for run in ("base", "model"))
        change = Estimate(tuned.value - base.value, n=tuned.n)  # of folders of before 2026-11-23 no more is known
        if record := found.get((name, f"{metric}_change", "model")):
            change = Estimate.from_record({**record, "p": record.get("p_holm")})
        drift = found.get((name, DRIFT, "model"))
        rows.append(
            Row(
                text_set=name,
                role=str(found[name, metric, "base"]["role"]),
                metric=metric,
                base=base,
                tuned=tuned,
                change=change,
                drift=Estimate.from_record(drift) if drift else None,
            )
        )
    return tuple(rows)


def _flips(path: Path, name: str, task: bool) -> list[Flip]:
    flips = []
    try:
        for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            line = json.loads(text)
            if task and not {"right", "base_correct"} <= line.keys():
                continue  # without choices, or without an accuracy
            if line["base_correct"] == line["model_correct"]:
                continue
            right, picked = int(line["right"]), (line.get("base_picked"), line.get("model_picked"))
            choices = tuple(map(str, line.get("choices") or ()))
            nats = float(line["model"][right]) - float(line["base"][right])
            flips.append(
                Flip(
                    name, str(line["where"]), str(line.get("context") or ""), choices, right, *picked,
                    bool(line["base_correct"]), nats,
                )
            )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise _damaged(path, error) from None
    return flips


def _damaged(path: Path, error: Exception) -> RunError:
    return RunError(
        f"'{path}' is no result of a panel ({type(error).__name__}: {error}). Measure it again with `acclimate eval "
        "RUN --panel`, or remove its folder."
    )
