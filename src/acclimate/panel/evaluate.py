"""A panel on a model and its base: what each set says of both, item by item."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.errors import ConfigError
from acclimate.evaluate.bootstrap import ratio_interval
from acclimate.evaluate.measure import Scores
from acclimate.evaluate.summary import Record, records
from acclimate.model.causal import CausalModel
from acclimate.model.reference import Reference
from acclimate.panel.encode import encode
from acclimate.panel.items import Item, read_items
from acclimate.panel.schema import PanelConfig, SetSection
from acclimate.panel.score import DRIFT, ChoiceScores, positions_of, score_choices
from acclimate.panel.text import measure_text

SIDES = ("model", "base")
UNITS = {
    "accuracy": "share of items",
    "accuracy_norm": "share of items",
    "word_nats": "nats/word",
    "kl_base_tuned": "nats/token",
    "kl_tuned_base": "nats/token",
    "top1_agreement": "share of tokens",
    "entropy_change": "nats/token",
}


@dataclass(frozen=True)
class SetResult:
    """One set: ``items`` has a line an item, in the order of its files, ``records`` one a metric and side."""

    section: SetSection
    digest: str  # of what was asked
    items: list[dict[str, Any]]
    records: list[Record]
    dropped: dict[str, int]  # items left out, by reason
    truncated: int  # items whose context lost its beginning, because the model has too few positions


@dataclass(frozen=True)
class PanelResult:
    """What a panel found. ``digest`` identifies template, thinking mode and items: only equal ones compare."""

    panel: PanelConfig
    digest: str
    sets: dict[str, SetResult]

    @property
    def records(self) -> list[Record]:
        return [record for found in self.sets.values() for record in found.records]

    def averages(self) -> dict[str, dict[str, float]]:
        """Role -> side -> mean bits per byte over its text sets, each of the same weight (a macro average)."""
        found: dict[str, dict[str, list[float]]] = {}
        for record in self.records:
            if record["metric"] == "bits_per_byte":
                found.setdefault(record["role"], {}).setdefault(record["run"], []).append(record["value"])
        return {role: {side: float(np.mean(v)) for side, v in sides.items()} for role, sides in found.items()}


def evaluate_panel(model: CausalModel, base: Reference, panel: PanelConfig) -> PanelResult:
    """Measures every set with the model and with its base, on the same items.

    Raises:
        ConfigError, DataError, ModelError: what cannot be asked; the sentence names the set, or the file and line.
    """
    try:
        return _evaluate(model, base, panel)
    except ConfigError as error:
        raise ConfigError(panel.places.locate(str(error))) from None


def _evaluate(model: CausalModel, base: Reference, panel: PanelConfig) -> PanelResult:
    read = {name: read_items(name, section, panel.seed) for name, section in panel.sets.items()}
    sets = {}
    for name, section in panel.sets.items():
        items, dropped = read[name].items, dict(read[name].dropped)
        if section.kind == "text":
            length = min(panel.sequence_length, positions_of(model))
            tuned, before = measure_text(model, base, name, items, length)
            lines, found, truncated = _text_lines(items, tuned, before), _text_records(name, section, tuned, before), 0
        else:
            scores = score_choices(model, base, encode(items, model.tokenizer, panel))
            lines = _choice_lines(items, scores)
            found = _choice_records(name, section, items, lines, scores)
            truncated = sum(line["truncated"] for line in lines)
        sets[name] = SetResult(section, _digest([item.digest for item in items]), lines, found, dropped, truncated)
    identity = {name: [found.section.kind, found.digest] for name, found in sets.items()}
    digest = _digest([panel.template, panel.thinking, panel.sequence_length, identity])
    return PanelResult(panel, digest, sets)


def _choice_lines(items: Sequence[Item], scores: ChoiceScores) -> list[dict[str, Any]]:
    """Of each item: log-likelihood of each choice by model and base in nats, which is picked, which is right."""
    lines, first = [], 0
    for item in items:
        here = slice(first, first := first + len(item.choices))
        size = np.array([len(choice) for choice in item.choices])
        line: dict[str, Any] = {"where": item.where, "item": item.digest, "right": item.right}
        line |= {"context": item.context, "choices": item.choices}
        line |= {"characters": size.tolist(), "tokens": scores.tokens[here].tolist()}
        for side, nats, greedy in zip(SIDES, scores.nats[:, here], scores.greedy[:, here], strict=True):
            line[side] = nats.tolist()
            if len(item.choices) == 1:
                line[f"{side}_correct"] = bool(greedy[0])
            else:
                line |= {f"{side}_picked": int(nats.argmax()), f"{side}_picked_norm": int((nats / size).argmax())}
                line[f"{side}_correct"] = line[f"{side}_picked"] == item.right
                line[f"{side}_correct_norm"] = line[f"{side}_picked_norm"] == item.right
        line["truncated"] = bool(scores.truncated[here].any())
        lines.append(line)
    return lines


def _choice_records(
    name: str, section: SetSection, items: Sequence[Item], lines: Sequence[dict[str, Any]], scores: ChoiceScores
) -> list[Record]:
    """Accuracy of both sides, with intervals over items; drift on the tokens of the right choices."""
    first = np.cumsum([0, *(len(item.choices) for item in items[:-1])])
    right = first + np.array([item.right for item in items])
    one, tokens = np.ones(len(items)), scores.tokens[right].astype(float)
    found = []
    for row, side in enumerate(SIDES):
        correct = {
            metric: f"{side}_{key}" for metric, key in (("accuracy", "correct"), ("accuracy_norm", "correct_norm"))
        }
        found += [
            _record(name, section, side, metric, np.array([float(line[key]) for line in lines]), one)
            for metric, key in correct.items()
            if key in lines[0]
        ]
        if section.kind == "cloze":
            found.append(_record(name, section, side, "word_nats", -scores.nats[row, right], one))
    drift = dict(zip(DRIFT, scores.drift[:, right], strict=True))
    columns = {
        "kl_base_tuned": drift["kl_base_tuned"],
        "kl_tuned_base": drift["kl_tuned_base"],
        "top1_agreement": drift["agree"],
        "entropy_change": drift["entropy"] - drift["base_entropy"],
    }
    return found + [_record(name, section, "model", metric, sums, tokens) for metric, sums in columns.items()]


def _record(name: str, section: SetSection, side: str, metric: str, sums: NDArray[Any], sizes: NDArray[Any]) -> Record:
    value, low, high = ratio_interval(sums, sizes)
    return {
        "run": side, "set": name, "role": section.role, "metric": metric, "unit": UNITS[metric],
        "value": value, "low": low, "high": high, "n": len(sums),
    }  # fmt: skip


def _text_lines(items: Sequence[Item], tuned: Scores, before: Scores) -> list[dict[str, Any]]:
    columns = {key: value for key, value in vars(tuned).items() if value is not None and key != "document"}
    columns["base_nats"] = before.nats
    return [
        {"where": item.where, "item": item.digest} | {key: value[row].item() for key, value in columns.items()}
        for row, item in enumerate(items)
    ]


def _text_records(name: str, section: SetSection, tuned: Scores, before: Scores) -> list[Record]:
    found = []
    for side, scores in zip(SIDES, (tuned, before), strict=True):
        for record in records(scores, run=side, seed=0, set_name=name, role=section.role):
            found.append({key: value for key, value in record.items() if key != "seed"})
    assert tuned.entropy_change is not None
    return [*found, _record(name, section, "model", "entropy_change", tuned.entropy_change, tuned.tokens)]


def _digest(value: Any) -> str:
    return "sha256:" + hashlib.sha256(json.dumps(value).encode()).hexdigest()
