"""sha256 of files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

READING = ("*.json", "*token*", "vocab.*", "merges.txt", "chat_template*")
"""Beside the weights, what decides what a model's folder computes: an adapter's scale, tokenizer, template, ends."""
CARD = "README.md"


def sha256_of(paths: Iterable[Path]) -> str:
    """One digest over the contents of the files, in order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def tuned_identity(folder: Path) -> dict[str, str]:
    """``digest`` of the weights that a run wrote, network or adapter, and ``reading`` of what else they are read by.

    Of weights in one file the first is what ``sha256sum`` prints. The model card belongs to neither.
    """
    weights = sorted(folder.glob("*.safetensors"))
    reading = sorted({path for name in READING for path in folder.glob(name) if path.is_file()})
    return {"digest": digest_of(weights), "reading": digest_of(reading)}


def has_files(folder: Path) -> bool:
    """Whether anything but a model card is in the folder."""
    return folder.is_dir() and any(path.name != CARD for path in folder.iterdir())


def digest_of(paths: list[Path]) -> str:
    """``sha256:`` and one digest, of files that one process looks at several times, such as weights of gigabytes."""
    found = [(path, path.stat()) for path in paths]
    return _digest(tuple((path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino) for path, stat in found))


@lru_cache(maxsize=32)
def _digest(files: tuple[tuple[Path, int, int, int, int], ...]) -> str:
    return f"sha256:{sha256_of(path for path, *_ in files)}"
