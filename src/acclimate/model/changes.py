"""Recorded changes: what was done to a network and its tokenizer before training, so that it can be done again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from acclimate.config.explain import shown
from acclimate.config.schema import ModelSection
from acclimate.types.errors import ConfigError, ModelError

FILE = "changes.json"
VERSION = 1


class Change(Protocol):
    """``(network, tokenizer) -> (network, tokenizer)``, in place, and the same every time it is done.

    ``record`` is what :data:`FILE` holds of it, and what :func:`read_changes` makes it of again.
    """

    @property
    def record(self) -> dict[str, Any]: ...

    @property
    def identity(self) -> list[str]:
        """Equal for changes that do the same to the same model."""
        ...

    def change_tokenizer(self, tokenizer: Any) -> bool:
        """False where it was done to this tokenizer before."""
        ...

    def change_network(self, network: Any) -> None: ...

    def rows(self, before: int) -> int:
        """Rows of the embeddings afterwards."""
        ...


@dataclass(frozen=True)
class AddTokens:
    """New tokens of text, each with the mean of its old pieces as its row.

    ``E[new] = mean_k E[piece_k]``, in embeddings and head. Rows that a padded vocabulary has to spare are used first;
    then the tables grow, and names of one table (tied weights) stay names of one table.

    Args:
        tokens: as they are spelt in a text.
        ids: of each token.
        pieces: ids of the tokens that its text was before.

    Reference: Gee, Zugarini, Rigutini, Torroni: Fast Vocabulary Transfer for Language Model Compression (EMNLP 2022,
    arXiv 2402.09977) average the rows of old pieces for encoders [second-hand]. The head's rows likewise [ours].
    """

    kind: ClassVar[str] = "add_tokens"

    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    pieces: tuple[tuple[int, ...], ...]

    @classmethod
    def to(cls, tokenizer: Any, tokens: Sequence[str]) -> AddTokens:
        """Adds ``tokens`` to ``tokenizer``.

        Raises:
            ConfigError: one is a token already, or cannot be one.
        """
        known = tokenizer.get_vocab()
        pieces = [tuple(map(int, ids)) for ids in _read(tokenizer, tokens)]
        for token, ids in zip(tokens, pieces, strict=True):
            if token in known or (len(ids) == 1 and ids[0] != tokenizer.unk_token_id):
                number = known.get(token, ids[0] if ids else None)
                raise ConfigError(
                    f"model.add_tokens: {shown(token)} is one token of this model already (id {number}); leave it out."
                )
            if not ids:
                raise ConfigError(
                    f"model.add_tokens: {shown(token)} is no text to this model's tokenizer, which drops it; leave it "
                    "out."
                )
        tokenizer.add_tokens(list(tokens))
        ids = tuple(map(int, tokenizer.convert_tokens_to_ids(list(tokens))))
        for token, number, read in zip(tokens, ids, _read(tokenizer, tokens), strict=True):
            if number not in read:
                raise ConfigError(
                    f"model.add_tokens: {shown(token)} is not found in its own text, which this model's tokenizer "
                    f"reads as {listed_tokens(tokenizer, read)}; spell it as that tokenizer leaves it."
                )
        return cls(tuple(tokens), ids, tuple(pieces))

    @property
    def record(self) -> dict[str, Any]:
        return {"kind": self.kind} | asdict(self)

    @property
    def identity(self) -> list[str]:
        return [self.kind, *self.tokens]

    def change_tokenizer(self, tokenizer: Any) -> bool:
        """
        Raises:
            ModelError: its tokens are other ids there.
        """
        known = tokenizer.get_vocab()
        missing = [token for token in self.tokens if token not in known]
        tokenizer.add_tokens(missing)
        for token, number in zip(self.tokens, self.ids, strict=True):
            if (here := tokenizer.convert_tokens_to_ids(token)) != number:
                raise ModelError(
                    f"{FILE}: {shown(token)} was added as token {number}, and would be {here} of this tokenizer, so "
                    "the model is not the one that it was added to."
                )
        return bool(missing)

    @torch.no_grad()
    def change_network(self, network: Any) -> None:
        sizes = [table.weight.shape[0] for table in token_tables(network)]
        rows, drawn_on = self.rows(max(sizes)), network.device
        if min(sizes) < rows:
            with torch.random.fork_rng(devices=[drawn_on] if drawn_on.type == "cuda" else []):
                network.resize_token_embeddings(rows, mean_resizing=False)  # what it draws is written over below
        seen: set[int] = set()
        for table, size in zip(token_tables(network), sizes, strict=True):
            for tensor in (table.weight, getattr(table, "bias", None)):
                if tensor is None or id(tensor) in seen:
                    continue
                seen.add(id(tensor))
                if size < rows:  # also rows of ids that no token has
                    tensor[size:] = _mean(tensor[:size])
                for number, pieces in zip(self.ids, self.pieces, strict=True):
                    tensor[number] = _mean(tensor[list(pieces)])

    def rows(self, before: int) -> int:
        return max(before, 1 + max(self.ids))


def token_tables(network: Any) -> list[Any]:
    """The modules with a row a token: embeddings, head, and embeddings of each layer (Gemma 3n, Gemma 4)."""
    found = [network.get_input_embeddings(), network.get_output_embeddings()]
    if getattr(network.config.get_text_config(), "hidden_size_per_layer_input", None):
        found.append(network.get_per_layer_input_embeddings())
    return found


def asked(section: ModelSection, tokenizer: Any) -> list[Change]:
    """What the configuration changes, done to ``tokenizer``, which is the model's own.

    Raises:
        ConfigError: it cannot be done to this model.
    """
    return [AddTokens.to(tokenizer, section.add_tokens)] if section.add_tokens else []


def widened(rows: int, changes: Iterable[Change]) -> int:
    """Rows of the embeddings after all of them."""
    for change in changes:
        rows = change.rows(rows)
    return rows


def replay(changes: Iterable[Change], tokenizer: Any, network: Any = None) -> None:
    """Does what was not done to this model before, in order.

    Raises:
        ModelError: it is of another model.
    """
    for change in changes:
        if change.change_tokenizer(tokenizer) and network is not None:
            change.change_network(network)


def changes_digest(recorded: Sequence[Change], section: ModelSection) -> str:
    """What identifies what is changed in a model: the recorded changes that it has not gone through itself, and those
    of the configuration; empty where there are none."""
    own = [change.identity for change in read_changes(section.path)] if recorded else []
    done = [change.identity for change in recorded if change.identity not in own]
    done += [[AddTokens.kind, *section.add_tokens]] if section.add_tokens else []
    return f"+{hashlib.sha256(json.dumps(done).encode()).hexdigest()}" if done else ""


def write_changes(folder: Path, changes: Sequence[Change]) -> None:
    """Into a folder of a model or adapter; no file where there are none."""
    if changes:
        plain = {"version": VERSION, "changes": [change.record for change in changes]}
        text = json.dumps(plain, ensure_ascii=False, indent=1)
        (folder / FILE).write_text(text, encoding="utf-8")


def read_changes(folder: str | Path) -> list[Change]:
    """What was done, before it was trained, to the model in a folder, or to the base of the adapter in it.

    Raises:
        ModelError: the file is damaged, or of a later acclimate.
    """
    path = Path(os.path.expanduser(folder)) / FILE
    if not path.is_file():
        return []
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["version"] != VERSION:
            raise ModelError(
                f"'{path}' is of version {shown(document['version'])}; this acclimate reads version {VERSION}."
            )
        return [_read_change(plain) for plain in document["changes"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"'{path}' is damaged ({type(error).__name__}: {error}); copy it again from where the model was exported."
        ) from None


def _read_change(plain: dict[str, Any]) -> Change:
    if plain["kind"] != AddTokens.kind:
        raise ValueError(f"there is no change called {shown(plain['kind'])}")
    tokens, ids = map(str, plain["tokens"]), map(int, plain["ids"])
    return AddTokens(tuple(tokens), tuple(ids), tuple(tuple(map(int, found)) for found in plain["pieces"]))


def listed_tokens(tokenizer: Any, ids: Sequence[int]) -> str:
    return ", ".join(shown(str(tokenizer.convert_ids_to_tokens(int(number)))) for number in ids)


def _read(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    found: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return found


def _mean(rows: Tensor) -> Tensor:
    """[k, D] or [k] to [D] or []."""
    return rows.mean(0, dtype=torch.float32).to(rows.dtype)
