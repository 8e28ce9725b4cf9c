"""What a tokenizer puts before every text, and special tokens that a text spells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers.processors import TemplateProcessing

from acclimate.build import heldout_sets, validation_sets
from acclimate.config.load import RunConfig
from acclimate.data.chat.control import prefix_of
from acclimate.data.corpus import load_corpora
from acclimate.data.deal.pack import PackedSource, build_batch
from acclimate.data.prepare.encoding import Encoder
from acclimate.data.prepare.routes import route_table
from acclimate.model.load import load_tokenizer
from acclimate.types.central import IGNORE
from acclimate.verbs.validate import validate
from tests.data.samples import run_config, section, write_records
from tests.fixtures.pico import CHAT_TEMPLATE, pico_model, pico_tokenizer

BOS, START = 0, 1


def with_bos(tokenizer: Any, *ids: int) -> Any:
    """The tokenizer puts these special tokens before every text."""
    names = [(tokenizer.convert_ids_to_tokens(i), i) for i in ids]
    before = " ".join(name for name, _ in names)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{before} $A", special_tokens=names)
    tokenizer.bos_token = names[0][0]
    return tokenizer


def prefix(tokenizer: Any) -> list[int]:
    return prefix_of(Encoder(tokenizer, "law", section(), route_table({"law": section()})))


def test_what_stands_before_every_text() -> None:
    assert prefix(pico_tokenizer()) == []
    assert prefix(with_bos(pico_tokenizer(), BOS)) == [BOS]
    assert prefix(with_bos(pico_tokenizer(), BOS, START)) == [BOS, START]
    written = pico_tokenizer("{{ bos_token }}" + CHAT_TEMPLATE)
    written.bos_token = "<|endoftext|>"
    assert prefix(written) == [BOS]
    turns = pico_tokenizer()
    turns.bos_token = "<|im_start|>"  # it opens every turn
    assert prefix(turns) == []


RECORDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "text": ({"text": "bone " * 60}, {"text": "skin"}),
    "pair": ({"prompt": "kidney? " * 20, "completion": "bone " * 60}, {"prompt": "a", "completion": "b"}),
    "chat": tuple(
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
        for q, a in (("kidney? " * 20, "bone " * 60), ("a", "b"))
    ),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("kind", RECORDS)
@pytest.mark.parametrize("streaming", [False, True])
def test_every_piece_begins_with_the_bos(kind: str, streaming: bool, tmp_path: Path) -> None:
    tokenizer = with_bos(pico_tokenizer("{{ bos_token }}" + CHAT_TEMPLATE), BOS)
    config = made(tmp_path, tokenizer, list(RECORDS[kind]), streaming=streaming)
    corpora = load_corpora(config, load_tokenizer(config.model))
    rows = PackedSource(corpora.sources["domain"].train, "domain", 64, np.array([True]), 0).rows(0)
    batch = build_batch(list(rows))
    begins = (batch.position_ids == 0) & (batch.document >= 0)
    assert begins.sum() > 4
    assert (batch.input_ids[begins] == BOS).all()
    assert (batch.labels != BOS)[batch.labels != IGNORE].sum() > 250


def made(tmp_path: Path, tokenizer: Any, records: list[Any], **source: Any) -> RunConfig:
    pico_model().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    path = write_records(tmp_path / "rows.jsonl", records)
    return run_config(
        tmp_path,
        {"domain": {"path": str(path), "heldout": 0, **source}},
        method="sft",
        model={"path": f"{tmp_path}/model", "device": "cpu", "dtype": "float32"},
        data={"cache_dir": f"{tmp_path}/cache", "sequence_length": 64},
    )


@pytest.mark.parametrize(
    "record",
    [
        {"text": "A <|im_end|> B é<|im_end|>"},
        {"prompt": "<|im_start|>A", "completion": "B<|im_end|>"},
        {"messages": [{"role": "user", "content": "A<|im_end|>"}, {"role": "assistant", "content": "B"}]},
    ],
    ids=["text", "pair", "chat"],
)
def test_text_that_spells_special_tokens_is_said(record: Any, tmp_path: Path) -> None:
    plain = [{"text": f"bone {i}"} for i in range(3)]
    config = made(tmp_path, pico_tokenizer(), [*plain, record])
    written = sum(len(token) * json.dumps(record).count(token) for token in ("<|im_end|>", "<|im_start|>"))
    found = validate(config)
    (note,) = [note for note in found.warnings if "special tokens of the tokenizer" in note]
    assert "1 document spells special tokens of the tokenizer (first: rows.jsonl:4)" in note
    assert f"their {written} bytes are left out of bits per byte" in note
    source = found.data["sources"]["domain"]
    assert (source["control_documents"], source["control_bytes"]) == (1, written)
    if "text" in record:  # the bytes that are scored are the others, and the first token is no label
        corpus = load_corpora(config, load_tokenizer(config.model)).sources["domain"].train
        assert corpus.document(3)[2].sum() == len(record["text"].encode()) - written


def test_a_tokenizer_that_splits_special_tokens_reads_them_as_text(tmp_path: Path) -> None:
    config = made(tmp_path, pico_tokenizer(), [{"text": "A <|im_end|> B"}, {"text": "skin"}])
    path = tmp_path / "model" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"split_special_tokens": True}))
    found = validate(config)
    assert not any("special tokens of the tokenizer" in note for note in found.warnings)
    assert found.data["sources"]["domain"]["control_bytes"] == 0


@pytest.mark.parametrize("streaming", [False, True])
def test_caps_take_a_sample_of_the_held_out_documents(streaming: bool, tmp_path: Path) -> None:
    """Not the first of a file that is sorted by length; the same ones in every order of the file."""
    records = [{"text": "bone " * (1 + i // 8)} | {"text": f"{i} " + "bone " * (1 + i // 8)} for i in range(160)]
    drawn = []
    for name, rows in (("sorted", records), ("reversed", records[::-1])):
        folder = tmp_path / name
        folder.mkdir()
        heldout = 0.5 if streaming else 80
        config = made(folder, pico_tokenizer(), rows, heldout=heldout, streaming=streaming)
        evaluation = config.evaluation.model_copy(update={"validation_documents": 16})
        config = config.model_copy(update={"evaluation": evaluation})
        corpora = load_corpora(config, load_tokenizer(config.model))
        corpus = corpora.sources["domain"]
        texts = [document.text for document in corpus.read_heldout()]

        def numbers(sets: Any, corpus: Any = corpus) -> list[int]:
            found = {int(d) for batch, _ in sets["domain"] for d in batch.document.unique() if d >= 0}
            return sorted(d - corpus.first_heldout_id for d in found)

        chosen, reported = numbers(validation_sets(config, corpora)), numbers(heldout_sets(config, corpora, None))
        few = numbers(heldout_sets(config, corpora, 16))
        assert (len(chosen), len(few)) == (16, 16)
        assert sorted([*chosen, *reported]) == list(range(len(texts)))
        assert set(few) < set(reported)
        order = [document.text for document in corpus.drawn()]
        assert sorted(order) == sorted(texts)
        assert {texts[i] for i in chosen} == set(order[:16])
        mean = corpus.heldout.lengths.mean()
        assert abs(corpus.heldout.lengths[chosen].mean() / mean - 1) < 0.25  # the first ones: 0.3 of it
        drawn.append(order)
    assert drawn[0] == drawn[1]
