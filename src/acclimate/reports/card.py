"""A Hugging Face model card written from one run folder."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import yaml

from acclimate.paired.estimate import Estimate
from acclimate.paired.metrics import BITS, METRICS, Metric
from acclimate.reports.collect import collect
from acclimate.reports.front_matter import UNKNOWN, Origin, base_name, front_matter
from acclimate.reports.page import environment
from acclimate.reports.search import record_of, sentence
from acclimate.reports.sections.budget import budgeted
from acclimate.reports.sections.sources import attention
from acclimate.reports.words import number
from acclimate.reports.words.verdict import verdict

TURNING = re.compile(r"[\x00-\x1f\u200b\u200e\u200f\u202a-\u202e\ufeff]")
"""Invisible characters that turn or hide what stands beside them."""


LEAST_RANK = 8
"""That vLLM takes."""


def model_card(run_dir: Path, merged: bool = False, checkpoint: str | None = None, origin: Origin = UNKNOWN) -> str:
    """The card: what it is, before and after, how it was trained, how to load it, what it does not promise.

    Args:
        run_dir: a finished and evaluated run folder.

        merged: the folder holds a whole model, its adapter folded in.
        checkpoint: the folder holds the weights of this checkpoint, which were not measured.
        origin: what the run folder cannot know of its base.

    Raises:
        RunError: the run is not finished.
    """
    data = collect([run_dir])
    folder = data.folders[0]
    config = folder.config
    lora = None if merged else config.get("lora")
    search = record_of(folder.path)
    base_model, local = base_name(str((config.get("model") or {}).get("path", "")))
    if origin.base_id is not None:
        base_model, local = origin.base_id, False
    front = front_matter(folder, lora, origin)
    if checkpoint:
        front.pop("model-index", None)
    return _template().render(
        front=yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip(),
        licence=front.get("license"),
        name=folder.name,
        method=folder.method,
        base_model=base_model,
        local=local,
        lora=lora,
        rank=max(LEAST_RANK, rank) if isinstance(rank := (lora or {}).get("rank"), int) else LEAST_RANK,
        checkpoint=checkpoint,
        verdict=verdict(data),
        rows=[
            (
                item,
                *_row(metric, data.base.get(item.name), folder.measures[item.name, name]),
                *_change(metric, folder.change(item.name, name)),
            )
            for item in data.sets
            for name, metric in METRICS.items()
            if metric.words and (item.name, name) in folder.measures
        ],
        kept=data.kept,
        budget=next(iter(budgeted(data)), None),
        settings=_settings(config),
        chosen=sentence(search) if search is not None else "",
        facts=folder.data,
        attention=attention(folder.data),
        turn_ends=folder.data.get("turn_ends") or {},
        sources=folder.data.get("sources") or {},
        provenance=folder.provenance,
    )


def plain(value: Any) -> str:
    """Text that stays text inside a Markdown table: no markup, no column break, no line break."""
    text = TURNING.sub("\N{REPLACEMENT CHARACTER}", " ".join(str(value).split()))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|])", r"\\\1", text)


def _row(metric: Metric, base: Estimate | None, tuned: Estimate) -> tuple[str, str, str]:
    spell, _ = number.spelling(metric.unit)
    limits = number.interval(tuned, spell)
    before = spell(base.value) if metric.name == BITS and base else number.NONE
    return metric.words, before, f"{spell(tuned.value)} ({limits})" if limits else spell(tuned.value)


def _change(metric: Metric, change: Estimate | None) -> tuple[str, str]:
    """The paired change with its interval, and the smallest that would have shown; drift is a change already."""
    if change is None:
        return number.NONE, number.NONE
    value, signed = number.spelling(metric.unit)
    limits = number.interval(change, signed)
    said = f"{signed(change.value)} ({limits})" if limits else signed(change.value)
    return said, number.NONE if math.isinf(change.mde) else value(change.mde)


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    """The settings a reader asks for first, as configured."""
    settings = {"method": _brief(config.get("method", "")), "seed": str(config.get("seed", 0))}
    for section, keys in (
        ("optimizer", ("learning_rate", "weight_decay")),
        ("schedule", ("type",)),
        ("budget", ("count", "tokens", "steps", "epochs", "batch_tokens")),
        ("data", ("sequence_length",)),
        ("lora", ("rank", "alpha", "dropout")),
    ):
        values = config.get(section) or {}
        settings |= {f"{section}.{key}": str(values[key]) for key in keys if values.get(key) is not None}
    return settings


def _brief(value: Any) -> str:
    return value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True, sort_keys=False).strip()


@cache
def _template() -> jinja2.Template:
    """Compiled once a process."""
    cards = environment(html=False)  # Markdown: the filter `plain` does what Markdown needs
    cards.filters["plain"] = plain
    cards.filters["count"] = lambda value: (
        number.count(value) if isinstance(value, int | float) else plain(value or number.NOT_COUNTED)
    )
    cards.filters["share"] = lambda value: number.share(value) if isinstance(value, int | float) else plain(value)
    return cards.get_template("card.md.j2")
