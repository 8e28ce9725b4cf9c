from __future__ import annotations

import json
import re
from typing import Any

import pytest

from acclimate.config.source_schema import TextFormat
from acclimate.data.read.records import BadRow, Document, Part, RecordSchema, parse_json
from acclimate.types.errors import DataError
from tests.data.samples import section
from tests.fixtures.sentences import quoted, refused


def parse(record: Any, text_format: TextFormat = "auto", source: str = "law", **settings: Any) -> Document | None:
    line = record if isinstance(record, str) else json.dumps(record)
    schema = RecordSchema(source, section(format=text_format, **settings))
    return schema.document(parse_json(line, "f.jsonl:3"), "f.jsonl:3")


def parts(record: Any) -> tuple[bool, tuple[Part, ...]]:
    document = parse(record)
    assert document is not None
    assert (document.source, document.where) == ("law", "f.jsonl:3")
    return document.templated, document.parts


def test_the_three_formats() -> None:
    assert parts({"text": "hello", "meta": 1}) == (False, (Part("text", "hello"),))
    assert parts({"prompt": "a ", "completion": "b"}) == (False, (Part("prompt", "a "), Part("completion", "b")))
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "route": "domain"}]
    assert parts({"messages": messages}) == (True, (Part("user", "q"), Part("assistant", "a", "domain")))


def test_lists_of_messages_learn_only_the_completion() -> None:
    said = {"role": "assistant", "content": "earlier"}
    templated, found = parts({"prompt": [said], "completion": [{"role": "assistant", "content": "now"}]})
    assert templated
    assert found == (Part("assistant", "earlier", context=True), Part("assistant", "now"))


def test_other_keys_of_a_message_are_kept_for_the_template() -> None:
    calls = [{"function": {"name": "add"}}]
    _, found = parts({"messages": [{"role": "assistant", "content": None, "tool_calls": calls}]})
    assert found == (Part("assistant", "", extra={"tool_calls": calls}),)


@pytest.mark.parametrize(
    ("record", "hint"),
    [
        (
            {"instruction": "i", "input": "x", "target": "o"},
            "'input' is not read then; {prompt: [instruction, input], completion: output} …",
        ),
        ({"text;id": "a;1"}, "… commas in .csv … tabs in .tsv."),
    ],
)
def test_hints_at_what_other_data_sets_are_like(record: dict[str, str], hint: str) -> None:
    with pytest.raises(BadRow, match=quoted(f"… {hint}")):
        parse(record)


TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {}}}]


@pytest.mark.parametrize("given", [TOOLS, json.dumps(TOOLS)])
def test_tools_beside_messages(given: Any) -> None:
    for record in (
        {"messages": [{"role": "user", "content": "m"}]},
        {"prompt": [{"role": "user", "content": "m"}], "completion": [{"role": "assistant", "content": "a"}]},
    ):
        plain, document = parse(record), parse(record | {"tools": given})
        assert document is not None is not plain
        assert document.tools == tuple(TOOLS)
        assert document.fingerprint != plain.fingerprint
        for none in (None, [], ""):
            same = parse(record | {"tools": none})
            assert same is not None
            assert same.fingerprint == plain.fingerprint
    assert parse({"text": "t", "tools": "a hammer"}) is not None  # of a text it is a column like any other


@pytest.mark.parametrize("given", ["add", "{}", 3, [TOOLS]])
def test_wrong_tools_are_a_sentence(given: Any) -> None:
    with pytest.raises(BadRow, match=r"'tools'") as caught:
        parse({"messages": [{"role": "user", "content": "m"}], "tools": given})
    assert caught.value.reason == "wrong type"


def test_half_a_surrogate_in_tools_that_are_a_string() -> None:
    given = json.dumps([{"name": "\ud83d"}])
    with pytest.raises(BadRow, match=r"the escape .ud83d is half of a surrogate pair"):
        parse({"messages": [{"role": "user", "content": "m"}], "tools": given})


def test_auto_prefers_messages_then_pairs_then_text() -> None:
    everything = {"text": "t", "prompt": "p", "completion": "c", "messages": [{"role": "user", "content": "m"}]}
    assert parts(everything)[1] == (Part("user", "m"),)
    del everything["messages"]
    assert parts(everything)[1] == (Part("prompt", "p"), Part("completion", "c"))
    document = parse(everything, "text")
    assert document is not None
    assert document.text == "t"


def test_fingerprint_depends_on_contents_alone() -> None:
    one = parse({"text": "x"}, source="a")
    two = parse({"text": "x", "id": 1}, source="b")
    assert one is not None
    assert two is not None
    assert one.fingerprint == two.fingerprint
    routed = parse({"messages": [{"role": "user", "content": "x", "route": "domain"}]})
    plain = parse({"messages": [{"role": "user", "content": "x"}]})
    assert routed is not None
    assert plain is not None
    assert routed.fingerprint != plain.fingerprint


@pytest.mark.parametrize(
    "record",
    [
        {"text": " \n"},
        {"messages": []},
        {"prompt": "p", "completion": ""},
        {"prompt": [{"role": "assistant", "content": "p"}], "completion": []},
    ],
)
def test_records_without_text_are_none(record: dict[str, Any]) -> None:
    assert parse(record) is None


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (
            '{"text": }',
            "this is not JSON: Expecting value (column 10); … one JSON object a line.",
        ),
        ("[" * 100_000, "this JSON is nested too deeply to be read."),
        ([1], "a record is a JSON object; this line holds a list."),
        ("3", "a record is a JSON object; this line holds a number."),
        (
            {"prompt": "p", "result": "c"},
            "… no field to learn from: … 'prompt', 'result'; accepted: 'text', 'messages', or 'prompt' and "
            "'completion'; … sources.law.fields, like {text: body}.",
        ),
        (
            {},
            "… no field to learn from: … empty; accepted: 'text', 'messages', or 'prompt' and 'completion'; … "
            "sources.law.fields, like {text: body}.",
        ),
        ({"text": 3}, "'text' must be a string, not a number."),
        ({"text": None}, "'text' must be a string, not null."),
        ({"messages": "hi"}, "'messages' must be a list of messages, not a string."),
        (
            {"messages": ["hi"]},
            "message 1 of 'messages' must be an object with 'role' and 'content', not a string.",
        ),
        (
            {"messages": [{"role": "user", "content": "x"}, {"from": "gpt", "text": "y"}]},
            "message 2 of 'messages' has no 'role' or 'content'; it has 'from', 'text'.",
        ),
        ({"messages": [{"role": "user"}]}, "message 1 of 'messages' has no 'content'; it has 'role'."),
        ({"messages": [{}]}, "message 1 of 'messages' has no 'role' or 'content'; it has nothing."),
        (
            {"messages": [{"role": 1, "content": "x"}]},
            "'role' in message 1 of 'messages' must be a string, not a number.",
        ),
        (
            {"messages": [{"role": "user", "content": [{}]}]},
            "part 1 of 'content' in message 1 of 'messages' is an object; … {type: text, text: ...} …",
        ),
        (
            {"messages": [{"role": "user", "content": "x", "route": True}]},
            "'route' in message 1 of 'messages' must be a string, not a boolean.",
        ),
        (
            {"prompt": "x", "completion": [{"role": "assistant", "content": "y"}]},
            "'prompt' and 'completion' … both … strings or both … lists of messages; … a string and a list.",
        ),
        ({"prompt": {}, "completion": "y"}, "'prompt' and 'completion' … both … strings or both … lists of "
         "messages; … an object and a string."),
        ('{"text": "a\\u0000b"}', "'text' holds a NUL character (U+0000), which no text has."),
        (
            {"messages": [{"role": "user", "content": "x", "name": json.loads("[" * 200 + "]" * 200)}]},
            "'name' in message 1 of 'messages' is nested more than 100 levels deep.",
        ),
        ('{"text": "half \\ud83d"}', "… \\ud83d is half of a surrogate pair, …"),
    ],
)  # fmt: skip
def test_errors_name_place_and_value(record: Any, sentence: str) -> None:
    with refused(f"f.jsonl:3: {sentence}"):
        parse(record)


def test_whole_surrogate_pairs_are_characters() -> None:
    assert parts('{"text": "\\ud83d\\ude00"}')[1] == (Part("text", "😀"),)


def test_a_fixed_format_refuses_other_records() -> None:
    with refused(
        "f.jsonl:3: sources.law.format is 'prompt_completion', … 'prompt' and 'completion'; … 'text', 'prompt'."
    ):
        parse({"text": "x", "prompt": "y"}, "prompt_completion")


def test_fields_rename_what_a_record_calls_them() -> None:
    document = parse({"text": "not this", "body": "this"}, fields={"text": "body"})
    assert document is not None
    assert document.text == "this"
    document = parse({"prompt": "p", "messages": [], "answer": "c"}, fields={"completion": "answer"})
    assert document is not None
    assert document.parts == (Part("prompt", "p"), Part("completion", "c"))
    document = parse({"talk": [{"role": "user", "content": "q"}]}, fields={"messages": "talk"})
    assert document is not None
    assert document.parts == (Part("user", "q"),)


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({"text": "x"}, "sources.law.fields needs 'question' in this record; it has 'text'."),
        ({"question": "x"}, "sources.law.fields needs 'completion' in this record; it has 'question'."),
        (
            {"question": 1, "completion": "x"},
            "'question' and 'completion' … both … strings or both … lists of messages; … a number and a string.",
        ),
    ],
)
def test_errors_name_the_record_s_own_fields(record: Any, sentence: str) -> None:
    with refused(f"f.jsonl:3: {sentence}"):
        parse(record, fields={"prompt": "question"})


def test_sharegpt_messages_are_read_as_ours() -> None:
    talk = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a", "weight": 1}, {"from": "tool", "value": "t"}]
    document = parse({"conversations": talk}, fields={"messages": "conversations"})
    assert document is not None
    assert document.templated
    assert document.parts == (Part("user", "q"), Part("assistant", "a"), Part("tool", "t"))
    mixed = parse({"messages": [{"role": "human", "content": "q"}]})
    assert mixed is not None
    assert mixed.parts == (Part("human", "q"),)  # only ShareGPT's own spelling has ShareGPT's roles


def test_errors_do_not_repeat_a_page_of_names() -> None:
    with pytest.raises(DataError) as caught:
        parse({"x" * 50 + str(i): 1 for i in range(1000)})
    assert str(caught.value).count("x" * 40 + "...'") == 20
    assert " and 980 more; accepted" in str(caught.value)


def test_the_hint_names_the_mapping_that_helps() -> None:
    for record, hint in (({"title": "t", "content": "c"}, "{text: content}"),):
        with pytest.raises(DataError, match=re.escape(f"sources.law.fields, like {hint}.")):
            parse(record)
