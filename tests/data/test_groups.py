"""Near duplicates, files, folders and fields: what belongs together stands on one side of the split."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acclimate.config.schema import DataSection
from acclimate.data.corpus import Corpora, load_corpora
from acclimate.data.deal.stream import Place
from acclimate.data.prepare.groups import file_of
from acclimate.data.prepare.near import near_duplicates, similarity, sketch
from acclimate.data.prepare.split import Fingerprints, drawing_order, held_out
from acclimate.types.errors import ConfigError, DataError
from tests.data.samples import chat, run_config, section, text, write_records
from tests.fixtures.pico import pico_tokenizer

WORDS = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "rt", "l", "st")]


def sentences(n: int, words: int = 40, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [", ".join(" ".join(draw.choices(WORDS, k=8)) for _ in range(words // 8)) + "." for _ in range(n)]


VARIANTS = (
    lambda t: t,
    lambda t: t.replace(", ", " , "),
    lambda t: t.upper(),
    lambda t: t + " (revised)",
    lambda t: t.replace(",", ""),
)


def clusters(texts: Sequence[str]) -> list[int]:
    found: list[int] = near_duplicates(np.stack([sketch(text(t)) for t in texts])).tolist()
    return found


def test_variants_are_together_and_others_apart() -> None:
    found = np.array(clusters([vary(t) for t in sentences(50) for vary in VARIANTS])).reshape(50, -1)
    assert (found == found[:, :1]).all()
    assert len(np.unique(found)) == 50


def test_one_template_with_other_numbers() -> None:
    def templated(i: int) -> str:
        return f"The patient, aged {i}, was given {i * 7} mg of the drug and left after {i + 3} days in good health."

    assert len(set(clusters([templated(i) for i in range(30)] + sentences(5)))) == 6
    assert len(set(clusters(["one two 3 four", "one two 4 four"]))) == 2  # too short to tell


def test_similarity_is_jaccards() -> None:
    one, other = sentences(2, 24)
    half = one[: len(one) // 2] + other[: len(other) // 2]
    found = [float(similarity(sketch(text(one))[None], sketch(text(t))[None])[0]) for t in (one, half, other)]
    assert found[0] == 1
    assert 0.2 < found[1] < 0.5
    assert found[2] < 0.1


def test_what_a_whole_corpus_says_to_the_model_makes_no_duplicate() -> None:
    system = ("system", "You are a very careful assistant who always answers briefly and cites what was read.")
    chats = [
        chat(system, ("user", u), ("assistant", a)) for u, a in zip(sentences(9), sentences(9, 40, 1), strict=True)
    ]
    assert len(np.unique(near_duplicates(np.stack([sketch(c) for c in chats])))) == 9


def loaded(tmp_path: Path, records: Sequence[Any], /, **settings: Any) -> Corpora:
    data = settings.pop("data", {})
    path = settings.pop("path", None) or str(write_records(tmp_path / "law.jsonl", records))
    config = run_config(
        tmp_path, {"law": {"path": path, **settings}}, data={"cache_dir": str(tmp_path / "cache")} | data
    )
    return load_corpora(config, pico_tokenizer())


def test_no_variant_of_a_held_out_text_is_trained_on(tmp_path: Path) -> None:
    records = [{"text": vary(t)} for t in sentences(40) for vary in VARIANTS]
    law = loaded(tmp_path, records, heldout=20).sources["law"]

    def origins(where: Sequence[str]) -> set[int]:
        return {(int(place.rsplit(":", 1)[1]) - 1) // len(VARIANTS) for place in where}

    assert not origins(law.train.where) & origins(law.heldout.where)
    assert abs(len(law.heldout) - 20) <= 2
    assert len(set(law.groups)) == len(origins(law.heldout.where))
    alone = loaded(tmp_path, records, heldout=20, group="none").sources["law"]
    assert origins(alone.train.where) & origins(alone.heldout.where)  # as it was
    assert len(set(alone.groups)) == 20


@pytest.mark.parametrize("streaming", [False, True])
def test_a_field_groups(tmp_path: Path, streaming: bool) -> None:
    records = [{"text": t, "book": i // 5 if i < 180 else None} for i, t in enumerate(sentences(200))]
    more = {"streaming": True, "shuffle_buffer": 50} if streaming else {}
    law = loaded(tmp_path, records, heldout=20, group="book", **more).sources["law"]
    book = {f"{tmp_path}/law.jsonl:{i + 1}": r["book"] for i, r in enumerate(records)}
    held, names = [book[place] for place in law.heldout.where], dict(zip(law.heldout.where, law.groups, strict=True))
    trained = {book[place] for place in law.train.where}
    assert not {b for b in held if b is not None} & trained
    assert abs(len(law.heldout) - 20) <= 2
    assert {b for b in trained if b is not None}
    for place, other in ((a, b) for a in names for b in names if a < b):
        assert (names[place] == names[other]) == (book[place] is not None and book[place] == book[other])
    assert not any("book" in name or len(name) != 16 for name in law.groups)  # a hash, no content


def test_a_stream_leaves_whole_groups_out(tmp_path: Path) -> None:
    records = [{"text": t, "book": f"b{i // 5}"} for i, t in enumerate(sentences(300))]
    law = loaded(tmp_path, records, heldout=0.1, group="book", streaming=True).sources["law"]
    assert law.stream is not None
    trained = next(law.stream.windows(Place())).corpus.where

    def books(where: Sequence[str]) -> list[int]:
        return [(int(place.rsplit(":", 1)[1]) - 1) // 5 for place in where]

    held = books(law.heldout.where)
    assert 0 < len(held) < 100
    assert not set(held) & set(books(trained))
    assert all(held.count(book) == 5 for book in held)


def test_a_group_that_is_no_field(tmp_path: Path) -> None:
    records = [{"text": t, "book": "a"} for t in sentences(9)]
    with pytest.raises(DataError, match=r"law\.jsonl:1: sources\.law\.group is 'boko'.*'book'.*auto, file.*mean"):
        loaded(tmp_path, records, group="boko")
    with pytest.raises(DataError, match=r"sources\.law\.group: 'book' makes 1 group of .* 9 documents.*heldout: 0"):
        loaded(tmp_path, records, group="book", heldout=2)
    with pytest.raises(DataError, match=r"'book', .* must be a text or a number, not a list"):
        loaded(tmp_path, [{"text": "a b", "book": [1]}], group="book")


def test_files_and_folders(tmp_path: Path) -> None:
    texts = iter(sentences(24 * 4))
    for number in range(24):
        folder = tmp_path / "books" / f"shelf{number % 6}"
        folder.mkdir(parents=True, exist_ok=True)
        write_records(folder / f"{number}.jsonl", [{"text": next(texts)} for _ in range(4)])
    path = str(tmp_path / "books")
    for group, of in (("auto", file_of), ("file", file_of), ("folder", lambda place: str(Path(file_of(place)).parent))):
        law = loaded(tmp_path, [], path=path, heldout=16, group=group).sources["law"]
        held = {of(place) for place in law.heldout.where}
        assert not held & {of(place) for place in law.train.where}, group
        assert len(law.heldout) == 16
        assert len(set(law.groups)) == len(held)
    few = loaded(tmp_path, [], path=f"{path}/shelf0", heldout=4).sources["law"]  # 4 files: parts of one text
    assert len(set(few.groups)) == 4


def test_whole_groups_as_near_to_the_count_as_they_come(tmp_path: Path) -> None:
    documents = [text(t) for t in sentences(100)]
    known, data = Fingerprints.of(documents), DataSection(cache_dir=str(tmp_path))
    groups = np.repeat(np.arange(20), 5)
    measured, apart = held_out(known, "law", section(heldout=13), data, groups)
    assert measured.tolist() == apart.tolist()
    assert len(measured) == 15
    assert np.bincount(groups[measured]).tolist().count(5) == 3
    uneven = np.array([0] * 60 + [1] * 39 + [2])
    assert set(uneven[held_out(known, "law", section(heldout=30), data, uneven)[0]]) <= {1, 2}
    validation = DataSection(split="validation", cache_dir=str(tmp_path))
    second, both = held_out(known, "law", section(heldout=13), validation, groups)
    assert not set(groups[second]) & set(groups[measured])
    assert set(both) == set(second) | set(measured)
    order = drawing_order(known, groups, measured, "heldout:0")
    assert sorted(order) == list(range(15))
    assert [len(set(groups[measured][order[i : i + 5]])) for i in (0, 5, 10)] == [1, 1, 1]


def test_what_choices_look_at_shares_no_group_with_what_is_reported(tmp_path: Path) -> None:
    records = [{"text": t, "book": i // 5} for i, t in enumerate(sentences(100))]
    law = loaded(tmp_path, records, heldout=30, group="book").sources["law"]
    seen = {law.groups[place] for place in law.heldout_order[:7]}
    reported = law.reported(7)
    assert len(reported) == 20  # of 30 less two books
    assert not seen & {law.groups[place] for place in reported}


def test_overlap_is_dropped_or_marked(tmp_path: Path) -> None:
    shared = sentences(1, 24, 5)[0].removesuffix(".")
    records = [{"text": f"{shared} {t}" if i % 3 == 0 else t} for i, t in enumerate(sentences(60, 160))]
    warned = loaded(tmp_path, records, heldout=20, group="none")
    law = warned.sources["law"]
    numbers = [int(place.rsplit(":", 1)[1]) - 1 for place in law.heldout.where]
    assert law.overlapping.tolist() == [number % 3 == 0 for number in numbers]
    dropped = loaded(tmp_path, records, heldout=20, group="none", data={"overlap": "drop"}).sources["law"]
    clean = [place for place, hit in zip(law.heldout.where, law.overlapping, strict=True) if not hit]
    assert list(dropped.heldout.where) == clean
    assert dropped.left_out == 20 - len(clean) > 0
    assert dropped.dropped is not None
    assert dropped.dropped["held out, shares text with training documents"] == dropped.left_out
    assert sorted(dropped.heldout_order) == list(range(len(clean)))
    assert [document.where for document in dropped.read_heldout()] == clean
    assert list(dropped.train.where) == list(law.train.where)  # no training document leaves


def test_dropping_what_nobody_looks_for(tmp_path: Path) -> None:
    records = [{"text": t} for t in sentences(40)]
    with pytest.raises(ConfigError, match=r"data\.overlap: drop has no effect.*streamed"):
        loaded(tmp_path, records, heldout=5, streaming=True, data={"overlap": "drop"})


def test_another_group_is_another_split_and_the_index_knows(tmp_path: Path) -> None:
    records = [{"text": t, "a": i // 2, "b": i // 10} for i, t in enumerate(sentences(60))]
    one, other = (loaded(tmp_path, records, heldout=20, group=group).sources["law"] for group in ("a", "b"))
    assert (len(set(one.groups)), len(set(other.groups))) == (10, 2)
    assert one.digest == other.digest
    assert one.heldout_digest != other.heldout_digest
    assert json.loads(json.dumps(list(one.groups))) == list(one.groups)
