from __future__ import annotations

import json
import re
from typing import Any

import pytest

from acclimate.data.records import Document, Part, parse_record
from acclimate.errors import DataError
from acclimate.schema import TextFormat


def parse(record: Any, text_format: TextFormat = "auto") -> Document | None:
    line = record if isinstance(record, str) else json.dumps(record)
    return parse_record(line, "law", "f.jsonl:3", text_format)


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


def test_auto_prefers_messages_then_pairs_then_text() -> None:
    everything = {"text": "t", "prompt": "p", "completion": "c", "messages": [{"role": "user", "content": "m"}]}
    assert parts(everything)[1] == (Part("user", "m"),)
    del everything["messages"]
    assert parts(everything)[1] == (Part("prompt", "p"), Part("completion", "c"))
    document = parse(everything, "text")
    assert document is not None
    assert document.text == "t"


def test_fingerprint_depends_on_contents_alone() -> None:
    one = parse_record('{"text": "x"}', "a", "p:1")
    two = parse_record('{"text": "x", "id": 1}', "b", "q:2")
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
            "this is not JSON: Expecting value (column 10); a .jsonl file holds one JSON object a line.",
        ),
        ("[" * 100_000, "this JSON is nested too deeply to be read."),
        ([1], "a record is a JSON object; this line holds a list."),
        ("3", "a record is a JSON object; this line holds a number."),
        (
            {"prompt": "p", "output": "c"},
            "this record has no field to learn from: it has 'prompt', 'output'; "
            "accepted: 'text', 'messages', or 'prompt' and 'completion'.",
        ),
        (
            {},
            "this record has no field to learn from: it is empty; "
            "accepted: 'text', 'messages', or 'prompt' and 'completion'.",
        ),
        ({"text": 3}, "'text' must be a string, not a number."),
        ({"text": None}, "'text' must be a string, not null."),
        ({"messages": "hi"}, "'messages' must be a list of messages, not a string."),
        (
            {"messages": ["hi"]},
            "message 1 of 'messages' must be an object with 'role' and 'content', not a string.",
        ),
        (
            {"messages": [{"role": "user", "content": "x"}, {"from": "gpt", "value": "y"}]},
            "message 2 of 'messages' has no 'role' or 'content'; it has 'from', 'value'.",
        ),
        ({"messages": [{"role": "user"}]}, "message 1 of 'messages' has no 'content'; it has 'role'."),
        ({"messages": [{}]}, "message 1 of 'messages' has no 'role' or 'content'; it has nothing."),
        (
            {"messages": [{"role": 1, "content": "x"}]},
            "'role' in message 1 of 'messages' must be a string, not a number.",
        ),
        (
            {"messages": [{"role": "user", "content": [{}]}]},
            "'content' in message 1 of 'messages' must be a string, not a list.",
        ),
        (
            {"messages": [{"role": "user", "content": "x", "route": True}]},
            "'route' in message 1 of 'messages' must be a string, not a boolean.",
        ),
        (
            {"prompt": "x", "completion": [{"role": "assistant", "content": "y"}]},
            "'prompt' and 'completion' must both be strings or both be lists of messages; they are a string and a "
            "list.",
        ),
        ({"prompt": {}, "completion": "y"}, "'prompt' and 'completion' must both be strings or both be lists of "
         "messages; they are an object and a string."),
        ('{"text": "half \\ud83d"}', "the escape \\ud83d is half of a surrogate pair, so it is no character."),
    ],
)  # fmt: skip
def test_errors_name_place_and_value(record: Any, sentence: str) -> None:
    with pytest.raises(DataError, match="^" + re.escape(f"f.jsonl:3: {sentence}") + "$"):
        parse(record)


def test_whole_surrogate_pairs_are_characters() -> None:
    assert parts('{"text": "\\ud83d\\ude00"}')[1] == (Part("text", "😀"),)


def test_a_fixed_format_refuses_other_records() -> None:
    with pytest.raises(
        DataError,
        match=r"^f\.jsonl:3: sources\.law\.format is 'prompt_completion', which needs 'prompt' and 'completion'; "
        r"it has 'text', 'prompt'\.$",
    ):
        parse({"text": "x", "prompt": "y"}, "prompt_completion")
