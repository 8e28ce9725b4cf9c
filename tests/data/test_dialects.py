"""Fields of other tools; questions and answers through the chat template; fields by kind of file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from acclimate.config.load import parse_config, save_config
from acclimate.data.corpus import load_corpora
from acclimate.data.read.documents import Reader
from acclimate.data.read.records import BadRow, Document, Part, RecordSchema
from acclimate.runs.beginning import differences_from, read_config, with_saved_choices
from acclimate.types.errors import ConfigError, DataError
from tests.data.samples import run_config, section, write_records
from tests.fixtures.pico import pico_tokenizer
from tests.fixtures.sentences import quoted

Q, A = Part("user", "q", context=True), Part("assistant", "a")


def read(record: dict[str, Any], **settings: Any) -> tuple[Document, RecordSchema]:
    schema = RecordSchema("law", section(**settings))
    document = schema.document(record, "f.jsonl:3")
    assert document is not None
    return document, schema


@pytest.mark.parametrize(
    ("record", "prompt"),
    [
        ({"question": "q", "answer": "a", "id": 1}, "q"),
        ({"Question ": "q", "ANSWER": "a"}, "q"),
        ({"instruction": "q", "input": "", "output": "a"}, "q"),
        ({"instruction": "q", "input": "x", "output": "a"}, "q\nx"),
        ({"instruction": "q", "context": "x", "response": "a", "category": "c"}, "q\nx"),
        ({"context": "x", "question": "q", "answer": "a"}, "x\nq"),
        ({"query": "q", "response": "a"}, "q"),
        ({"problem": "q", "solution": "a", "answer": "3"}, "q"),
        ({"prompt": "q", "response": "a"}, "q"),
        ({"input": "q", "output": "a"}, "q"),
        ({"prompt": "q", "completion": "a"}, "q"),
    ],
)
def test_pairs_under_any_name_are_a_question_and_its_answer(record: dict[str, Any], prompt: str) -> None:
    joined = read(record)[0]
    assert joined.parts == (Part("prompt", prompt), Part("completion", "a"))
    document, schema = read(record, pairs="chat")
    assert document.templated
    assert document.parts == (Part("user", prompt, context=True), A)
    assert "chat template" in schema.readings.sentences("law")[0]
    assert document.fingerprint != joined.fingerprint


def test_a_system_message_comes_with_the_pair() -> None:
    for name in ("system", "system_prompt"):
        document, schema = read({name: "s", "question": "q", "response": "a"}, pairs="chat")
        assert document.parts == (Part("system", "s", context=True), Q, A)
        assert not schema.unread.sentences("law")


@pytest.mark.parametrize("asked", ["<|im_start|>user\nq<|im_end|>\n", "[INST] q [/INST]", "### Instruction:\nq\n", " "])
def test_what_is_rendered_already_or_asks_nothing_stays_as_it_is(asked: str) -> None:
    assert read({"prompt": asked, "completion": "a"}, pairs="chat")[0].parts == (
        Part("prompt", asked),
        Part("completion", "a"),
    )


def test_sharegpt_with_tools_is_read_by_its_own_name() -> None:
    turns = [
        {"from": "human", "value": "q"},
        {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1}}'},
        {"from": "observation", "value": "2"},
        {"from": "gpt", "value": "a"},
    ]
    document, schema = read({"conversations": turns, "system": "s", "tools": '[{"name": "add"}]'})
    assert [part.role for part in document.parts] == ["system", "user", "assistant", "tool", "assistant"]
    assert document.parts[2].extra["tool_calls"][0]["function"]["name"] == "add"
    assert document.tools == ({"name": "add"},)
    assert schema.readings.sentences("law") == (
        "source 'law': 'conversations' (1 row, first f.jsonl:3) is read as a chat's messages.",
    )


def test_what_was_read_before_is_read_as_before() -> None:
    both = {"text": "t", "question": "q", "answer": "a"}
    assert read(both)[0].parts == (Part("text", "t"),)
    assert read({"prompt": "p", "completion": "c", "instruction": "q", "output": "a"})[0].text == "pc"
    with pytest.raises(BadRow, match=quoted("… fields needs 'answr' …")):
        read({"question": "q", "answer": "a"}, fields={"prompt": "question", "completion": "answr"})
    with pytest.raises(BadRow, match=quoted("… format is 'text', which needs 'text'; …")):
        read({"question": "q", "answer": "a"}, format="text")


def mixed(folder: Path) -> Path:
    folder.mkdir()
    (folder / "faq.csv").write_text("q,a\n" + "".join(f"what {i}?,it is {i}.\n" for i in range(5)))
    write_records(folder / "talk.jsonl", [{"talk": [{"role": "user", "content": f"{i}"}]} for i in range(5)])
    write_records(folder / "plain.json", [{"text": f"t{i}"} for i in range(5)])
    return folder


def test_each_kind_of_file_has_its_fields(tmp_path: Path) -> None:
    path, faq = str(mixed(tmp_path / "docs")), {"prompt": "q", "completion": "a"}
    by_kind = section(path=path, fields={"csv": faq, "jsonl": {"messages": "talk"}})
    found = [document for document, _ in Reader("law", by_kind).read()]
    assert [(d.templated, len(d.parts)) for d in (found[0], found[5], found[10])] == [(False, 2), (False, 1), (True, 1)]
    with pytest.raises(DataError, match=quoted("… 'talk'. sources.law.fields: {csv: {prompt: q, completion: a}} …")):
        list(Reader("law", section(path=path, fields=faq)).read())
    with pytest.raises(
        ConfigError, match=quoted("sources.law.fields.tsv has no effect on …, which has no .tsv file; …")
    ):
        Reader("law", section(path=path, fields={"csv": faq, "tsv": faq}))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"csv": "question"}, r"fields\.csv is 'question'; accepted: \{prompt"),
        ({"prompt": {"text": "a"}}, r"fields\.prompt is \{'text': 'a'\}; accepted: one name"),
        ({"csv": {}}, r"fields\.csv is empty"),
        ({"csv": {"text": "a", "messages": "b"}}, r"fields\.csv names fields of messages and text"),
        ({"csv": {"text": "a"}, "prompt": "b"}, "the kind 'csv' beside the field 'prompt'"),
    ],
)
def test_fields_that_cannot_be(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        section(fields=fields)


FAQ = [{"question": f"What is {i}?", "answer": f"It is {i}."} for i in range(12)]


@pytest.mark.parametrize("streaming", [False, True])
def test_pairs_go_through_the_template_of_a_model_that_has_one(tmp_path: Path, streaming: bool) -> None:
    path = write_records(tmp_path / "faq.jsonl", FAQ)
    source = {"path": str(path), "heldout": 3, "streaming": streaming}
    config = run_config(tmp_path, {"domain": source})
    for _ in range(2):  # the second time from the cache
        corpus = load_corpora(config, pico_tokenizer()).sources["domain"]
        assert corpus.section.pairs == "chat"
        assert corpus.has_pairs
        assert "12 rows, first faq.jsonl:1) go through" in corpus.read_as[0]
        text = pico_tokenizer().decode(corpus.train.document(0)[0])
        assert text.startswith("<|im_start|>user\nWhat is ")
    bare = load_corpora(config, pico_tokenizer(chat_template=None)).sources["domain"]
    assert (bare.section.pairs, "joined as they stand" in bare.read_as[0]) == ("joined", True)
    with pytest.raises(ConfigError, match="no chat template"):
        load_corpora(run_config(tmp_path, {"domain": source | {"pairs": "chat"}}), pico_tokenizer(chat_template=None))
    learned = source | {"routes": {"prompt": "domain", "completion": "domain"}}
    assert (
        load_corpora(run_config(tmp_path, {"domain": learned}), pico_tokenizer()).sources["domain"].train.labels.sum()
    )


def test_pairs_without_any_have_no_effect(tmp_path: Path) -> None:
    path = write_records(tmp_path / "a.jsonl", [{"text": f"t {i}"} for i in range(9)])
    with pytest.raises(ConfigError, match="no document is a pair"):
        load_corpora(run_config(tmp_path, {"domain": {"path": str(path), "pairs": "chat"}}), pico_tokenizer())
    for settings in ({"format": "text"}, {"routes": {"completion": "domain"}}):
        with pytest.raises(ValueError, match=r"pairs has no effect|routes names the role"):
            section(pairs="chat", **settings)


def test_a_run_from_before_pairs_goes_on_as_it_began(tmp_path: Path) -> None:
    """Its config.yaml says nothing of pairs, which it joined; one that says more is believed."""
    sources = {name: {"path": f"{name}.jsonl", "group": "none"} for name in ("domain", "general")}
    sources["general"]["format"] = "text"
    settings = {"name": "r", "output_dir": str(tmp_path), "model": {"path": "m"}, "budget": {"steps": 1}}
    config = parse_config(settings | {"sources": sources})
    path = config.run_dir / "config.yaml"
    path.parent.mkdir()
    for recorded, meant in ((None, "joined"), ("chat", "chat"), ("auto", "auto")):
        save_config(config, path)
        plain = yaml.safe_load(path.read_text())
        for section_ in plain["sources"].values():
            section_.pop("pairs")
        if recorded is not None:
            plain["sources"]["domain"]["pairs"] = recorded
            plain["sources"]["general"]["pairs"] = "auto"
        path.write_text(json.dumps(plain))
        assert with_saved_choices(config).sources["domain"].pairs == meant
        assert read_config(config.run_dir).sources["domain"].pairs == meant
        assert with_saved_choices(config).sources["general"].pairs == "auto"  # has none, and may not say more
        assert not differences_from(config)
