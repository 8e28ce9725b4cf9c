"""What a row carries is read, refused, or counted in a note."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from acclimate.data.corpus import load_corpora
from acclimate.data.read.documents import Reader
from acclimate.data.read.messages import CALL_ROLES, LEARNED_KEYS, REFUSED_KEYS, SHAREGPT_ROLES, TOOL_ROLES
from acclimate.data.read.records import BadRow, Document, Part, RecordSchema
from acclimate.data.read.unread import NAMES, OTHERS, Unread
from tests.data import tables
from tests.data.samples import run_config, section, write_records
from tests.fixtures.pico import pico_tokenizer

ALPACA = [
    {"instruction": "Translate", "input": "Haus", "output": "house"},
    {"instruction": "Translate", "input": "Baum", "output": "tree"},
]
PAIRS = {"prompt": "instruction", "completion": "output"}


def parse(record: dict[str, Any], **settings: Any) -> tuple[Document | None, tuple[str, ...]]:
    schema = RecordSchema("law", section(**settings))
    document = schema.document(record, "folder/f.jsonl:3")
    return document, schema.unread.sentences("law")


def read(record: dict[str, Any], **settings: Any) -> tuple[Part, ...]:
    document, _ = parse(record, **settings)
    assert document is not None
    return document.parts


def talk(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"messages": list(messages)}


USER, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}


@pytest.mark.parametrize("extension", [".jsonl", ".jsonl.zst", ".csv", ".tsv", ".parquet", ""])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_column_that_nobody_reads_is_said_in_every_format(tmp_path: Path, extension: str, streaming: bool) -> None:
    rows = [row | {"id": str(number)} for number, row in enumerate(ALPACA)]
    path = tables.write(tmp_path / f"data{extension}", rows)
    source = {"path": str(path), "fields": PAIRS, "heldout": 0, "streaming": streaming}
    config = run_config(tmp_path, {"domain": source})
    for _ in range(2):  # the second time from the cache
        content, others = load_corpora(config, pico_tokenizer()).sources["domain"].unread
        assert "column 'input' is not read (2 rows, first data" in content
        assert "fields: {prompt: [instruction, input]}" in content
        assert "columns that are not read: 'id' (2 rows, first data" in others


def test_columns_of_a_prompt_are_joined() -> None:
    fields = {"prompt": ["instruction", "input"], "completion": "output"}
    document, notes = parse(ALPACA[0], fields=fields)
    assert document is not None
    assert document.parts == (Part("prompt", "Translate\nHaus"), Part("completion", "house"))
    assert not notes
    for nothing in (None, ""):
        assert read(ALPACA[0] | {"input": nothing}, fields=fields)[0].text == "Translate"
    with pytest.raises(BadRow, match=r"sources\.law\.fields needs 'input' in this record"):
        parse({"instruction": "i", "output": "o"}, fields=fields)


@pytest.mark.parametrize(
    "fields", [{"text": ["a", "b"]}, {"prompt": [], "completion": "b"}, {"prompt": ["a", "a"], "completion": "b"}]
)
def test_only_a_prompt_has_several_columns(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"fields\.(text|prompt) is \["):
        section(fields=fields)


@pytest.mark.parametrize("key", LEARNED_KEYS)
def test_a_message_says_whether_it_is_learned(key: str) -> None:
    for no, yes in ((0, 1), (False, True), (0.0, 1.0)):
        bad, good = ({"role": "assistant", "content": said, key: value} for said, value in (("bad", no), ("good", yes)))
        _, first, _, second = read(talk(USER, bad, USER, good))
        assert first == Part("assistant", "bad", context=True)
        assert second == Part("assistant", "good")
    for wrong in (0.5, 2, -1, "0", float("nan"), [1]):
        with pytest.raises(BadRow, match=rf"f\.jsonl:3: '{key}' in message 2 of 'messages' must be 0 or false"):
            parse(talk(USER, ANSWER | {key: wrong}))
    assert read(talk(USER, ANSWER | {key: None}))[1] == Part("assistant", "a")


@pytest.mark.parametrize("key", REFUSED_KEYS)
def test_masks_that_are_not_read_are_refused(key: str) -> None:
    with pytest.raises(BadRow, match=rf"'{key}' in message 2 of 'messages' is not read, since .*'weight', 0 or 1"):
        parse(talk(USER, ANSWER | {key: [{"begin_offset": 0, "end_offset": 1, "train": False}]}))


def test_weights_that_contradict_each_other_or_a_route() -> None:
    with pytest.raises(BadRow, match="'weight' or 'train' in message 2 of 'messages' disagree"):
        parse(talk(USER, ANSWER | {"weight": 0, "train": True}))
    with pytest.raises(BadRow, match="has a 'route' and is not to be learned"):
        parse(talk(USER, ANSWER | {"weight": 0, "route": "law"}))


def test_a_context_role_that_asks_to_be_learned_is_said() -> None:
    record = talk(USER | {"train": True}, ANSWER)
    (note,) = parse(record)[1]
    assert "messages of 'user' ask to be learned (1 message, first f.jsonl:3)" in note
    assert not parse(record, routes={"user": "law", "assistant": "law"})[1]


def test_the_prompt_side_of_a_pair_is_learned_where_a_message_says_so() -> None:
    record = {"prompt": [USER, ANSWER | {"weight": 1}], "completion": [ANSWER | {"weight": 0}, ANSWER]}
    assert [part.context for part in read(record)] == [True, False, True, False]


def sharegpt(*turns: tuple[str, Any], **beside: Any) -> dict[str, Any]:
    return {"messages": [{"from": role, "value": value} for role, value in turns]} | beside


def test_sharegpt_with_tools() -> None:
    rows = sharegpt(
        ("human", "area?"), ("function_call", '{"name": "area"}'), ("observation", "12.5"), ("gpt", "12.5"),
        system="You compute.", tools='[{"name": "area"}]',
    )  # fmt: skip
    document, notes = parse(rows)
    assert document is not None
    calls = [{"type": "function", "function": {"name": "area", "arguments": {}}}]
    assert document.parts == (
        Part("system", "You compute."), Part("user", "area?"), Part("assistant", "", extra={"tool_calls": calls}),
        Part("tool", "12.5"), Part("assistant", "12.5"),
    )  # fmt: skip
    assert document.tools == ({"name": "area"},)
    assert not notes


@pytest.mark.parametrize(
    "calls",
    [
        [{"name": "f", "arguments": {"x": 1}}, {"name": "g", "arguments": "{}"}],
        [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}, {"name": "g", "arguments": "{}"}],
    ],
)
@pytest.mark.parametrize("role", CALL_ROLES)
def test_several_calls_in_a_turn(calls: Any, role: str) -> None:
    rows = (
        sharegpt(("human", "q"), (role, json.dumps(calls))),
        talk(USER, {"role": role, "content": json.dumps(calls)}),
    )
    for row in rows:
        made = read(row)[1].extra["tool_calls"]
        assert [call["function"]["name"] for call in made] == ["f", "g"]
        assert [call["function"]["arguments"] for call in made] == [{"x": 1}, "{}"]


@pytest.mark.parametrize("value", ["area()", "3", "{}", '[{"name": 1}]', "<tool_call>"])
def test_a_call_that_is_no_call_is_refused(value: str) -> None:
    with pytest.raises(BadRow, match=r"'value' in message 2 of 'messages' is a call .*\{name, arguments\}"):
        parse(sharegpt(("human", "q"), ("function_call", value)))


def test_calls_of_openai_s_earlier_form() -> None:
    call = {"name": "f", "arguments": "{}"}
    message = {"role": "assistant", "content": None, "function_call": call}
    found = read(talk(USER, message, {"role": "function", "name": "f", "content": "1"}))
    assert found[1].extra == {"tool_calls": [{"type": "function", "function": call}]}
    assert found[2] == Part("tool", "1", extra={"name": "f"})
    with pytest.raises(BadRow, match="'function_call' and 'tool_calls'"):
        parse(talk(USER, message | {"tool_calls": [{"function": call}]}))
    assert "'extra' (1 time" in parse(talk(USER, message | {"function_call": call | {"extra": 1}}))[1][0]


@pytest.mark.parametrize(("given", "role"), [*SHAREGPT_ROLES.items(), *TOOL_ROLES.items(), ("tool", "tool")])
def test_roles_of_sharegpt(given: str, role: str) -> None:
    assert read(sharegpt(("human", "q"), (given, "x"), ("gpt", "a")))[1].role == role


def test_a_role_that_routes_name_keeps_its_name() -> None:
    assert (
        read(talk(USER, {"role": "observation", "content": "x"}), routes={"observation": "law"})[1].role
        == "observation"
    )


@pytest.mark.parametrize(("role", "remedy"), [("Assistant", "if it is the assistant"), ("narrator", "name it in")])
def test_an_unknown_role_is_said(role: str, remedy: str) -> None:
    (note,) = parse(talk(USER, {"role": role, "content": "x"}, ANSWER))[1]
    assert f"role '{role}' is context (1 message, first f.jsonl:3); {remedy}" in note


def test_a_column_of_system_messages() -> None:
    system = Part("system", "Be short.")
    assert read(talk(USER, ANSWER) | {"system": "Be short."})[0] == system
    for nothing in (None, "", " "):
        assert read(talk(USER, ANSWER) | {"system": nothing})[0].role == "user"
    same = talk({"role": "system", "content": "Be short."}, USER, ANSWER)
    assert read(same | {"system": "Be short. "}) == read(same)
    with pytest.raises(BadRow, match="column 'system' and a system message differ"):
        parse(same | {"system": "Be long."})
    with pytest.raises(BadRow, match="'system' must be a string, not a number"):
        parse(talk(USER, ANSWER) | {"system": 3})
    pair = read({"prompt": [USER], "completion": [ANSWER], "system": "Be short."})
    assert pair[0] == Part("system", "Be short.", context=True)
    assert "column 'system' is not read" in parse({"prompt": "p", "completion": "c", "system": "s"})[1][0]
    assert "column 'tools' is not read" in parse({"prompt": "p", "completion": "c", "tools": "[1]"})[1][0]


def test_contents_in_parts() -> None:
    pieces = [{"type": "text", "text": "one "}, {"type": "text", "text": "two", "cache_control": {"type": "x"}}]
    document, (note,) = parse(talk({"role": "user", "content": pieces}, ANSWER))
    assert document is not None
    assert document.parts[0] == Part("user", "one two")
    assert "keys inside messages that are not read: 'cache_control' (1 time, first f.jsonl:3)" in note
    for media in ("image_url", "input_audio", "image", "refusal"):
        told = "of a" if media == "refusal" else "only text is trained, also of a model that sees or hears; of a"
        with pytest.raises(BadRow, match=rf"f.jsonl:3: part 2 of 'content' .* 1 of 'messages' is '{media}'; {told}"):
            parse(talk({"role": "user", "content": [pieces[0], {"type": media, media: {"url": "x"}}]}, ANSWER))


def test_messages_as_a_string_of_json(tmp_path: Path) -> None:
    path = tables.write(tmp_path / "data.csv", [{"messages": json.dumps([USER, ANSWER])}])
    ((document, _),) = Reader("law", section(path=str(path))).read()
    assert document.parts == (Part("user", "q"), Part("assistant", "a"))
    with pytest.raises(BadRow, match="'messages' must be a list of messages, not a string"):
        parse({"messages": "[1"})


@pytest.mark.parametrize("extension", [".jsonl", ".parquet"])
def test_answers_that_say_nothing_are_dropped_as_empty(tmp_path: Path, extension: str) -> None:
    empty = ["", " \n", None]
    rows = [talk(USER, ANSWER | {"content": content}) for content in empty] + [talk(USER, ANSWER)]
    reader = Reader("law", section(path=str(tables.write(tmp_path / f"chats{extension}", rows))))
    assert len(list(reader.read())) == 1
    assert reader.dropped == {"empty": 3}


@pytest.mark.parametrize(
    ("record", "kept"),
    [
        (sharegpt(("human", "q"), ("gpt", " ")), False),
        ({"prompt": "p", "completion": " \n"}, False),
        ({"prompt": [USER], "completion": [ANSWER | {"content": ""}]}, False),
        (talk(USER, ANSWER | {"content": "", "weight": 1}), False),
        (talk(USER, ANSWER, USER, ANSWER | {"content": ""}), True),  # in part: what is rendered decides
        (talk(USER, {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}), True),
        (talk(USER, ANSWER | {"content": "", "reasoning_content": "hm"}), True),
        (talk(USER, ANSWER | {"content": "", "name": "bot"}), False),
        (talk(USER | {"route": "law"}, ANSWER | {"content": ""}), True),
    ],
)
def test_which_rows_are_empty(record: dict[str, Any], kept: bool) -> None:
    assert (parse(record)[0] is not None) == kept


def test_a_row_that_is_left_out_is_in_no_note(tmp_path: Path) -> None:
    rows = [{"text": "", "id": 1}, {"text": 3, "id": 2}, {"text": "x", "id": None}]
    reader = Reader("law", section(path=str(write_records(tmp_path / "a.jsonl", rows)), on_bad_row="skip"))
    assert len(list(reader.read())) == 1
    assert not reader.unread.counts


def test_names_without_end_are_counted_together() -> None:
    unread = Unread()
    for number in range(NAMES + 50):
        unread.add("column", f"key {number}", "f.jsonl:1")
    assert len(unread.counts) == NAMES + 1
    assert unread.counts["column", OTHERS] == (50, "f.jsonl:1")
    assert Unread.of(json.loads(json.dumps(unread.facts()))) == unread


ROLES = st.sampled_from(["user", "assistant", "system", "tool", "narrator", "human", "gpt", "observation", "function"])
WORDS = st.sampled_from(["alpha", "beta", "gamma", ""])
PIECE = st.fixed_dictionaries({"type": st.just("text"), "text": WORDS}, optional={"note": WORDS})
KEYS = st.dictionaries(
    st.sampled_from([*LEARNED_KEYS, "mask", "route", "name", "reasoning_content", "id"]),
    st.sampled_from([0, 1, True, None, "alpha"]),
    max_size=1,
)
CONTENT = WORDS | st.none() | st.lists(PIECE, max_size=2)
MESSAGE = st.builds(
    lambda keys, role, content, rest: rest | dict(zip(keys, (role, content), strict=True)),
    st.sampled_from([("role", "content"), ("from", "value")]), ROLES, CONTENT, KEYS,
)  # fmt: skip
TALK = st.lists(MESSAGE, min_size=1, max_size=3)
SHAPES = (
    st.fixed_dictionaries({"text": WORDS})
    | st.fixed_dictionaries({"prompt": WORDS, "completion": WORDS})
    | st.fixed_dictionaries({"prompt": TALK, "completion": TALK})
    | st.fixed_dictionaries({"messages": TALK})
)
COLUMNS = st.dictionaries(
    st.sampled_from(["text", "prompt", "system", "input", "id", "meta", "weight"]), WORDS | st.none(), max_size=3
)
SEEN = {"documents": 0, "noted": 0, "refused": 0}


@hypothesis_settings(derandomize=True, max_examples=200)  # so that what is counted below does not vary
@given(COLUMNS, SHAPES)
def test_every_key_of_a_row_is_read_refused_or_noted(columns: dict[str, Any], shape: dict[str, Any]) -> None:
    record = columns | shape
    schema = RecordSchema("law", section())
    try:
        document = schema.document(record, "f.jsonl:3")
    except BadRow:
        SEEN["refused"] += 1
        return
    if document is None:
        return
    SEEN["documents"] += 1
    SEEN["noted"] += bool(schema.unread.counts)
    said = [part.text for part in document.parts]
    lists = [record.get(name) for name in (("messages",) if "messages" in record else ("prompt", "completion"))]
    messages = [message for value in lists if isinstance(value, list) for message in value]
    for name, value in record.items():
        if ("column", name) not in schema.unread.counts and isinstance(value, str):
            assert not value or any(value in text for text in said), name
    for message, part in zip(messages, document.parts[-len(messages) :] if document.templated else (), strict=True):
        content = message.get("content", message.get("value"))
        pieces = content if isinstance(content, list) else [{"text": content or ""}]
        assert part.text == "".join(piece["text"] for piece in pieces)
        assert all(("key", "note") in schema.unread.counts for piece in pieces if piece.get("note"))
        role = message.get("role", message.get("from"))
        assert part.role == role or role in (*SHAREGPT_ROLES, *TOOL_ROLES)
        kinds = {kind for kind, name in schema.unread.counts if name == part.role}
        assert role != "narrator" or kinds & {"role", "asked"} or part.route
        weight = next((value for key, value in message.items() if key in LEARNED_KEYS and value is not None), None)
        assert weight is None or part.context == (not weight)
        assert not weight or part.role == "assistant" or "asked" in kinds
        for key in message.keys() - {"role", "content", "from", "value", "route", *LEARNED_KEYS}:
            assert message[key] is None or part.extra[key] == message[key]


def test_the_property_saw_rows_of_all_kinds() -> None:
    if SEEN["documents"]:  # the property ran in this process
        assert min(SEEN.values()) >= 5, SEEN
