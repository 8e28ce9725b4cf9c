"""Adapt a language model to a domain without losing what it already knew, and prove it.

Every name below is public and keeps its meaning by semantic versioning (docs/explanation/versioning.md); nothing else
does. Each is loaded when it is first asked for, so that ``import acclimate`` takes no time, and what needs no torch
loads none: ``paired`` (statistics), ``runs`` (run folders), ``gate``, ``load_config``.

>>> import acclimate as ac
>>> ac.cross_entropy(on="domain").name
'cross_entropy'
"""

from importlib import import_module

__version__ = "0.2.0"

_HOMES = {
    "Objective": "front.objective",
    "cross_entropy": "front.terms",
    "kl": "front.terms",
    "Batch": "types.central",
    "Dial": "types.dials",
    "causal": "front.models",
    "frozen_copy": "front.models",
    "adapter_off": "front.models",
    "chain": "front.gradients",
    "clip": "front.gradients",
    "l2_to_base": "front.gradients",
    "importance": "front.gradients",
    "boost": "front.gradients",
    "text": "front.rows",
    "pack": "front.packing",
    "mix": "front.rows",
    "Mix": "front.rows",
    "Shares": "front.rows",
    "measure": "front.measuring",
    "Measured": "front.measured",
    "open_pair": "front.measuring",
    "Estimate": "paired.estimate",
    "ForgettingBudget": "trl.budget",
    "ForgettingPanel": "trl.panel",
    "load_config": "config.load",
    "parse_config": "config.load",
    "validate": "verbs.validate",
    "train": "verbs.run",
    "adapt": "verbs.adapt",
    "evaluate_run": "verbs.run",
    "export": "verbs.export",
    "record": "verbs.record",
    "replay": "verbs.replay",
    "load_panel": "verbs.panel",
    "evaluate_panel": "verbs.panel",
    "load_comparison": "verbs.compare",
    "compare": "verbs.compare",
    "plan": "verbs.planning",
    "write_report": "reports",
    "gate": "gates",
    "open_chat": "verbs.chat",
    "diagnose": "verbs.doctor",
}
"""Public name -> where it lives; ``__init__.pyi`` says the same to type checkers."""
_ROOMS = ("paired", "runs")
"""Public as they are."""

__all__ = ["__version__", *_HOMES, *_ROOMS]  # noqa: PLE0604


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return import_module(f"acclimate.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'acclimate' has no attribute '{name}'")
    return getattr(import_module(f"acclimate.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
