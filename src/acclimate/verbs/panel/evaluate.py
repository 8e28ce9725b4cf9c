"""A panel on a model and its base: what each set says of both, item by item."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from acclimate.measurement.measure import Scores
from acclimate.measurement.panel.encode import encode
from acclimate.measurement.panel.items import Item, read_items
from acclimate.measurement.panel.records import SIDES, adjust, averages, choice_records, score_records, text_records
from acclimate.measurement.panel.schema import PanelConfig, SetSection
from acclimate.measurement.panel.score import DRIFT_COLUMNS, ChoiceScores, score_choices
from acclimate.measurement.panel.text import measure_text
from acclimate.measurement.summary import Record
from acclimate.model.causal import CausalModel
from acclimate.model.reference import Reference
from acclimate.paired.grouped import Groups, codes
from acclimate.types.errors import ConfigError
from acclimate.types.notebook import printed


@dataclass(frozen=True)
class SetResult:
    """One set: ``items`` has a line an item, in the order of its files, ``records`` one a metric and side."""

    section: SetSection
    digest: str  # of what was asked
    items: list[dict[str, Any]]
    records: list[Record]
    dropped: dict[str, int]  # items left out, by reason
    truncated: int  # items whose context lost its beginning, because the model has too few positions
    unread: dict[str, int]  # field of the records -> items in which it holds what is not asked
    task: dict[str, Any] | None = None  # of lm-eval: name, version ...


@dataclass(frozen=True)
class PanelResult:
    """What a panel found. ``digest`` identifies template, thinking mode and items: only equal ones compare.

    ``averages``: role -> side -> mean bits per byte over its text sets, each of the same weight (a macro average), and
    ``change``, with a paired interval.
    """

    panel: PanelConfig
    digest: str
    sets: dict[str, SetResult]
    averages: dict[str, dict[str, Any]]

    def _repr_html_(self) -> str:
        from acclimate.verbs.panel.page import panel_tables

        return printed(lambda console: console.print(panel_tables(self, self.panel.name)))

    @property
    def records(self) -> list[Record]:
        return [record for found in self.sets.values() for record in found.records]


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
    tasks = {name: _task(name, section) for name, section in panel.sets.items() if section.kind == "lm_eval"}
    read = {name: read_items(name, section, panel.seed) for name, section in panel.sets.items() if name not in tasks}
    sets: dict[str, SetResult] = {}
    texts: list[tuple[str, Scores, Scores, Groups | None]] = []
    length = min(panel.sequence_length, model.positions, base.model.positions)
    for name, section in panel.sets.items():
        if name in tasks:
            sets[name] = _measured_task(model, base, name, section, tasks[name], panel)
            continue
        items, dropped = read[name].items, dict(read[name].dropped)
        if section.kind == "text":
            tuned, before = measure_text(model, base, name, items, length, panel.overlap)
            groups = codes([items[document].group for document in tuned.document.tolist()])
            lines, truncated = _text_lines(items, tuned, before), 0
            found = text_records(name, section, tuned, before, groups)
            texts.append((section.role, tuned, before, groups))
        else:
            scores = score_choices(model, base, encode(items, model.tokenizer, panel, base.tokenizer))
            lines = _choice_lines(items, scores)
            found = choice_records(name, section, lines, codes([item.group for item in items]))
            truncated = sum(line["truncated"] for line in lines)
        digest, unread = _digest([item.digest for item in items]), dict(read[name].unread)
        sets[name] = SetResult(section, digest, lines, found, dropped, truncated, unread)
    adjust([record for found in sets.values() for record in found.records])
    identity = {name: [found.section.kind, found.digest] for name, found in sets.items()}
    overlap = [panel.overlap] if panel.overlap else []  # panels without one keep the digest they had
    digest = _digest([panel.template, panel.thinking, length, *overlap, identity])
    return PanelResult(panel, digest, sets, averages(texts))


def _task(name: str, section: SetSection) -> Any:
    if importlib.util.find_spec("lm_eval") is None:
        raise ConfigError(f"sets.{name}.kind: 'lm_eval' needs lm-eval; run `pip install 'acclimate[lm-eval]'`.")
    from acclimate.measurement.panel.tasks import load_task

    return load_task(name, section)


def _measured_task(
    model: CausalModel, base: Reference, name: str, section: SetSection, task: Any, panel: PanelConfig
) -> SetResult:
    from acclimate.measurement.panel.tasks import measure_task

    found = measure_task(model, base, name, section, task, panel)
    digest = _digest([found.about, [line["item"] for line in found.lines]])
    truncated = sum(line["truncated"] for line in found.lines)
    listed = score_records(name, section, found.lines, found.metrics)
    return SetResult(section, digest, found.lines, listed, {}, truncated, {}, found.about)


def _choice_lines(items: Sequence[Item], scores: ChoiceScores) -> list[dict[str, Any]]:
    """Of each item: log-likelihood of each choice by model and base in nats, which is picked, which is right, and how
    far the two are apart on the tokens of the right one."""
    lines, first = [], 0
    for item in items:
        right = first + item.right
        here = slice(first, first := first + len(item.choices))
        size = np.array([len(choice) for choice in item.choices])
        line: dict[str, Any] = {"where": item.where, "item": item.digest, "right": item.right}
        line |= {} if item.group is None else {"group": item.group}
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
        drift = dict(zip(DRIFT_COLUMNS, scores.drift[:, right].tolist(), strict=True))
        drift["entropy_change"] = drift.pop("entropy") - drift.pop("base_entropy")
        line |= {"right_tokens": int(scores.tokens[right])} | drift
        line["truncated"] = bool(scores.truncated[here].any())
        lines.append(line)
    return lines


def _text_lines(items: Sequence[Item], tuned: Scores, before: Scores) -> list[dict[str, Any]]:
    columns = tuned.columns(before)
    measured = [items[document] for document in columns.pop("document").tolist()]  # all that have a token to predict
    return [
        {"where": item.where, "item": item.digest}
        | ({} if item.group is None else {"group": item.group})
        | {key: value[row].item() for key, value in columns.items()}
        for row, item in enumerate(measured)
    ]


def _digest(value: Any) -> str:
    return "sha256:" + hashlib.sha256(json.dumps(value).encode()).hexdigest()
