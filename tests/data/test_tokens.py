from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acclimate.data.prepare import store
from acclimate.data.prepare.encoding import Encoder
from acclimate.data.prepare.split import Fingerprints
from acclimate.data.prepare.tokens import TokenCorpus, tokenise
from acclimate.types.central import Route
from acclimate.types.errors import ConfigError, DataError
from tests.data.samples import chat, section, text
from tests.fixtures.pico import CHAT_TEMPLATE, pico_tokenizer
from tests.fixtures.sentences import refused

TABLE = (Route("domain", "domain"), Route("general", "general"))
DOCUMENTS = [text("first"), chat(("user", "q"), ("assistant", "a"), where="b.jsonl:2"), text("thé")]


def build(
    cache: Path,
    tokenizer: Any = None,
    documents: list[Any] = DOCUMENTS,
    read: bool = True,
    table: tuple[Route, ...] = TABLE,
    **settings: Any,
) -> TokenCorpus:
    """``read=False`` must find the result of an earlier call: the documents cannot be read."""

    def unread() -> Any:
        raise AssertionError("read the documents of a cached corpus")

    return tokenise(
        (lambda: documents) if read else unread,
        Fingerprints.of(documents).digest,
        [document.where for document in documents],
        Encoder(tokenizer or pico_tokenizer(), "domain", section(**settings), table),
        str(cache),
    )


def cached(cache: Path) -> list[Path]:
    return sorted((cache / "tokens").iterdir())


def test_a_corpus_maps_its_documents(tmp_path: Path) -> None:
    corpus = build(tmp_path)
    assert len(corpus) == 3
    assert corpus.where == ["a.txt", "b.jsonl:2", "a.txt"]
    assert corpus.labels.tolist() == [[5], [2], [4]]
    assert isinstance(corpus.ids, np.memmap)
    assert corpus.tokens == len(corpus.ids) == corpus.lengths.sum()
    ids, routes, token_bytes = corpus.document(2)
    assert pico_tokenizer().decode(ids) == "thé<|endoftext|>"
    assert routes.tolist() == [0] * 5
    assert token_bytes.tolist() == [1, 1, 1, 1, 0]


def test_a_subset_shares_the_arrays(tmp_path: Path) -> None:
    corpus = build(tmp_path)
    chosen = corpus.subset([2, 0])
    assert (len(chosen), chosen.where) == (2, ["a.txt", "a.txt"])
    assert chosen.ids is corpus.ids
    assert pico_tokenizer().decode(chosen.document(1)[0]) == "first<|endoftext|>"
    assert len(corpus.subset([])) == 0
    assert corpus.subset([]).tokens == 0


def test_a_cached_corpus_tokenises_nothing(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="read the documents"):
        build(tmp_path, read=False)
    assert cached(tmp_path) == []  # and leaves nothing behind
    first = build(tmp_path)
    again = build(tmp_path, None, [replace(document, where="moved") for document in DOCUMENTS], read=False)
    for name in ("ids", "routes", "token_bytes", "bounds", "labels"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert again.where == ["moved"] * 3


def test_a_tokenizer_called_with_padding_has_the_same_key(tmp_path: Path) -> None:
    build(tmp_path)
    used = pico_tokenizer()
    used.backend_tokenizer.enable_truncation(4)
    used.backend_tokenizer.enable_padding()
    build(tmp_path, used, read=False)
    again = build(tmp_path / "again", used)  # nor does it change the tokens
    assert again.ids.tolist() == build(tmp_path).ids.tolist()
    assert used.backend_tokenizer.truncation is not None  # whoever set it keeps it


def test_another_source_does_not_change_the_tokens(tmp_path: Path) -> None:
    alone = build(tmp_path)
    both = build(tmp_path, read=False, table=(Route("chat", "chat"), *TABLE))
    assert set(alone.document(0)[1].tolist()) == {0}
    assert set(both.document(0)[1].tolist()) == {1}
    assert (alone.route_counts(2).tolist(), both.route_counts(3).tolist()) == ([11, 0], [0, 11, 0])


def test_whatever_changes_the_tokens_changes_the_key(tmp_path: Path) -> None:
    other = pico_tokenizer()
    other.add_tokens(["first"])
    splitting = pico_tokenizer()
    splitting.split_special_tokens = True
    builds: list[tuple[Any, list[Any], dict[str, Any]]] = [
        (pico_tokenizer(), DOCUMENTS, {}),
        (other, DOCUMENTS, {}),
        (splitting, DOCUMENTS, {}),
        (pico_tokenizer(CHAT_TEMPLATE + " "), DOCUMENTS, {}),
        (pico_tokenizer(), DOCUMENTS[:2], {}),
        (pico_tokenizer(), DOCUMENTS[::-1], {}),
        (pico_tokenizer(), DOCUMENTS, {"append_eos": False}),
        (pico_tokenizer(), DOCUMENTS, {"routes": {"assistant": "domain"}}),
        (pico_tokenizer(), DOCUMENTS, {"thinking": "mixed"}),
    ]
    for count, (tokenizer, documents, settings) in enumerate(builds, 1):
        build(tmp_path, tokenizer, documents, **settings)
        assert len(cached(tmp_path)) == count
    build(tmp_path, share=0.5, heldout=0.2)  # these do not
    assert len(cached(tmp_path)) == len(builds)


@pytest.mark.parametrize("damage", ["missing", "short", "long", "no description", "garbled", "other count", "unknown"])
def test_a_damaged_cache_is_rebuilt(tmp_path: Path, damage: str) -> None:
    good = build(tmp_path).ids.tolist()
    (folder,) = cached(tmp_path)
    ids = folder / "ids.bin"
    if damage == "missing":
        ids.unlink()
    elif damage in ("short", "long"):
        ids.write_bytes(ids.read_bytes()[:-4] if damage == "short" else ids.read_bytes() + b"abcd")
    elif damage == "no description":
        (folder / "facts.json").unlink()
    elif damage == "garbled":
        (folder / "facts.json").write_text("{")
    else:
        described = json.loads((folder / "facts.json").read_text())
        described["arrays"]["ids"] = ["<i4", 8] if damage == "other count" else []
        (folder / "facts.json").write_text(json.dumps(described))
    assert build(tmp_path).ids.tolist() == good
    assert cached(tmp_path) == [folder]


def test_another_process_may_be_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = build(tmp_path).ids.tolist()
    (folder,) = cached(tmp_path)
    mapped, calls = store._map, iter([False, True, True, True])
    # The first look happens before the other process renames its folder into place.
    monkeypatch.setattr(store, "_map", lambda *args: mapped(*args) if next(calls) else None)
    assert build(tmp_path).ids.tolist() == good
    assert next(calls, None) is None
    assert cached(tmp_path) == [folder]


def test_a_failed_build_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no chat template"):
        build(tmp_path, pico_tokenizer(None))
    assert cached(tmp_path) == []


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with refused(f"data.cache_dir: '{tmp_path}/file' cannot be written (Not a directory); … folder …", ConfigError):
        build(tmp_path / "file")
    if os.geteuid() != 0:
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(ConfigError, match=r"\(Permission denied\)"):
            build(tmp_path / "locked")


def test_documents_without_tokens_can_be_stored(tmp_path: Path) -> None:
    corpus = build(tmp_path, documents=[text("")], append_eos=False)
    assert (len(corpus), corpus.tokens) == (1, 0)
