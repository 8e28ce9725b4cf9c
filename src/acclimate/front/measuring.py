"""Any model against any base: opened from folders or taken from a loop, and measured on the same text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from acclimate.build import pairs
from acclimate.config.explain import Places
from acclimate.data.chat.rendering import special_tokens
from acclimate.data.deal.pack import HeldoutBatches
from acclimate.front.measured import Measured
from acclimate.gates.verdict import Judged
from acclimate.measurement import measure as measurement
from acclimate.measurement.panel.schema import PanelConfig, load_panel
from acclimate.model.causal import CausalModel
from acclimate.model.pair import Pair
from acclimate.model.reference import Reference
from acclimate.paired.grouped import codes
from acclimate.runs.layout import Layout
from acclimate.runs.panel import columns_of
from acclimate.types.errors import UsageError
from acclimate.verbs.panel.evaluate import PanelResult, evaluate_panel

Asked = str | Path | PanelConfig | Mapping[str, str | Path | Mapping[str, Any]]


def open_pair(model: str | Path, base: str | Path | None = None) -> Pair:
    """A tuned model and the base that it is measured against.

    Args:
        model: a run folder, a folder or hub id of a whole model, or a folder of a PEFT adapter.
        base: folder or hub id; a run folder knows its own.

    Raises:
        UsageError: no base, a base beside a run folder, or another one than the adapter's.
        ModelError, RunError: one cannot be loaded, or the two read different tokens.

    Example:
        >>> pair = open_pair("tuned/", base="HuggingFaceTB/SmolLM2-135M")
        >>> pair.model.network.num_parameters() == pair.base.model.network.num_parameters()
        True
    """
    folder = Path(model)
    if Layout(folder).config.is_file() and Layout(folder).provenance.is_file():
        if base is not None:
            raise UsageError(f"open_pair: base has no effect beside the run '{model}', which knows its own.")
        return pairs.run_pair(folder)
    if base is None:
        raise UsageError(f"open_pair: '{model}' is no run folder, so nothing says what its base is; give base.")
    if (folder / "adapter_config.json").is_file():
        return pairs.adapter_pair(folder, str(base))
    return pairs.model_pair(str(model), str(base))


def measure(
    model: Pair | CausalModel,
    on: Asked | Mapping[str, HeldoutBatches],
    *,
    base: Reference | None = None,
    name: str | None = None,
) -> Measured:
    """Bits per byte, divergence from the base, agreement, accuracy: on the same documents, so that changes are paired.

    Args:
        model: what ``open_pair`` gives, or the student of a loop.
        on: a panel (its YAML file, or what ``load_panel`` gives), or by name a .jsonl file of texts or the settings
            of a panel's set; of a loop also ``packed.heldout``.
        base: the reference to compare a student with, such as ``frozen_copy(student)``.
        name: of the model, where results are shown.

    Raises:
        UsageError: nothing to measure on, or no base where one is needed.
        ConfigError, DataError: a file cannot be read, or a setting is wrong.

    Example:
        >>> found = measure(open_pair("tuned/", base="base/"), on={"general": "wiki.jsonl"})
        >>> change = found.change("general")  # model less base, paired by document
        >>> change.unit, change.n, change.low < change.value < change.high
        ('bits/byte', 30, True)
    """
    notes: tuple[str, ...] = ()
    compared = base
    if isinstance(model, Pair):
        if base is not None:
            raise UsageError("measure: base has no effect beside a pair, which has its own.")
        student, compared, notes = model.model, model.base, model.notes
        called = str(model.identity.get("name", "model"))
    elif isinstance(model, CausalModel):
        student, called = model, "model"
    else:
        raise UsageError(
            "measure: the first argument is what acclimate.open_pair(model, base) gives, or the student of a loop."
        )
    if isinstance(on, Mapping) and (packed := {n: one for n, one in on.items() if isinstance(one, HeldoutBatches)}):
        if len(packed) < len(on):
            raise UsageError("measure: some sets are packed rows and some are files; measure them one after the other.")
        judged = tuple(_rows(student, compared, set_name, batches) for set_name, batches in packed.items())
        return Measured(name or called, judged, notes)
    if compared is None:
        raise UsageError("measure: a panel compares a model with its base; give base=acclimate.frozen_copy(student).")
    panel = _panel(on)
    return Measured(name or called, _judged(evaluate_panel(student, compared, panel)), notes)


def _panel(on: Any) -> PanelConfig:
    if isinstance(on, PanelConfig):
        return on
    if isinstance(on, str | Path):
        return load_panel(on)
    if not isinstance(on, Mapping) or not on:
        raise UsageError('measure: there is nothing to measure on; give a panel, or {"general": "FILE.jsonl"}.')
    sets: dict[str, Any] = {}
    for name, given in on.items():
        settings = dict(given) if isinstance(given, Mapping) else {"path": str(given)}
        kind = {"kind": "text"} if "kind" not in settings else {}
        role = {"role": "domain"} if name == "domain" and "role" not in settings else {}
        sets[name] = settings | kind | role
    return PanelConfig.parsed({"sets": sets}, Places("measure", {}))


def _judged(result: PanelResult) -> tuple[Judged, ...]:
    found = []
    for name, measured in result.sets.items():
        metrics = dict.fromkeys(record["metric"] for record in measured.records)
        columns = {column: find for metric in metrics for column, find in columns_of(metric).items()}
        scores = {
            column: np.array([find(line) for line in measured.items], dtype=float) for column, find in columns.items()
        }
        groups = codes([None if line.get("group") is None else str(line["group"]) for line in measured.items])
        counted = "documents" if measured.section.kind == "text" else "items"
        scores |= {} if groups is None else {"group": groups}
        found.append(Judged(name, measured.section.role, counted, scores))
    return tuple(found)


def _rows(model: CausalModel, base: Reference | None, name: str, batches: HeldoutBatches) -> Judged:
    tuned, before = measurement.measure(model, base, batches, list(special_tokens(model.tokenizer)))
    scores = tuned.columns(before)
    ids = scores.pop("document")
    named = getattr(batches, "groups", {})
    groups = codes([named.get(int(number)) for number in ids])
    scores |= {} if groups is None else {"group": groups}
    return Judged(name, getattr(batches, "role", "general"), "documents", scores)
