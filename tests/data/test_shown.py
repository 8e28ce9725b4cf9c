"""`validate --show`: the first documents as the model reads them, and notes on how files are read."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from rich.console import Console

from acclimate.data.corpus import load_corpora
from acclimate.verbs.validate.reading import files_not_read, read_as
from acclimate.verbs.validate.shown import HEAD, TAIL, Stretch, first_documents, print_documents
from tests.data.samples import run_config, write_records
from tests.fixtures.pico import pico_tokenizer


def test_what_is_learned_is_marked(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "faq.csv").write_text("question,answer\n" + "".join(f"Who is {i}?,Number {i}.\n" for i in range(9)))
    for i in range(9):
        (docs / f"n{i}.txt").write_text(f"note {i} \x1b[31m" + "very long " * 99)
    config = run_config(tmp_path, {"domain": {"path": str(docs), "heldout": 0}})
    corpora = load_corpora(config, pico_tokenizer())
    found = first_documents(corpora, pico_tokenizer(), 1)
    assert [Path(document.where).name for document in found] == ["faq.csv:2", "n0.txt"]  # one of each kind of file
    assert found[0].stretches == (
        Stretch("<|im_start|>user\nWho is 0?<|im_end|>\n<|im_start|>assistant\n", None),
        Stretch("Number 0.<|im_end|>", "domain"),
        Stretch("\n", None),
    )
    assert found[0].labels == len("Number 0.") + 1
    assert found[1].stretches[0] == Stretch("n", None)  # nothing stands before it to predict it from
    assert len(first_documents(corpora, pico_tokenizer(), 3)) == 6
    output = StringIO()
    print_documents(found, Console(file=output, width=60))
    printed = output.getvalue()
    assert "⟦Number 0.<|im_end|>⟧" in printed
    assert "note 0 \\x1b[31m" in printed.replace("⟦", "")
    assert "\x1b" not in printed
    assert f"… {len(found[1].stretches[1].text) - HEAD - TAIL:,} characters …" in printed


def test_routes_are_named_where_there_are_several(tmp_path: Path) -> None:
    chat = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    path = write_records(tmp_path / "a.jsonl", [chat])
    routes = {"user": "general", "assistant": "domain"}
    config = run_config(tmp_path, {"domain": {"path": str(path), "heldout": 0, "routes": routes}})
    output = StringIO()
    print_documents(first_documents(load_corpora(config, pico_tokenizer()), pico_tokenizer(), 1), Console(file=output))
    assert "⟦general: q⟧<|im_end|>" in output.getvalue()
    assert "⟦domain: a<|im_end|>⟧" in output.getvalue()


def test_files_that_are_not_read_are_counted_by_kind_with_a_way(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    write_records(docs / "a.jsonl", [{"text": f"one {i}"} for i in range(9)])
    config = run_config(tmp_path, {"domain": {"path": str(docs), "heldout": 0}})
    corpora = load_corpora(config, pico_tokenizer())
    assert (list(files_not_read(corpora.sources["domain"])), read_as(corpora)) == ([], [])
    for name in ("a.odt", "b.odt", "c.epub", "d.xyz", "e.json"):  # beside an index that is in the cache
        (docs / name).write_text("{}")
    corpus = load_corpora(config, pico_tokenizer()).sources["domain"]
    assert corpus.dropped == {f"unsupported file type .{kind}": n for kind, n in
                              (("odt", 2), ("epub", 1), ("xyz", 1), ("json", 1))}  # fmt: skip
    (note,) = files_not_read(corpus)
    assert note.startswith("source 'domain': 5 files of its path are not read: 2 .odt, 1 .epub, 1 .json, 1 .xyz.")
    assert ".odt, .epub: `pandoc -t plain" in note
