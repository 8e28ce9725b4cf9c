"""HTML, PDF and Word files as documents, with the libraries of the extra ``documents`` and without them."""

from __future__ import annotations

import gzip
from io import BytesIO
from pathlib import Path

import pytest
from docx import Document as Word
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from acclimate.data.corpus import load_corpora
from acclimate.data.read import pages
from acclimate.data.read.documents import Reader
from acclimate.types.errors import DataError
from acclimate.verbs.validate.reading import files_not_read
from tests.data.samples import run_config, section, write_records
from tests.fixtures.pico import pico_tokenizer
from tests.fixtures.sentences import refused

PAGE = """<html><head><title>Ward</title><script>var x = 1</script></head><body>
<nav>Home About</nav><header>Clinic</header>
{open}<h1>Sepsis</h1><p>Give fluids &amp; <b>antibiotics</b>.</p><details><summary>Dose</summary>30 ml/kg</details>

<style>p {{}}</style><script>var y = 2</script>
<table><tr><td>lactate</td><td>4</td></tr></table>{close}<footer>Imprint</footer></body></html>"""


def pdf(*texts: str, password: str | None = None) -> bytes:
    writer = PdfWriter()
    for text in texts:
        page = writer.add_blank_page(width=300, height=300)
        font = DictionaryObject(
            {NameObject("/" + key): NameObject("/" + value)
             for key, value in (("Type", "Font"), ("Subtype", "Type1"), ("BaseFont", "Helvetica"))}
        )  # fmt: skip
        fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        content = DecodedStreamObject()
        content.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode() if text else b"")
        page[NameObject("/Contents")] = writer._add_object(content)
    if password is not None:
        writer.encrypt(password)
    writer.write(stream := BytesIO())
    return stream.getvalue()


def docx() -> bytes:
    document = Word()
    document.add_heading("Kidney", 1)
    document.add_paragraph("It filters blood.")
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip((cell for row in table.rows for cell in row.cells), ("urea", "7", "all", "all"), strict=True):
        cell.text = text
    table.cell(1, 0).merge(table.cell(1, 1)).text = "all"
    document.add_paragraph("Then the end.")
    document.save(stream := BytesIO())
    return stream.getvalue()


def texts(path: Path, **changes: object) -> list[str]:
    return [document.text for document, _ in Reader("law", section(path=str(path), **changes)).read()]


@pytest.mark.parametrize(("start", "end"), [("<main>", "</main>"), ('<div role="main">', "</div>"), ("", "")])
def test_a_page_without_its_menus(tmp_path: Path, start: str, end: str) -> None:
    (tmp_path / "a.html").write_text(PAGE.format(open=start, close=end))
    (found,) = texts(tmp_path)
    assert found.split() == ["Sepsis", "Give", "fluids", "&", "antibiotics.", "Dose", "30", "ml/kg", "lactate", "4"]
    assert "Sepsis\n" in found
    assert "\nDose\n30 ml/kg" in found
    (tmp_path / "a.html").write_text(PAGE.format(open=f"{start}<pre>if x:\n    y()</pre>", close=end))
    assert "if x:\n    y()\n" in texts(tmp_path)[0]


def test_the_charset_is_that_of_the_page(tmp_path: Path) -> None:
    for name, raw in (
        ("a.html", "<p>Kehlkopf – Höhe".encode()),
        ("b.htm", '<meta charset="windows-1252"><p>Kehlkopf – Höhe'.encode("cp1252")),
        ("c.html", '<?xml version="1.0" encoding="utf-8"?><html><body><p>Kehlkopf – Höhe</p></body></html>'.encode()),
        ("d.html", "<p>Kehlkopf – Höhe".encode("utf-16")),
    ):
        (tmp_path / name).write_bytes(raw)
    assert texts(tmp_path) == ["Kehlkopf – Höhe"] * 4
    (tmp_path / "e.html").write_bytes("<p>Höhe".encode("latin-1"))
    with refused("…e.html cannot be read as a .html file: it is not UTF-8, and no charset is declared…"):
        texts(tmp_path)
    assert texts(tmp_path, on_bad_row="skip") == ["Kehlkopf – Höhe"] * 4


def test_pdf_and_word(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf("Give fluids.", "Then wait."))
    (tmp_path / "b.pdf").write_bytes(pdf("Locked by nothing.", password=""))
    (tmp_path / "c.docx").write_bytes(docx())
    (tmp_path / "d.pdf.gz").write_bytes(gzip.compress(pdf("Packed.")))
    assert texts(tmp_path) == [
        "Give fluids.\n\nThen wait.", "Locked by nothing.",
        "Kidney\n\nIt filters blood.\n\nurea\t7\nall\n\nThen the end.", "Packed.",
    ]  # fmt: skip


def test_files_without_text_and_damaged_ones_are_bad_rows(tmp_path: Path) -> None:
    good = tmp_path / "good.pdf"
    good.write_bytes(pdf("Give fluids."))
    for name, raw, said in (
        ("scan.pdf", pdf(""), "there is no text in it. Pages that are pictures take a program that reads them"),
        ("locked.pdf", pdf("Secret.", password="pw"), "cannot be read as a .pdf file: File has not been decrypted"),
        ("cut.pdf", pdf("Give fluids.")[:99], "cannot be read as a .pdf file: "),
        ("cut.docx", docx()[:999], "cannot be read as a .docx file: File is not a zip file"),
        ("empty.html", b" ", "there is no text in it"),
    ):
        (tmp_path / name).write_bytes(raw)
        with refused(f"…{name}…{said}…on_bad_row: skip leaves such rows out."):
            texts(tmp_path)
        assert texts(tmp_path, on_bad_row="skip") == ["Give fluids."]
        (tmp_path / name).unlink()
    with refused("…sources.law.format is 'messages', but this file is plain text…"):
        texts(good, format="messages")


def test_without_the_extra_it_is_said_and_with_it_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    write_records(docs / "a.jsonl", [{"text": f"one {i}"} for i in range(9)])
    (docs / "b.pdf").write_bytes(pdf("Give fluids."))
    config = run_config(tmp_path, {"domain": {"path": str(docs), "heldout": 0}})
    with monkeypatch.context() as patch:
        patch.setattr(pages, "lacks", lambda extension: extension == ".pdf")
        without = load_corpora(config, pico_tokenizer()).sources["domain"]
        (note,) = files_not_read(without)
        assert "1 .pdf" in note
        assert ".pdf: `pip install 'acclimate[documents]'` reads them" in note
        with pytest.raises(DataError, match=r"b.pdf' is read by pypdf, which is not installed; `pip install"):
            texts(docs / "b.pdf")
    read = load_corpora(config, pico_tokenizer()).sources["domain"]
    assert list(files_not_read(read)) == []
    assert len(read.train) == len(without.train) + 1


def test_another_version_is_another_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf("Give fluids."))
    before = Reader("law", section(path=str(tmp_path))).identity()
    monkeypatch.setattr(pages.importlib.metadata, "version", lambda package: "99")
    assert Reader("law", section(path=str(tmp_path))).identity() != before
