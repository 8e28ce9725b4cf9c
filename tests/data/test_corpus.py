from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acclimate.data.corpus import Corpora, load_corpora
from acclimate.data.prepare.encoding import Encoder
from acclimate.data.read.documents import Document, Part, Reader
from acclimate.types.central import Route
from acclimate.types.errors import ConfigError, DataError
from tests.data.samples import THINKING_TEMPLATE, run_config, write_records
from tests.fixtures.pico import pico_tokenizer
from tests.fixtures.sentences import refused, says

LAW = [{"text": f"the court of the year {i} found for the plaintiff"} for i in range(40)]
CHAT = [
    {"messages": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": f"a{i}"}]} for i in range(20)
]


def load(
    folder: Path, sources: dict[str, tuple[list[Any], dict[str, Any]]], tokenizer: Any = None, **run: Any
) -> Corpora:
    paths = {name: write_records(folder / f"{name}.jsonl", records) for name, (records, _) in sources.items()}
    settings = {name: {"path": str(paths[name])} | given for name, (_, given) in sources.items()}
    return load_corpora(run_config(folder, settings, **run), tokenizer or pico_tokenizer())


def test_a_run_of_two_sources(tmp_path: Path) -> None:
    corpora = load(tmp_path, {"domain": (LAW, {"heldout": 0.1}), "talk": ([*CHAT, CHAT[0], LAW[3]], {"heldout": 3})})
    assert corpora.routes == (Route("domain", "domain"), Route("talk", "talk"))
    law, talk = corpora.sources["domain"], corpora.sources["talk"]
    assert (len(law.train), len(law.heldout), law.documents_read, law.dropped) == (36, 4, 40, {})
    assert (len(talk.train), len(talk.heldout), talk.documents_read) == (17, 3, 22)
    assert talk.dropped == {"duplicate": 1, "duplicate of domain": 1}
    assert (law.role, talk.role) == ("domain", "chat")
    assert (law.first_document_id, law.first_heldout_id) == (0, 36)
    assert (talk.first_document_id, talk.first_heldout_id) == (40, 57)
    assert [document.where for document in law.read_heldout()] == list(law.heldout.where)
    for i, document in enumerate(law.read_heldout()):
        assert pico_tokenizer().decode(law.heldout.document(i)[0]) == document.text + "<|endoftext|>"
    assert {int(r) for i in range(17) for r in talk.train.document(i)[1]} == {-1, 1}
    assert {(row.train_source, row.heldout_source) for row in corpora.overlap} == {
        ("domain", "domain"), ("domain", "talk"), ("talk", "domain"), ("talk", "talk"),
    }  # fmt: skip


def test_document_names_cover_every_id(tmp_path: Path) -> None:
    corpora = load(tmp_path, {"domain": (LAW, {}), "talk": (CHAT, {})})
    names = [corpora.document_name(i) for i in range(60)]
    assert len(set(names)) == 60
    assert names[0].startswith(f"source 'domain', {tmp_path}/domain.jsonl:")
    assert names[59].startswith(f"source 'talk', {tmp_path}/talk.jsonl:")
    with pytest.raises(KeyError):
        corpora.document_name(60)


def test_another_source_does_not_move_the_split(tmp_path: Path) -> None:
    alone = load(tmp_path, {"domain": (LAW, {"max_documents": 20})}).sources["domain"]
    both = load(tmp_path, {"talk": (CHAT, {}), "domain": (LAW, {"max_documents": 20})}).sources["domain"]
    assert list(alone.heldout.where) == list(both.heldout.where)
    assert alone.digest == both.digest
    assert len(alone.train) + len(alone.heldout) == 20
    other_seed = load(tmp_path, {"domain": (LAW, {"max_documents": 20})}, split_seed=1).sources["domain"]
    assert list(other_seed.train.where) != list(alone.train.where)
    run_seed = load(tmp_path, {"domain": (LAW, {"max_documents": 20})}, seed=1).sources["domain"]
    assert list(run_seed.heldout.where) == list(alone.heldout.where)  # seeds of a comparison measure the same documents


def test_what_cannot_be_learned_is_dropped_and_counted(tmp_path: Path) -> None:
    silent = {"messages": [{"role": "user", "content": "only a question"}]}
    records = [*LAW, silent, {"text": "x"}]
    source = load(tmp_path, {"law": (records, {"append_eos": False, "heldout": 2})}).sources["law"]
    assert source.dropped == {"nothing to learn": 1, "too short": 1}
    assert source.role == "general"


@pytest.mark.parametrize(
    ("settings", "role"),
    [({}, "chat"), ({"route": "domain"}, "domain"), ({"role": "general", "route": "domain"}, "general"),
     ({"routes": {"assistant": "domain"}}, "domain"), ({"routes": {"assistant": "domain", "user": "b"}}, "chat")],
)  # fmt: skip
def test_roles(tmp_path: Path, settings: dict[str, Any], role: str) -> None:
    assert load(tmp_path, {"talk": (CHAT, settings)}).sources["talk"].role == role


def test_no_heldout_set(tmp_path: Path) -> None:
    corpora = load(tmp_path, {"domain": (LAW[:1], {"heldout": 0})})
    assert len(corpora.sources["domain"].heldout) == 0
    assert corpora.overlap == []


def test_message_routes_extend_the_table(tmp_path: Path) -> None:
    routed = {"messages": [{"role": "user", "content": "f", "route": "domain"}, {"role": "assistant", "content": "g"}]}
    corpora = load(tmp_path, {"talk": ([*CHAT, routed], {"heldout": 0})})
    assert corpora.routes == (Route("talk", "talk"), Route("talk", "domain"))
    assert set(np.unique(corpora.sources["talk"].train.routes)) == {-1, 0, 1}


def test_a_source_of_duplicates_only(tmp_path: Path) -> None:
    with refused("sources.web: no document … (dropped: 40 duplicate of law)."):
        load(tmp_path, {"law": (LAW, {}), "web": (LAW, {})})


def test_a_source_without_anything_to_learn(tmp_path: Path) -> None:
    questions = [{"messages": [{"role": "user", "content": f"question {i}"}]} for i in range(3)]
    with refused("sources.talk: no document … to train on (dropped: 3 nothing to learn)."):
        load(tmp_path, {"talk": (questions, {})})


def test_a_heldout_set_without_anything_to_learn(tmp_path: Path) -> None:
    records = [*LAW[:2], *({"text": letter} for letter in "abcdefgh")]
    sentences = set()
    for seed in range(40):
        try:
            load(tmp_path, {"law": (records, {"append_eos": False, "heldout": 1})}, split_seed=seed)
        except DataError as error:
            sentences.add(str(error))
    (sentence,) = sentences
    assert says(sentence, "sources.law: … to hold out (dropped: 8 too short).")


def test_thinking_needs_chats_and_a_template_that_reads_it(tmp_path: Path) -> None:
    with refused("sources.law.thinking is 'on', … no chats, …; leave it out.", ConfigError):
        load(tmp_path, {"law": (LAW, {"thinking": "on"})})
    with pytest.raises(ConfigError, match=r"^sources\.talk\.thinking: .* never reads"):
        load(tmp_path, {"talk": (CHAT, {"thinking": "mixed"})})
    hybrid = load(tmp_path, {"talk": (CHAT, {"thinking": "mixed"})}, pico_tokenizer(THINKING_TEMPLATE))
    assert len(hybrid.sources["talk"].train) == 14  # heldout: auto takes a third of so few


def test_a_misspelt_role_or_route_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"names the role 'asistant', .* Did you mean 'assistant'\?$"):
        load(tmp_path, {"talk": (CHAT, {"routes": {"asistant": "talk"}})})
    routed = {"messages": [{"role": "user", "content": "x", "route": "tlk"}]}
    with pytest.raises(DataError, match=r"talk\.jsonl:1: message 1 has the route 'tlk'.*Did you mean 'talk'\?$"):
        load(tmp_path, {"talk": ([routed, *CHAT], {})})


def test_a_second_load_reads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unread(*args: Any) -> Any:
        raise AssertionError("read or tokenised what is cached")

    sources: Any = {
        "domain": (LAW, {"heldout": 0.2, "max_documents": 30}), "talk": ([*CHAT, *LAW[:5]], {"heldout": 3})
    }  # fmt: skip
    first = load(tmp_path, sources)
    monkeypatch.setattr(Reader, "read", unread)
    monkeypatch.setattr(Encoder, "encode", unread)
    settings = {name: {"path": f"{tmp_path}/{name}.jsonl"} | given for name, (_, given) in sources.items()}
    second = load_corpora(run_config(tmp_path, settings), pico_tokenizer())
    assert second.overlap == first.overlap
    assert second.routes == first.routes
    for name, corpus in first.sources.items():
        again = second.sources[name]
        assert (again.digest, again.dropped, again.role) == (corpus.digest, corpus.dropped, corpus.role)
        assert (again.documents_read, again.first_heldout_id) == (corpus.documents_read, corpus.first_heldout_id)
        for one, two in ((corpus.train, again.train), (corpus.heldout, again.heldout)):
            assert list(one.where) == list(two.where)
            for i in range(len(one)):
                assert all(np.array_equal(a, b) for a, b in zip(one.document(i), two.document(i), strict=True))


def test_a_touched_file_is_read_but_not_tokenised_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def untouched(*args: Any) -> Any:
        raise AssertionError("tokenised again")

    before = load(tmp_path, {"domain": (LAW, {}), "talk": (CHAT, {})})
    os.utime(tmp_path / "domain.jsonl", ns=(1, 1))
    monkeypatch.setattr(Encoder, "encode", untouched)
    settings = {name: {"path": f"{tmp_path}/{name}.jsonl"} for name in ("talk", "domain")}  # nor for another order
    after = load_corpora(run_config(tmp_path, settings), pico_tokenizer())
    assert after.sources["domain"].digest == before.sources["domain"].digest


def test_the_digest_is_of_the_documents_in_use(tmp_path: Path) -> None:
    corpus = load(tmp_path, {"domain": ([*LAW, LAW[2], {"text": ""}], {})}).sources["domain"]
    prints = [Document("x", "y", (Part("text", row["text"]),), templated=False).fingerprint for row in LAW]
    assert corpus.digest == hashlib.sha256("".join(prints).encode()).hexdigest()


def test_files_that_change_while_they_are_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Encoder.encode

    def encode(self: Encoder, documents: Any, notes: Any) -> Any:
        yield from original(self, documents, notes)

    def append_then_encode(self: Encoder, documents: Any, notes: Any) -> Any:
        with (tmp_path / "domain.jsonl").open("a") as file:
            file.write('{"text": "an afterthought"}\n')
        return encode(self, documents, notes)

    monkeypatch.setattr(Encoder, "encode", append_then_encode)
    with refused(CHANGED):
        load(tmp_path, {"domain": (LAW, {})})
    assert not list((tmp_path / "cache" / "tokens").iterdir())


CHANGED = "sources.domain: its files have changed …"


def test_other_documents_are_never_shown_for_those_that_were_measured(tmp_path: Path) -> None:
    corpus = load(tmp_path, {"domain": (LAW, {})}).sources["domain"]
    assert len(list(corpus.read_heldout())) == len(corpus.heldout)
    lines = (tmp_path / "domain.jsonl").read_text()
    (tmp_path / "domain.jsonl").write_text('{"text": "a line of another corpus"}\n' * 60 + lines)
    with refused(CHANGED):
        next(iter(corpus.read_heldout()))
