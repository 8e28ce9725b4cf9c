"""Streamed sources: what is learned, what is held out, and where a stream goes on."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.data.corpus import Corpora, Corpus, load_corpora
from acclimate.data.deal import beginning, stream
from acclimate.data.deal.loader import Loader
from acclimate.data.deal.mix import Mixer
from acclimate.data.deal.pack import PackedSource, Row
from acclimate.data.deal.passes import Passes
from acclimate.data.deal.prefetch import Prefetch
from acclimate.data.deal.shares import constant
from acclimate.data.deal.stream import StreamedRows
from acclimate.types.central import IGNORE, PAD_DOCUMENT
from acclimate.types.errors import ConfigError, DataError, RunError
from tests.data.samples import run_config, write_records
from tests.data.test_ahead import threads
from tests.data.test_corpus import refused
from tests.data.test_loader import same
from tests.fixtures.pico import pico_tokenizer

TOKENIZER = pico_tokenizer()


def made(prefix: str, count: int, seed: int = 0) -> list[str]:
    draw = np.random.default_rng(seed)
    return [f"{prefix}{i} " + "x" * int(draw.integers(0, 60)) for i in range(count)]


def load(folder: Path, sources: dict[str, tuple[Sequence[Any], dict[str, Any]]], **run: Any) -> Corpora:
    given = {}
    for name, (records, options) in sources.items():
        rows = [{"text": record} if isinstance(record, str) else record for record in records]
        path = folder / f"{name}.jsonl"
        if not path.exists():
            write_records(path, rows)
        given[name] = {"path": str(path), "streaming": True} | options
    return load_corpora(run_config(folder, given, **run), TOKENIZER)


def rows_of(corpus: Corpus, corpora: Corpora, length: int = 32, seed: int = 0) -> StreamedRows:
    assert corpus.stream is not None
    return StreamedRows(corpus.stream, length, np.ones(len(corpora.routes), dtype=bool), seed)


def passes_of(rows: StreamedRows, count: int) -> list[list[Row]]:
    """The rows of the first ``count`` passes."""
    found: list[list[Row]] = [[] for _ in range(count)]
    while True:
        row = rows.next_row()
        epoch = rows.state_dict()["epoch"]
        if epoch == count:
            return found
        found[epoch].append(row)


def texts_of(rows: Sequence[Row]) -> Counter[str]:
    """The documents that the pieces of the rows make up; every label of each must be there once."""
    pieces: dict[int, list[tuple[int, int]]] = {}
    tokens: dict[int, np.ndarray] = {}
    for row in rows:
        assert row.length <= row.source.sequence_length
        for piece in row.pieces:
            number = row.source.first_document_id + piece.document
            pieces.setdefault(number, []).append((piece.start, piece.length))
            tokens[number] = row.source.corpus.document(piece.document)[0]
    for number, parts in pieces.items():
        at = 0
        for start, length in sorted(parts):
            assert start == at
            at += length
        assert at == len(tokens[number]) - 1
    return Counter(TOKENIZER.decode(ids).removesuffix("<|endoftext|>") for ids in tokens.values())


def under_the_share(text: str, share: float, seed: int = 0) -> bool:
    """The rule for held-out documents of a stream, written down once more."""
    text_hash = int.from_bytes(hashlib.sha256(" ".join(text.split()).encode()).digest()[:8], "little")
    place = hashlib.sha256(f"heldout:{seed}:{text_hash:016x}".encode()).digest()[:8]
    return int.from_bytes(place, "big") < share * 2**64


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 70), min_size=6, max_size=40),
    st.sampled_from([0, 0.2, 3]),
    st.integers(1, 9),
    st.integers(4, 40),
)
def test_every_document_once_per_epoch_and_no_held_out_one(
    sizes: list[int], heldout: float, buffer: int, length: int
) -> None:
    texts = [f"{i} " + "y" * size for i, size in enumerate(sizes)]
    if heldout == 0.2 and sum(under_the_share(text, 0.2) for text in texts) in (0, len(texts)):
        return
    with tempfile.TemporaryDirectory() as folder:
        corpora = load(Path(folder), {"web": (texts, {"heldout": heldout, "shuffle_buffer": buffer})})
        corpus = corpora.sources["web"]
        apart = {document.text for document in corpus.read_heldout()}
        if heldout == 0.2:
            assert apart == {text for text in texts if under_the_share(text, 0.2)}
        else:
            assert apart == set(texts[: int(heldout)])
        rows = rows_of(corpus, corpora, length)
        first, second = passes_of(rows, 2)
        rows.close()
        expected = Counter(text for text in texts if text not in apart)
        assert texts_of(first) == expected
        assert texts_of(second) == expected
    assert threads() == []


def test_epochs_and_seeds_have_orders_of_their_own(tmp_path: Path) -> None:
    corpora = load(tmp_path, {"web": (made("w", 60), {"heldout": 5, "shuffle_buffer": 25})})

    def orders(seed: int) -> list[list[tuple[int, ...]]]:
        rows = rows_of(corpora.sources["web"], corpora, seed=seed)
        found = [
            [tuple(row.source.first_document_id + piece.document for piece in row.pieces) for row in one]
            for one in passes_of(rows, 2)
        ]
        rows.close()
        return found

    one, other = orders(0), orders(1)
    assert one == orders(0)
    assert one[0] != one[1] != other[1]
    assert one[0] != other[0]


# Two streams and a prepared source at odd shares.
SOURCES: dict[str, tuple[Sequence[Any], dict[str, Any]]] = {
    "domain": (made("d", 50, 1), {"heldout": 0.1, "shuffle_buffer": 11, "share": 0.37}),
    "general": (made("g", 33, 2), {"heldout": 4, "shuffle_buffer": 7, "share": 0.21}),
    "books": (made("b", 20, 3), {"heldout": 2, "streaming": False, "share": 0.42}),
}


def mixed(folder: Path, **ranks: int) -> Loader:
    corpora = load(folder, SOURCES)
    active = np.ones(3, dtype=bool)
    sources: dict[str, Any] = {}
    for name, corpus in corpora.sources.items():
        if corpus.stream:
            sources[name] = rows_of(corpus, corpora)
        else:
            sources[name] = Passes(PackedSource(corpus.train, name, 32, active, 0, corpus.first_document_id))
    mixer = Mixer(sources, constant({name: options["share"] for name, (_, options) in SOURCES.items()}))
    return Loader(mixer, "all", 150, 3, np.array([0, 1, 1]), **ranks)


@pytest.mark.parametrize("ahead", [False, True])
def test_a_streaming_mixture_resumes_bitwise(tmp_path: Path, ahead: bool) -> None:
    """At every step: inside a window, at its end, and across epochs; twice from each state."""

    def begin() -> Any:
        return Prefetch(mixed(tmp_path)) if ahead else mixed(tmp_path)

    straight = begin()
    states, steps = [straight.state_dict()], []
    for _ in range(80):
        steps.append(straight.next_step())
        states.append(json.loads(json.dumps(straight.state_dict(), sort_keys=True)))
    straight.close()
    web = [state["mixer"]["general"] for state in states[1:]]
    assert {state["epoch"] for state in web} >= {0, 1, 2}
    assert any(0 < state["position"] < state["rows"] for state in web)
    assert any(state["position"] == state["rows"] for state in web)
    assert len({state["window"] for state in web}) > 2
    for taken in [*range(0, 80, 3), 79]:
        resumed = begin()
        if taken % 2:
            resumed.next_step()  # whatever it did before
        resumed.load_state_dict(states[taken])
        for step in range(taken, min(taken + 5, 80)):
            assert same(resumed.next_step(), steps[step])
            assert resumed.state_dict() == states[step + 1]
        resumed.close()
    assert threads() == []


def test_a_forgotten_stream_leaves_no_thread(tmp_path: Path) -> None:
    data = Prefetch(mixed(tmp_path))
    data.next_step()
    del data
    assert threads() == []


def test_the_ratio_stays_within_a_row(tmp_path: Path) -> None:
    data = mixed(tmp_path)
    for _ in range(60):
        data.next_step()
        total = sum(data.mixer.trained.values())
        for name, share in data.mixer.shares(0).items():
            assert abs(data.mixer.trained[name] - share * total) <= 32
    data.close()


def test_ranks_share_a_stream(tmp_path: Path) -> None:
    def labels(batches: Sequence[Any]) -> Counter[Any]:
        found: Counter[Any] = Counter()
        for batch in batches:
            columns = (batch.document, batch.input_ids, batch.labels, batch.position_ids)
            found.update(zip(*(column.flatten().tolist() for column in columns), strict=True))
        return Counter({key: n for key, n in found.items() if key[0] != PAD_DOCUMENT and key[2] != IGNORE})

    alone, ranks = mixed(tmp_path), [mixed(tmp_path, rank=rank, world_size=2) for rank in range(2)]
    for _ in range(12):
        parts = [rank.next_step() for rank in ranks]
        assert len(parts[0]) == len(parts[1])
        assert labels([*parts[0], *parts[1]]) == labels(alone.next_step())
    for data in (alone, *ranks):
        data.close()


def test_what_anyone_measures_is_trained_on_by_nobody(tmp_path: Path) -> None:
    """Also where it stands again, with other blanks, in another source, or beyond the beginning."""
    books = made("b", 30)
    prepared = load(tmp_path, {"books": (books, {"heldout": 6, "streaming": False})}).sources["books"]
    held = [document.text for document in prepared.read_heldout()]
    web = [*made("w", 12), *held[:3], *made("v", 8)]
    web += [text.replace(" ", " \n ") for text in web[:5]]  # its own held-out texts once more
    corpora = load(
        tmp_path,
        {
            "web": ([*web, *held], {"heldout": 5, "shuffle_buffer": 4}),
            "books": (books, {"heldout": 6, "streaming": False}),
        },
    )
    assert [document.text for document in corpora.sources["web"].read_heldout()] == web[:5]
    rows = rows_of(corpora.sources["web"], corpora)
    assert texts_of(passes_of(rows, 1)[0]) == Counter([*web[5:12], *made("v", 8)])
    rows.close()


def test_documents_longer_than_a_row_and_a_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "WINDOW_CHARACTERS", 100)
    texts = [f"{i} " + "z" * 300 for i in range(4)]
    corpora = load(tmp_path, {"web": (texts, {"heldout": 1})})
    rows = rows_of(corpora.sources["web"], corpora)
    (found,) = passes_of(rows, 1)
    rows.close()
    assert texts_of(found) == Counter(texts[1:])
    assert len({row.source.first_document_id for row in found}) == 3  # a window each


def test_the_first_documents_of_a_stream(tmp_path: Path) -> None:
    corpora = load(tmp_path, {"web": (made("w", 50), {"heldout": 2, "max_documents": 9, "shuffle_buffer": 4})})
    rows = rows_of(corpora.sources["web"], corpora)
    for found in passes_of(rows, 2):
        assert texts_of(found) == Counter(made("w", 50)[2:9])
    rows.close()


def test_nothing_is_read_before_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beginning, "BEGINNING_DOCUMENTS", 20)
    records: list[Any] = [*made("w", 60), {"nothing": "here"}]
    corpora = load(tmp_path, {"web": (records, {"heldout": 3, "shuffle_buffer": 10})})
    corpus = corpora.sources["web"]
    assert corpus.documents_read == 23
    rows = rows_of(corpus, corpora)
    assert threads() == []
    with pytest.raises(DataError, match=r"web\.jsonl:61: this record has no field to learn from"):
        passes_of(rows, 1)
    assert rows.state_dict()["window"] == 4  # all windows before it were used
    rows.close()


def test_documents_are_named_by_their_place(tmp_path: Path) -> None:
    corpora = load(tmp_path, SOURCES)
    names = set()
    rows = rows_of(corpora.sources["domain"], corpora)
    for _ in range(10):
        for piece in (row := rows.next_row()).pieces:
            name = corpora.document_name(row.source.first_document_id + piece.document)
            assert name == f"source 'domain', {row.source.corpus.where[piece.document]}"
            names.add(name)
    assert len(names) > 5
    held = corpora.sources["general"]
    assert corpora.document_name(held.first_heldout_id) == f"source 'general', {tmp_path}/general.jsonl:1"
    assert corpora.document_name(held.first_document_id + 7) == "source 'general', document 8 of the stream"
    rows.close()


def test_a_stream_that_changed_cannot_be_continued(tmp_path: Path) -> None:
    options = {"heldout": 2, "shuffle_buffer": 10}
    corpora = load(tmp_path, {"web": (made("w", 40), options)})
    rows = rows_of(corpora.sources["web"], corpora)
    rows.next_row()
    state = rows.state_dict()
    rows.close()
    write_records(tmp_path / "web.jsonl", [{"text": "short"}, {"text": "texts"}, {"text": "now"}])
    corpora = load(tmp_path, {"web": ([], options)})
    rows = rows_of(corpora.sources["web"], corpora)
    rows.load_state_dict(state)
    with pytest.raises(RunError, match=r"^Source 'web' had \d+ rows .* has 1 now"):
        rows.next_row()
    rows.close()
    write_records(tmp_path / "web.jsonl", [{"text": "short"}])
    rows = rows_of(corpora.sources["web"], corpora)
    with refused("sources.web: … no document … any more."):
        rows.next_row()
    rows.close()


def test_the_digest_of_a_stream_follows_its_files(tmp_path: Path) -> None:
    def digest() -> str:
        return load(tmp_path, {"web": (made("w", 40), {})}).sources["web"].digest

    assert digest() == digest()
    before = digest()
    with (tmp_path / "web.jsonl").open("a") as file:
        file.write('{"text": "one more"}\n')
    assert digest() != before


def test_overlap_with_a_stream_is_counted_where_it_can_be(tmp_path: Path) -> None:
    corpora = load(tmp_path, SOURCES)
    rows = {(row.train_source, row.heldout_source): row for row in corpora.overlap}
    assert len(rows) == 9
    assert rows["domain", "books"].ngrams_hit is None
    assert rows["books", "domain"].ngrams_hit == 0
    assert rows["books", "domain"].documents == len(corpora.sources["domain"].heldout) > 0


@pytest.mark.parametrize(
    ("records", "options", "sentence", "kind"),
    [
        (made("w", 5), {"heldout": 5},
         "sources.web.heldout: 5 holds out all of the first 5 documents of the stream, which leaves none to train on; "
         "lower it, or set heldout: 0 and give more or shorter documents.", DataError),
        (made("w", 5), {"heldout": 6},
         "sources.web.heldout: 6 cannot be met: the first 5 documents of the stream hold 5 to hold out; give another "
         "count of documents, or 0 to measure nothing on this source.", DataError),
        (made("w", 5), {"heldout": 1e-9},
         "sources.web.heldout: 1e-09 cannot be met: the first 5 documents of the stream hold none to hold out; give "
         "another count of documents, or 0 to measure nothing on this source.", DataError),
        (made("w", 5), {"heldout": 2.5},
         "sources.web.heldout: 2.5 is neither a share (below 1) nor a whole count of documents.", ConfigError),
        ([{"messages": [{"role": "user", "content": "q"}]}] * 2, {"routes": {"tool": "web"}},
         "sources.web.routes names the role 'tool', which none of the first 2 documents of the stream has; roles "
         "found: user.", DataError),
        (made("w", 5), {"thinking": "on"},
         "sources.web.thinking is 'on', but the source has no chats, so it would have no effect; leave it out.",
         ConfigError),
    ],
)  # fmt: skip
def test_beginnings_that_cannot_be_used(
    records: list[Any], options: dict[str, Any], sentence: str, kind: type[Exception], tmp_path: Path
) -> None:
    with refused(sentence, kind):
        load(tmp_path, {"web": (records, options)})


def test_an_empty_stream(tmp_path: Path) -> None:
    with refused(f"sources.web.path: there is no document in '{tmp_path}/web.jsonl' (1 file read, dropped: nothing)."):
        load(tmp_path, {"web": ([], {})})


def test_a_message_route_that_the_beginning_does_not_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beginning, "BEGINNING_DOCUMENTS", 8)
    turn = {"role": "assistant", "content": "a"}
    chats: list[Any] = [{"messages": [{"role": "user", "content": f"{i}"}, turn]} for i in range(20)]
    chats.append({"messages": [{"role": "user", "content": "x", "route": "domain"}, turn]})
    corpora = load(tmp_path, {"web": (chats, {"heldout": 0, "shuffle_buffer": 100})})
    rows = rows_of(corpora.sources["web"], corpora)
    with refused(f"{tmp_path}/web.jsonl:21: message 1 has the route 'domain', … beginning … 'web' …; put … first, …"):
        rows.next_row()
    rows.close()


def test_a_stream_with_nothing_to_learn(tmp_path: Path) -> None:
    questions: list[Any] = [{"messages": [{"role": "user", "content": f"{i}"}]} for i in range(6)]
    corpora = load(tmp_path, {"web": (questions, {"heldout": 0, "shuffle_buffer": 2})})
    rows = rows_of(corpora.sources["web"], corpora)
    with refused("Source 'web' has no token on a route …"):
        rows.next_row()
    rows.close()
