"""Tokenised corpora on disk: memory-mapped, keyed by content and settings, written once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from acclimate.data.encoding import Encoder
from acclimate.data.records import Document
from acclimate.errors import ConfigError
from acclimate.schema import SourceSection
from acclimate.types import Route

FORMAT_VERSION = 1
ARRAYS: dict[str, np.dtype[Any]] = {
    "ids": np.dtype(np.int32),
    "routes": np.dtype(np.int16),
    "token_bytes": np.dtype(np.int32),
}


@dataclass(frozen=True)
class TokenCorpus:
    """Tokenised documents, or a choice of them: a subset shares the arrays."""

    ids: NDArray[np.int32]  # [n]
    routes: NDArray[np.int16]  # [n] index into the run's route table where the token is learned, else -1
    token_bytes: NDArray[np.int32]  # [n] UTF-8 bytes of text, 0 for special tokens
    bounds: NDArray[np.int64]  # [documents, 2] first token of each document and the one after its last
    where: list[str]  # [documents] place each document was read from

    def __len__(self) -> int:
        return len(self.bounds)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[documents] tokens of each."""
        return self.bounds[:, 1] - self.bounds[:, 0]

    @property
    def tokens(self) -> int:
        return int(self.lengths.sum())

    def document(self, i: int) -> tuple[NDArray[np.int32], NDArray[np.int16], NDArray[np.int32]]:
        """ids, routes and token_bytes of document ``i``."""
        start, end = self.bounds[i]
        return self.ids[start:end], self.routes[start:end], self.token_bytes[start:end]

    def subset(self, indices: ArrayLike) -> TokenCorpus:
        """The documents at ``indices``, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return replace(self, bounds=self.bounds[chosen], where=[self.where[i] for i in chosen])


def tokenise(
    documents: Sequence[Document],
    tokenizer: Any,
    source: str,
    section: SourceSection,
    table: Sequence[Route],
    cache_dir: str | Path,
) -> TokenCorpus:
    """Tokenises the documents of one source, or maps the result of an earlier run.

    Args:
        documents: in the order of the result.
        tokenizer: a fast Hugging Face tokenizer.
        source: the source's name; its routes in ``table`` are used.
        section: the source's settings.
        table: the run's route table.
        cache_dir: results live in ``cache_dir/tokens/<key>/``.

    Raises:
        ConfigError: the cache cannot be written.
        ModelError: the tokenizer is not a fast one.
        DataError: a chat cannot be rendered.
    """
    encoder = Encoder(tokenizer, source, section, table)
    folder = Path(os.path.expanduser(cache_dir)) / "tokens" / _key(documents, encoder)
    if not _complete(folder, len(documents)):
        try:
            _write(folder, documents, encoder)
        except OSError as error:
            raise ConfigError(
                f"data.cache_dir: '{cache_dir}' cannot be written ({error.strerror or error}); "
                "set it to a folder you can write to."
            ) from None
    offsets = np.fromfile(folder / "offsets.bin", dtype=np.int64)
    arrays = {name: _map(folder / f"{name}.bin", dtype) for name, dtype in ARRAYS.items()}
    bounds = np.stack([offsets[:-1], offsets[1:]], axis=1)
    return TokenCorpus(**arrays, bounds=bounds, where=[document.where for document in documents])


def _key(documents: Sequence[Document], encoder: Encoder) -> str:
    """sha256 over all that decides the arrays."""
    tokenizer, section = encoder.tokenizer, encoder.section
    # What stands before its added tokens is truncation and padding: set by whoever called the tokenizer
    # last, and not used here.
    _, key, backend = tokenizer.backend_tokenizer.to_str().partition('"added_tokens"')
    assert key
    settings = {
        "version": FORMAT_VERSION,
        "tokenizer": backend,
        "specials": {str(name): str(token) for name, token in tokenizer.special_tokens_map.items()},
        "chat_template": tokenizer.chat_template,
        "eos": encoder.eos,
        "thinking": section.thinking,
        "roles": encoder.roles,
        "routes": encoder.indices,
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for document in documents:
        digest.update(document.fingerprint.encode())
    return digest.hexdigest()


def _complete(folder: Path, documents: int) -> bool:
    """Whether the folder holds a whole corpus; the files' sizes must agree with their own description."""
    try:
        described = json.loads((folder / "corpus.json").read_text())
        sizes = {name: described["tokens"] * dtype.itemsize for name, dtype in ARRAYS.items()}
        sizes["offsets"] = (documents + 1) * 8
        return described["documents"] == documents and all(
            (folder / f"{name}.bin").stat().st_size == size for name, size in sizes.items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _write(folder: Path, documents: Sequence[Document], encoder: Encoder) -> None:
    """Writes a sibling folder and renames it, so that nobody ever sees half a corpus."""
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    temporary.mkdir(parents=True)
    try:
        files = {name: (temporary / f"{name}.bin").open("wb") for name in ARRAYS}
        offsets = [0]
        try:
            for encoded in encoder.encode(documents):
                for name, file in files.items():
                    file.write(getattr(encoded, name).tobytes())
                offsets.append(offsets[-1] + len(encoded.ids))
        finally:
            for file in files.values():
                file.close()
        np.array(offsets, dtype=np.int64).tofile(temporary / "offsets.bin")
        description = {"documents": len(documents), "tokens": offsets[-1], "format_version": FORMAT_VERSION}
        (temporary / "corpus.json").write_text(json.dumps(description))
        _publish(temporary, folder, len(documents))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _publish(temporary: Path, folder: Path, documents: int) -> None:
    """Renames ``temporary`` to ``folder``. Another process may have been faster: its result is the same."""
    if folder.exists() and not _complete(folder, documents):
        broken = folder.with_name(f"{temporary.name}.broken")
        os.replace(folder, broken)
        shutil.rmtree(broken, ignore_errors=True)
    try:
        os.replace(temporary, folder)
    except OSError:
        if not _complete(folder, documents):
            raise


def _map(path: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    # An empty file cannot be mapped.
    return np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.empty(0, dtype=dtype)
