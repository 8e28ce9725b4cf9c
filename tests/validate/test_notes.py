"""Notes about sources: one line a kind."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from acclimate.config.load import parse_config
from acclimate.types.errors import DataError
from acclimate.verbs.validate import print_preflight, validate
from acclimate.verbs.validate.by_source import alike
from tests.fixtures.sentences import says

ONE = "The kidney filters blood and keeps the balance of water and of salt in the body by day."
OTHER = "The heart pumps blood through lungs and limbs and never rests at all by day or night here."


def test_six_sources_have_one_line_a_kind(pico_folder: Path, tmp_path: Path) -> None:
    """Each holds out few, is read too often, and shares text with the others."""
    sources = {}
    for name in ("notes", "faq", "pages", "rows", "letters", "general"):
        rows = [f"{ONE} {name} {i}. {OTHER * 12}" for i in range(10)]
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
        sources[name] = {"path": str(path), "heldout": 3, "group": "none"} | (
            {} if name == "general" else {"route": "domain"}
        )
    config = parse_config(
        {
            "model": {"path": str(pico_folder)}, "method": "mol", "sources": sources, "output_dir": str(tmp_path),
            "budget": {"count": "all", "steps": 400, "batch_tokens": 1024},
            "data": {"cache_dir": str(tmp_path / "cache"), "sequence_length": 256},
        }
    )  # fmt: skip
    notes = validate(config).warnings
    assert len(notes) == len({note.split("'")[0] for note in notes}) <= 5, notes
    repeated, overlapping, cut, few = notes
    assert says(
        repeated, "sources that are read again and again: 'notes' (… times), …; beyond 4 epochs … smaller budget."
    )
    assert says(
        overlapping, "held-out documents share a 13-word sequence …: 3 of 3 of 'notes', …; … data.overlap: drop …"
    )
    assert says(
        cut, "training documents are longer than a row (data.sequence_length: 256) and cut: 'notes' (7 of 7, …), …"
    )
    assert says(few, "few documents are held out of 'notes' (3 documents), …; … raise sources.NAME.heldout, …")


def test_few_of_what_is_held_out_are_measured(pico_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "domain.jsonl"
    path.write_text("".join(json.dumps({"text": f"{ONE} {i}. {OTHER}"}) + "\n" for i in range(60)))
    data = {
        "model": {"path": str(pico_folder)}, "method": "sft", "output_dir": str(tmp_path), "budget": {"steps": 2},
        "sources": {"domain": {"path": str(path), "heldout": 30, "max_documents": 50, "group": "none"}},
        "data": {"cache_dir": str(tmp_path / "cache")}, "evaluation": {"documents": 3},
    }  # fmt: skip
    found = validate(parse_config(data))
    (note,) = (note for note in found.warnings if "evaluation.documents" in note)
    assert says(note, "evaluation.documents: 3 measures fewer … raise it, …")
    console = Console(width=120, file=(shown := StringIO()))
    print_preflight(found, console)
    assert " 50 of 60 " in shown.getvalue()
    data["evaluation"] = {"documents": 25}
    assert not [note for note in validate(parse_config(data)).warnings if "evaluation.documents" in note]


def test_sentences_about_rows_are_told_once() -> None:
    said = [*alike([("a.b", "source 'a.b': 3 rows hold x (first: a.jsonl:3)."), ("c", "source 'c': 4 rows hold y.")])]
    assert len(said) == 2
    (one,) = alike(
        [("a", "source 'a': 2 rows hold x (first: a.jsonl:3)."), ("c", "source 'c': 44 rows hold x (first: q:1).")]
    )
    assert says(one, "source 'a': 2 rows hold x (first: a.jsonl:3). It is the same with 'c'.")


def test_every_missing_path_is_named_before_the_model_is_looked_for(tmp_path: Path) -> None:
    sources = {"domain": {"path": f"{tmp_path}/no"}, "general": {"path": f"{tmp_path}/none"}}
    config = parse_config({"model": {"path": "a/b"}, "sources": sources, "budget": {"steps": 1}})
    with pytest.raises(DataError) as caught:
        validate(config)
    first, second = str(caught.value).splitlines()
    assert says(first, "sources.domain.path: '…no' matches no file or folder…")
    assert says(second, "sources.general.path: '…none' matches no file or folder…")
