from __future__ import annotations

import json
from pathlib import Path

from acclimate.demo import ontology

SAMPLE = r"""format-version: 1.2
ontology: hp.obo

[Term]
id: HP:0000001
name: All
comment: Root of all terms.

[Term]
id: HP:0000107
name: Renal cyst
def: "A fluid filled sac (\"cyst\") in the kidney (PMID:123). See Figure 1 of PMID:456. Common." [PMID:1, https://x.org]
is_a: HP:0000001 ! All

[Term]
id: HP:0000003
name: Multicystic kidney dysplasia
alt_id: HP:0004715
def: "Multicystic dysplasia of the kidney is  characterized by multiple cysts" [https://orcid.org/0]
comment: Most are unilateral. {xref="https://orcid.org/1"}
synonym: "Multicystic kidney dysplasia" EXACT layperson []
synonym: "Multicystic kidneys" EXACT []
synonym: "MULTICYSTIC KIDNEYS" EXACT layperson [https://orcid.org/0]
synonym: "Multicystic renal dysplasia" EXACT []
synonym: "MCDK" EXACT abbreviation []
synonym: "Kidney disease" BROAD []
synonym: "biallelic_kidney" EXACT HP:0034334 []
is_a: HP:0000107 ! Renal cyst
is_a: HP:0003487 ! Babinski sign

[Term]
id: HP:0003487
name: Babinski sign
def: "An upgoing toe. Multicystic is a word; so are renal, kidneys and multicystic." []

[Term]
id: HP:0000057
name: obsolete Clitoromegaly
def: "Gone." []
is_obsolete: true

[Term]
id: HP:0000009
name: No definition

[Typedef]
id: part_of
name: part of
def: "Not a term." []
"""


def written(tmp_path: Path) -> dict[str, str]:
    obo, output = tmp_path / "hp.obo", tmp_path / "domain.jsonl"
    obo.write_text(SAMPLE, encoding="utf-8")
    count = ontology.write_ontology(obo, output)
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert count == len(rows)
    return {row["id"]: row["text"] for row in rows}


def test_only_living_terms_with_a_definition_become_documents(tmp_path: Path) -> None:
    assert list(written(tmp_path)) == ["HP:0000107", "HP:0000003", "HP:0003487"]


def test_a_document_reads_as_prose(tmp_path: Path) -> None:
    assert written(tmp_path)["HP:0000003"] == (
        "Multicystic kidney dysplasia. Multicystic dysplasia of the kidney is characterized by multiple cysts."
        " It is also known as multicystic kidneys, multicystic renal dysplasia and MCDK."
        " It is a kind of renal cyst and Babinski sign. Most are unilateral."
    )


def test_references_go_and_quotes_are_unescaped(tmp_path: Path) -> None:
    assert written(tmp_path)["HP:0000107"] == 'Renal cyst. A fluid filled sac ("cyst") in the kidney. Common.'


def test_obsolete_terms_are_read_as_such() -> None:
    terms = {term.id: term for term in ontology.read_terms(SAMPLE.splitlines(keepends=True))}
    assert [key for key, term in terms.items() if term.obsolete] == ["HP:0000057"]
    assert terms["HP:0000003"].parents == ["HP:0000107", "HP:0003487"]
    assert "part_of" not in terms


def test_a_long_list_of_synonyms_is_cut() -> None:
    term = ontology.Term("HP:1", "Name", "Text.", synonyms=[f"name number {number}" for number in range(20)])
    assert ontology.prose(term, {}, set()).count("number") == ontology.MAX_SYNONYMS
