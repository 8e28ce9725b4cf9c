"""What identifies a model: the digest of its weights, and of what else decides what a token does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from acclimate.config.schema import ModelSection
from acclimate.disk.digest import digest_of
from acclimate.model.changes import Change, changes_digest
from acclimate.model.checkpoint.gguf import gguf_of
from acclimate.model.load import all_changes

READING = ("config.json", "*token*", "vocab.*", "merges.txt", "chat_template*")


def model_digest(section: ModelSection, recorded: Sequence[Change] = ()) -> str:
    """What identifies the base, once it is loaded: hub id and commit, or sha256 over the local weight files; and what
    is changed in it, ``recorded`` (see :func:`load_tokenizer`) or by the configuration."""
    path = Path(os.path.expanduser(section.path))
    if (gguf := gguf_of(section.path)) is not None and gguf.local:
        found = digest_of([Path(gguf.place, gguf.file)])
    elif path.is_dir():
        found = digest_of(sorted(path.glob("*.safetensors")))
    else:
        found = f"hub:{section.path}@{_commit(section)}"
    return found + changes_digest(recorded, section)


def model_identity(section: ModelSection, recorded: Sequence[Change] = ()) -> dict[str, str]:
    """``digest`` of the weights; of a local folder also ``reading``, of what else decides what a token does: its
    config.json, tokenizer and chat template."""
    path = Path(os.path.expanduser(section.path))
    found = {"digest": model_digest(section, recorded)}
    files = sorted(file for name in READING for file in path.glob(name) if file.is_file()) if path.is_dir() else []
    return found | ({"reading": digest_of(files)} if files else {})


def model_identities(section: ModelSection) -> dict[str, dict[str, str]]:
    """``model``, which training starts from, and ``base``, which it is measured against, where that is another."""
    base = {} if section.base is None else {"base": model_identity(section.of_base, all_changes(section))}
    return {"model": model_identity(section)} | base


def _commit(section: ModelSection) -> str:
    """Of a hub model that has been loaded, so that it lies in the cache: the folder of its snapshot."""
    revision, gguf = section.revision or "main", gguf_of(section.path)
    place, file = (section.path, "config.json") if gguf is None else (gguf.place, gguf.file)
    found = try_to_load_from_cache(place, file, revision=revision)
    return Path(found).parents[file.count("/")].name if isinstance(found, str) else revision
