"""What the user of `adapt` says, checked as far as it can be without looking at text and model, so without torch."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from acclimate.config.schema import NAME
from acclimate.parallel.launch import launched_processes
from acclimate.types.errors import UsageError

SELF = "self"


@dataclass(frozen=True)
class Asked:
    """What the user says."""

    model: str
    domain: tuple[str, ...]
    keep: float
    general: tuple[str, ...]
    """Paths; empty: the base writes it."""
    name: str
    output_dir: str
    search: bool = False
    tokens: int | None = None
    epochs: float | None = None

    @property
    def paths(self) -> str | list[str]:
        return self.domain[0] if len(self.domain) == 1 else list(self.domain)


def asked_of(
    model: str,
    domain: str | Sequence[str],
    keep: float,
    general: str | Sequence[str],
    output_dir: str,
    name: str | None,
    search: bool,
    tokens: int | None,
    epochs: float | None,
) -> Asked:
    """The arguments as one thing.

    Raises:
        UsageError: one of them cannot be right.
    """
    if launched_processes() > 1:
        raise UsageError(
            f"acclimate adapt chooses in one process, and this is one of {launched_processes()}; let it write its "
            "configuration, and train that with --nproc or torchrun."
        )
    if not 0 < keep < float("inf"):
        raise UsageError(
            f"--keep: {keep:g} is no budget of forgetting: above 0, in nats a token by which the model may drift from "
            "its base; 0.05 is little, 0.3 is much."
        )
    if tokens is not None and epochs is not None:
        raise UsageError("--tokens and --epochs both say how long to train; keep one.")
    if (tokens is not None and tokens < 1) or (epochs is not None and not 0 < epochs < float("inf")):
        wrong = f"--tokens: {tokens}" if tokens is not None else f"--epochs: {epochs:g}"
        raise UsageError(f"{wrong} trains nothing; give more than 0.")
    own, other = _paths(domain), _paths(general)
    if not own:
        raise UsageError("--domain: names no text; give a file, folder or glob.")
    written_by_base = other in ((), (SELF,))
    for option, paths in (("domain", own), ("general", () if written_by_base else other)):
        for path in paths:
            if not _may_be_there(path):
                raise UsageError(f"--{option}: there is no '{path}'; give a file, folder, glob or URL of text.")
    chosen = name if name is not None else _name(own[0])
    if not re.fullmatch(NAME, chosen):
        raise UsageError(f"--name: '{chosen}' is no name for a run: letters, digits, '.', '_' and '-'.")
    return Asked(model, own, keep, () if written_by_base else other, chosen, output_dir, search, tokens, epochs)


def _paths(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _may_be_there(path: str) -> bool:
    return "://" in path or any(mark in path for mark in "*?[") or os.path.exists(os.path.expanduser(path))


def _name(path: str) -> str:
    """
    >>> _name("data/domain/"), _name("texts/My notes.jsonl"), _name("data/*.md")
    ('domain', 'My-notes', 'data')
    """
    parts = [part for part in re.split(r"[/\\]", path) if part and not set(part) & set("*?[")]
    stem = parts[-1].split(".")[0] if parts else ""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:100] or "adapted"


def command_of(asked: Asked, overrides: Sequence[str]) -> str:
    """As a line of the shell, by which a run that goes on is known."""
    words = ["acclimate", "adapt", "--model", asked.model]
    words += [word for path in asked.domain for word in ("--domain", path)]
    words += ["--keep", f"{asked.keep:g}"]
    words += [word for path in asked.general for word in ("--general", path)]
    words += ["--output-dir", asked.output_dir, "--name", asked.name]
    words += ["--search"] if asked.search else []
    words += ["--tokens", str(asked.tokens)] if asked.tokens is not None else []
    words += ["--epochs", f"{asked.epochs:g}"] if asked.epochs is not None else []
    words += [word for override in overrides for word in ("--set", override)]
    return shlex.join(words)


def check_new(asked: Asked, path: Path, policy: Path, run_dir: Path) -> None:
    for there in (path, policy, run_dir):
        if there.exists():
            raise UsageError(
                f"--name: '{there}' exists and is left alone. The same command with --resume goes on with it; another "
                f"--name, for example {asked.name}-2, begins anew."
            )


def check_began(path: Path, command: str) -> None:
    if not path.is_file():
        raise UsageError(f"--resume: there is no '{path}' to go on with; leave --resume out to begin.")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    began = next((line[2:] for line in lines if line.startswith("# acclimate adapt ")), None)
    if began is None:
        raise UsageError(
            f"--resume: '{path}' was not written by acclimate adapt; acclimate train {path} goes on with it."
        )
    if began != command:
        raise UsageError(
            f"--resume: '{path}' was written for another command: {began}. Give that one, or another --name; what is "
            f"changed in the file itself is taken up by acclimate train {path}."
        )
