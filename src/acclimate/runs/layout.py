"""What lies where in a run folder, and the version that every file of it bears.

Nobody else spells a name of these files. A file without a version is one of version 0, as acclimate 0.1.0 wrote them:
the same, but that ``summary.json`` and ``generations.json`` are lists, and files of lines begin with their first line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acclimate.disk.files import unwritable, write_text
from acclimate.types.errors import RunError, reason

VERSION = 1
"""Of the files of a run folder but ``config.yaml``, which is a configuration and has that version."""

UNTOUCHED = "untouched"
"""Who the checkpoint before tokens were added is, in records."""


@dataclass(frozen=True)
class Layout:
    """Where the files of the run in ``path`` are, whether they are there yet or not."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration, which trains the run again."""
        return self.path / "config.yaml"

    @property
    def provenance(self) -> Path:
        """Versions, machine, digests of base, data and ``model/``, sessions, and what the run cost."""
        return self.path / "provenance.json"

    @property
    def data(self) -> Path:
        """Documents, tokens and dropped rows by source, overlap of training with held-out text, steps, parameters."""
        return self.path / "data.json"

    @property
    def metrics(self) -> Path:
        """A line an optimizer step."""
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        """The same for tensorboard, where it was asked for."""
        return self.path / "tensorboard"

    @property
    def trackers(self) -> Path:
        """Under which name each tracker knows the run, so that a resumed one goes on there."""
        return self.path / "trackers.json"

    @property
    def summary(self) -> Path:
        """What was measured on held-out text; it marks the run as finished."""
        return self.path / "summary.json"

    @property
    def untouched(self) -> Path:
        """Bits per byte of the checkpoint before tokens were added, and of the model, over the same bytes."""
        return self.path / "untouched.json"

    @property
    def generations(self) -> Path:
        """Answers of base and tuned model to held-out prompts."""
        return self.path / "generations.json"

    @property
    def interpolation(self) -> Path:
        """What was measured at each alpha between the base's weights and the tuned ones."""
        return self.path / "interpolation.json"

    @property
    def retain(self) -> Path:
        """What became of a forgetting budget: the outcome, the weights that were chosen, what they spend of it."""
        return self.path / "retain.json"

    @property
    def eval(self) -> Path:
        """The folder of scores by document."""
        return self.path / "eval"

    @property
    def measured(self) -> Path:
        """Which weights, base, data and files the numbers are of."""
        return self.eval / "measured.json"

    def scores(self, set_name: str) -> Path:
        """Of a held-out set: a line a document."""
        return self.eval / f"{set_name}.jsonl"

    @property
    def memorisation(self) -> Path:
        """The folder of scores of documents that were trained on."""
        return self.path / "memorisation"

    @property
    def memorised(self) -> Path:
        """What these gained beyond held-out ones, by source."""
        return self.memorisation / "check.json"

    def reread(self, source: str) -> Path:
        """Of a source: a line a document that was trained on."""
        return self.memorisation / f"{source}.jsonl"

    def panel(self, name: str) -> PanelLayout:
        """A panel that was put to the run's model."""
        return PanelLayout(self.path / "panels" / name)

    @property
    def panels(self) -> list[PanelLayout]:
        """Those that were measured, by name."""
        found = sorted((self.path / "panels").iterdir()) if (self.path / "panels").is_dir() else []
        return [panel for panel in map(PanelLayout, found) if panel.document.is_file()]

    @property
    def model(self) -> Path:
        """What training wrote: a whole model, or an adapter, in the form of transformers and PEFT."""
        return self.path / "model"

    @property
    def card(self) -> Path:
        """The model card."""
        return self.model / "README.md"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    def checkpoint(self, step: int) -> Path:
        """The state after a step."""
        return self.checkpoints / f"step-{step:08d}"

    @property
    def step_checkpoints(self) -> list[Path]:
        """Those that are there, oldest first."""
        found = (
            (int(number), path)
            for path in self.checkpoints.glob("step-*")
            if (number := path.name.removeprefix("step-")).isdecimal()
        )
        return [path for _, path in sorted(found)]

    @property
    def best(self) -> Path:
        """The weights of the step that validated best."""
        return self.checkpoints / "best"

    @property
    def search(self) -> Path:
        """The folder of probes of ``method: auto``, each a run folder, beside the configuration that they are of."""
        return self.path / "search"

    @property
    def searched(self) -> Path:
        """What ``method: auto`` tried, what it chose and why, and what it did not try."""
        return self.path / "search.json"

    @property
    def report(self) -> Path:
        """The page about this run alone."""
        return self.path / "report.html"

    @property
    def has_model(self) -> bool:
        """Whether ``model/`` is there, whole or as an adapter."""
        return any((self.model / name).is_file() for name in ("config.json", "adapter_config.json"))


@dataclass(frozen=True)
class PanelLayout:
    """The files of one panel that was measured."""

    path: Path

    @property
    def document(self) -> Path:
        """Who was measured against whom, on what, and all numbers."""
        return self.path / "panel.json"

    @property
    def page(self) -> Path:
        """The same for a reader."""
        return self.path / "panel.html"

    def items(self, set_name: str) -> Path:
        """Of a set: a line an item."""
        return self.path / f"{set_name}.jsonl"


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """The document with its version, as indented JSON, atomically."""
    write_text(path, json.dumps({"version": VERSION, **document}, indent=1, ensure_ascii=False) + "\n")


def write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """A line that holds the version, then an object a line, atomically."""
    write_text(path, "".join(json.dumps(line) + "\n" for line in ({"version": VERSION}, *lines)))


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """One more line, flushed at once; the version first, where the file is new.

    Raises:
        RunError: it cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as stream:
            lines = ({"version": VERSION}, line) if not stream.tell() else (line,)
            stream.write("".join(json.dumps(one) + "\n" for one in lines))
    except OSError as error:
        raise unwritable(path, error) from error


def read_json(path: Path, rows: str | None = None) -> dict[str, Any]:
    """What :func:`write_json` wrote, of this version or an older one.

    Args:
        rows: the key of what was the whole file in version 0.

    Raises:
        RunError: it is missing, damaged, or of a later version.
    """
    try:
        return parsed(path, rows)
    except FileNotFoundError:
        raise RunError(f"'{path}' is missing: the run is not finished, or the folder is no run.") from None
    except ValueError:
        hint = " `acclimate eval` writes it again." if rows else ""
        raise RunError(f"'{path}' is damaged: it is not JSON.{hint}") from None


def parsed(path: Path, rows: str | None = None) -> dict[str, Any]:
    """As :func:`read_json`, for those who say themselves what is wrong.

    Raises:
        OSError, ValueError: the file cannot be read, or is no JSON object.
        RunError: it is of a later version.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    if rows and isinstance(document, list):
        return {rows: document}
    if not isinstance(document, dict):
        raise ValueError("it holds no JSON object")
    _check_version(path, document.pop("version", 0))
    return document


def text_of(path: Path) -> str:
    """
    Raises:
        RunError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"'{path}' cannot be read: {reason(error)}.") from None


def body(path: Path, lines: Sequence[str]) -> list[tuple[int, str]]:
    """Lines of a file as ``(number, line)``, less the one that holds the version.

    Raises:
        RunError: it is of a later version.
    """
    first = _version_line(lines[0]) if lines else None
    if first is not None:
        _check_version(path, first)
    return list(enumerate(lines, 1))[first is not None :]


def _version_line(line: str) -> Any:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found.get("version") if isinstance(found, dict) else None


def _check_version(path: Path, version: Any) -> None:
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise RunError(f"'{path}' is damaged: its version is {version!r}; expected a number up to {VERSION}.")
    if version > VERSION:
        raise RunError(
            f"'{path}' is of version {version}, and this acclimate reads files of a run up to version {VERSION}; "
            "install a newer one: pip install --upgrade acclimate."
        )
