"""Adapt a language model to a domain without losing what it already knew, and prove it.

The names below are what the verbs of the command line call. They are loaded when they are first asked for, so that
``import acclimate`` takes no time. ``acclimate.runs`` reads run folders, ``acclimate.paired`` holds the statistics.
"""

from importlib import import_module

__version__ = "0.2.0"

_HOMES = {
    "load_config": "config.load",
    "parse_config": "config.load",
    "validate": "verbs.validate",
    "train": "verbs.run",
    "adapt": "verbs.adapt",
    "evaluate_run": "verbs.run",
    "export": "verbs.run",
    "record": "verbs.record",
    "replay": "verbs.replay",
    "load_panel": "verbs.panel",
    "evaluate_panel": "verbs.panel",
    "load_comparison": "verbs.compare",
    "compare": "verbs.compare",
    "write_report": "reports",
    "gate": "gates",
    "open_chat": "verbs.chat",
    "diagnose": "verbs.doctor",
}
"""Public name -> where it lives; ``__init__.pyi`` says the same to type checkers."""

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'acclimate' has no attribute '{name}'")
    return getattr(import_module(f"acclimate.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
