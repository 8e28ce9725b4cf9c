"""What an adapter is put on: a configuration's names, found in a network, and handed to PEFT so that it changes none.

PEFT 0.19 to 0.21 turn some layers' names into names of experts when an adapter is made or read ("v5 conversion"), and
which ones changes by version. What it would turn is handed over as a parameter, which no version touches [from code].
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from acclimate.config.lora_schema import LoraSection
from acclimate.model.lora.matrices import ALL_LINEAR, Kind, Matrix, matrices
from acclimate.model.lora.peft_names import refused, renamed, unreadable
from acclimate.types.errors import ModelError, listed, nearest

ALL = "all-linear"


@dataclass(frozen=True)
class Targets:
    """The matrices that get an adapter, and the names by which PEFT finds these and no other."""

    chosen: tuple[Matrix, ...]
    modules: tuple[str, ...]
    parameters: tuple[str, ...]
    left_out: Mapping[str, str]
    """Name and why, of what was asked for and cannot be adapted."""


def targets_of(network: Any, section: LoraSection) -> Targets:
    """Resolves ``lora.target_modules`` and ``lora.experts`` over the network's own matrices.

    Raises:
        ModelError: a name matches nothing, or nothing that LoRA adapts here.
    """
    every = matrices(network)
    asked = _asked(network, every, section)
    if section.experts:
        asked |= _experts(every)
    why = {matrix.name: reason for matrix in asked if (reason := matrix.idle) is not None}
    usable = [matrix for matrix in every if matrix in asked and matrix.name not in why]
    why |= dict.fromkeys(refused(network, usable), "PEFT refuses it in this family")
    why |= dict.fromkeys(unreadable(network, usable), "PEFT does not read back what it writes of it")
    chosen = tuple(matrix for matrix in usable if matrix.name not in why)
    if not chosen:
        said = "; ".join(dict.fromkeys(f"'{m.layer}': {why[m.name]}" for m in every if m.name in why))
        raise ModelError(f"lora.target_modules: nothing that it names can be adapted here ({said}).")
    return _named(network, chosen, section, why)


def _asked(network: Any, every: Sequence[Matrix], section: LoraSection) -> set[Matrix]:
    targets = section.target_modules
    if targets == ALL:
        return {matrix for matrix in every if matrix.kind in ALL_LINEAR}
    if isinstance(targets, str):
        return _matching(network, every, targets)
    found: set[Matrix] = set()
    for target in targets:
        found |= _called(network, every, target)
    return found


def _experts(every: Sequence[Matrix]) -> set[Matrix]:
    found = {matrix for matrix in every if matrix.kind is Kind.EXPERTS}
    if not found:
        raise ModelError("lora.experts: this model has no experts; leave it out.")
    if all(matrix.idle for matrix in found):
        raise ModelError(f"lora.experts: they cannot be adapted here: {next(iter(found)).idle}. Leave it out.")
    return found


def _called(network: Any, every: Sequence[Matrix], target: str) -> set[Matrix]:
    """Those of a layer of this name; of a router, also what is in it; else those of a parameter of this name."""
    found = {m for m in every if _ends(m.module, target)}
    found |= {m for m in every if m.kind is Kind.ROUTER and f".{target}." in f".{m.name}"}
    found = found or {m for m in every if _ends(m.name, target)}
    return _checked(network, every, found, target)


def _matching(network: Any, every: Sequence[Matrix], pattern: str) -> set[Matrix]:
    """Those whose layer's whole name, or else whose parameter's, fits the regular expression."""
    layers = _layers(every)
    try:
        known = re.compile(pattern)
    except re.error as error:
        raise ModelError(
            f"lora.target_modules: {pattern!r} is no regular expression ({error}); accepted: all-linear, a regular "
            f"expression over whole module names, or a list of {listed(layers)}."
        ) from None
    if pattern in layers:
        raise ModelError(
            f"lora.target_modules: {pattern!r} alone is a regular expression over whole module names and matches "
            f"none; a list of layers is written [{pattern}]."
        )
    found = {m for m in every if known.fullmatch(m.module)}
    found = found or {m for m in every if known.fullmatch(m.name)}
    if not found:
        raise ModelError(
            f"lora.target_modules: {pattern!r} fits no part of this model that LoRA can adapt; its linear layers are "
            f"called {listed(layers)}."
        )
    return _checked(network, every, found, pattern)


def _checked(network: Any, every: Sequence[Matrix], found: set[Matrix], target: str) -> set[Matrix]:
    layers = _layers(every)
    if not found:
        other = next((type(module).__name__ for name, module in network.named_modules() if _ends(name, target)), None)
        what = f"is a {other}, which LoRA does not adapt" if other else "matches no layer"
        raise ModelError(
            f"lora.target_modules: {target!r} {what}; the linear layers of this model are called {listed(layers)}."
            + nearest(target, layers)
        )
    if any(matrix.kind is Kind.EMBEDDINGS for matrix in found):
        raise ModelError("lora.target_modules adapts the embeddings, which acclimate keeps frozen; leave them out.")
    if any(matrix.kind is Kind.HEAD for matrix in found):
        raise ModelError(
            "lora.target_modules adapts the output head, which acclimate keeps frozen under LoRA; "
            "use 'all-linear' or name the layers without it."
        )
    if all(matrix.idle for matrix in found):
        raise ModelError(f"lora.target_modules: {target!r} cannot be adapted here: {next(iter(found)).idle}.")
    return found


def _layers(every: Iterable[Matrix]) -> list[str]:
    """Last names of what LoRA adapts here."""
    kinds = (*ALL_LINEAR, Kind.EXPERTS, Kind.ROUTER)
    return sorted({matrix.layer for matrix in every if matrix.kind in kinds and matrix.idle is None})


def _named(
    network: Any,
    chosen: tuple[Matrix, ...],
    section: LoraSection,
    left_out: Mapping[str, str],
) -> Targets:
    turned = renamed(network, {matrix.layer for matrix in chosen if matrix.whole})
    layers = [matrix for matrix in chosen if matrix.whole and matrix.layer not in turned]
    others = [matrix for matrix in chosen if matrix not in layers]
    if section.dropout and others:
        names = listed(sorted({f"'{matrix.layer}'" for matrix in others}))
        raise ModelError(
            f"lora.dropout: PEFT has none for {names} of this model, which it adapts as parameters; set it to 0, or "
            "name other layers in lora.target_modules."
        )
    modules = {name for name, _ in network.named_modules()}
    parameters = {name for name, _ in network.named_parameters(remove_duplicate=False)}
    return Targets(
        chosen,
        tuple(shortest({matrix.module for matrix in layers}, modules)),
        tuple(shortest({matrix.name for matrix in others}, parameters)),
        left_out,
    )


def shortest(chosen: set[str], every: set[str]) -> list[str]:
    """The shortest ends of names that fit the chosen ones and no other.

    >>> shortest({"a.0.q", "a.1.q"}, {"a.0.q", "a.1.q", "a.0.k"})
    ['q']
    >>> shortest({"text.q"}, {"text.q", "vision.q"})
    ['text.q']
    """
    taken = {end for name in every - chosen for end in _ends_of(name)}
    return sorted({next((end for end in _ends_of(name) if end not in taken), name) for name in chosen})


def _ends_of(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[-n:]) for n in range(1, len(parts) + 1)]


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")
