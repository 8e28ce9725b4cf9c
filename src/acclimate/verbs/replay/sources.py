"""Sources whose rows the base writes: into the cache before the corpora are read, or placeholders for a plan."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch
from rich.console import Console

from acclimate.config.load import RunConfig
from acclimate.disk.files import write_text
from acclimate.types.errors import ConfigError
from acclimate.verbs.replay.beginnings import Batch
from acclimate.verbs.replay.commission import Commission
from acclimate.verbs.replay.manuscript import Manuscript
from acclimate.verbs.replay.page import summary
from acclimate.verbs.replay.write import report_of, write_rows

ROWS = "rows.jsonl"
FILLED = 0.75
"""Of its limit, what an answer takes that nobody has written yet [ours]: the small models that were tried end late."""


PLACEHOLDERS = "placeholders.jsonl"


@dataclass(frozen=True)
class Unwritten:
    """Rows that a source is still to get."""

    name: str
    tokens: int
    """That are kept."""
    batch_size: int


def with_rows(config: RunConfig, device: torch.device, console: Console) -> RunConfig:
    """The configuration with files in place of ``path: self``; what is not in the cache is written now.

    Args:
        config: resolved.

    Raises:
        ConfigError, DataError, ModelError: the base cannot write so, or hardly writes a row.
        RunError: there is no room; the same command goes on.
    """

    def written(name: str) -> Path:
        commission = _checked(config, name)
        rows = _place(commission)
        if not _is_written(rows):  # else a cache that is closed will do
            for line in summary(write_rows(commission, rows, device, console)):
                console.print(f"source '{name}': {line}", highlight=False, markup=False)
            rows.with_name(PLACEHOLDERS).unlink(missing_ok=True)
        return rows

    return _with(config, written)


def with_placeholders(config: RunConfig) -> tuple[RunConfig, list[Unwritten]]:
    """The same without writing a row: what is not in the cache stands as placeholders of as many tokens.

    Raises:
        ConfigError, DataError, ModelError: as far as that is known before the base writes.
    """
    left: list[Unwritten] = []

    def placed(name: str) -> Path:
        commission = _checked(config, name)
        rows = _place(commission)
        if _is_written(rows):
            return rows
        left.append(Unwritten(name, commission.settings.tokens, commission.settings.batch_size))
        return _placeholders(commission, rows.with_name(PLACEHOLDERS))

    return _with(config, placed), left


def is_written_by_base(config: RunConfig) -> list[str]:
    """The sources of which that holds."""
    return [name for name, section in config.sources.items() if section.is_self]


def _with(config: RunConfig, place: Callable[[str], Path]) -> RunConfig:
    names = is_written_by_base(config)
    if not names:
        return config
    _check_apart(config, names)
    files: Mapping[str, dict[str, Any]] = {
        name: {"path": str(place(name)), "replay": None, "thinking": None} for name in names
    }
    sources = {n: s.model_copy(update=files[n]) if n in files else s for n, s in config.sources.items()}
    return config.model_copy(update={"sources": sources})


def _check_apart(config: RunConfig, names: Sequence[str]) -> None:
    """Equal settings would give two sources the same rows, all of which the second would lose as duplicates."""
    first: dict[str, str] = {}
    for name in names:
        before = first.setdefault(Commission.of(config, name).identity, name)
        if before != name:
            raise ConfigError(
                f"sources.{name}: the base would write the same rows for it as for '{before}', whose settings are "
                f"equal; give it another sources.{name}.replay.seed, or leave it out and raise "
                f"sources.{before}.replay.tokens."
            )


def _checked(config: RunConfig, name: str) -> Commission:
    commission = Commission.of(config, name)
    commission.check()
    return commission


def _place(commission: Commission) -> Path:
    return Path(os.path.expanduser(commission.cache_dir)) / "replay" / commission.identity / ROWS


def _is_written(rows: Path) -> bool:
    """Whether they are there, whole, with their report."""
    return rows.exists() and report_of(rows).exists() and not Manuscript.begun(rows)


def _placeholders(commission: Commission, path: Path) -> Path:
    """Rows of the same beginnings and limits with words in place of answers, until there are as many tokens."""
    draw, lines, tokens = random.Random(0), list[str](), 0
    for batch in commission.beginnings.batches():
        for row in range(len(batch.beginnings)):
            if tokens >= commission.settings.tokens:
                write_text(path, "".join(lines))
                return path
            length = max(1, int(FILLED * batch.limit))
            said = _words(commission.tokenizer, length, draw)
            lines.append(json.dumps(_stand_in(batch, row, said)) + "\n")
            tokens += length
    raise AssertionError("batches have no end")


def _words(tokenizer: Any, length: int, draw: random.Random) -> str:
    """Words of so many tokens."""
    drawn = " ".join("".join(draw.choices(ascii_lowercase, k=draw.randint(2, 7))) for _ in range(length))
    ids = tokenizer(drawn, add_special_tokens=False)["input_ids"][:length]
    return str(tokenizer.decode(ids))


def _stand_in(batch: Batch, row: int, said: str) -> dict[str, Any]:
    begun = batch.beginnings[row]
    asked = begun.messages or ({"role": "user", "content": f"question {batch.number} {row}"},)
    if begun.messages is not None or batch.way == "template":
        return {"messages": [*asked, {"role": "assistant", "content": said}], "ended": False}
    return {"text": begun.text + said, "ended": False}
