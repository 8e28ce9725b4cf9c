"""The demo's domain: entries of the Human Phenotype Ontology, told as short medical prose.

hp.obo is a list of stanzas of ``tag: value`` lines (the OBO 1.2 flat file format). Only the handful
of tags that carry prose are read here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

MAX_SYNONYMS = 6
"""Some terms list twenty near-identical spellings; a sentence with more than a few reads like a table."""

ROOTS = frozenset({"HP:0000001", "HP:0000118"})
"""``All`` and ``Phenotypic abnormality``: being a kind of these says nothing."""

HIDDEN_SYNONYMS = frozenset({"HP:0034334", "obsolete_synonym", "plural_form"})
"""Machine names (``monoallelic_autosomal``), discarded words and plurals of the name."""

ESCAPES = {"n": " ", "t": " ", "W": " "}
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(.*)')
REFERENCE = r"(?:PMID:?\s?\d|HP:\d|OMIM:\d|MIM:?\s?\d|ORPHA:\d|https?:|www\.|doi:)"
BRACKETED_REFERENCE = re.compile(rf"\s*[(\[][^()\[\]]*{REFERENCE}[^()\[\]]*[)\]]", re.IGNORECASE)
SENTENCE_BREAK = re.compile(r"(?<=[a-z0-9)\"'][.?!])\s+(?=[A-Z\"(])")
MODIFIER = re.compile(r"\s*\{\w+=[^{}]*\}\s*$")


@dataclass
class Term:
    """One entry of the ontology."""

    id: str = ""
    name: str = ""
    definition: str = ""
    comment: str = ""
    synonyms: list[str] = field(default_factory=list)
    parents: list[str] = field(default_factory=list)  # ids
    obsolete: bool = False


def read_terms(lines: Iterable[str]) -> Iterator[Term]:
    """Every ``[Term]`` stanza, obsolete ones included (their ``obsolete`` is True)."""
    term: Term | None = None
    for line in map(str.rstrip, lines):
        if line.startswith("["):
            if term is not None:
                yield term
            term = Term() if line == "[Term]" else None
        elif term is not None and ": " in line:
            tag, value = line.split(": ", 1)
            _add(term, tag, value)
    if term is not None:
        yield term


def _add(term: Term, tag: str, value: str) -> None:
    if tag == "id":
        term.id = value
    elif tag == "name":
        term.name = clean(value)
    elif tag == "comment":
        term.comment = clean(MODIFIER.sub("", value))
    elif tag == "is_obsolete":
        term.obsolete = value.startswith("true")
    elif tag == "is_a":
        term.parents.append(value.split(maxsplit=1)[0])
    elif tag == "def" and (match := QUOTED.match(value)):
        term.definition = clean(match[1])
    elif tag == "synonym" and (match := QUOTED.match(value)):
        # After the quotes: scope, an optional kind, references. Only EXACT means "the same thing".
        scope, *kind = match[2].split("[")[0].split()
        if scope == "EXACT" and not HIDDEN_SYNONYMS & set(kind):
            term.synonyms.append(clean(match[1]))


def clean(text: str) -> str:
    r"""Unescaped, on one line, without pointers to papers, figures in papers or other terms.

    A reference in brackets goes with its brackets; a sentence that still holds one is dropped.

    >>> clean(r'Also a \"false joint\" (PMID:123).  See PMID 20691590 for images. It  heals.')
    'Also a "false joint". It heals.'
    """
    text = re.sub(r"\\(.)", lambda match: ESCAPES.get(match[1], match[1]), text)
    text = re.sub(r"\s+", " ", BRACKETED_REFERENCE.sub("", text)).strip()
    text = re.sub(r"\s+([.,;:)])", r"\1", text)
    kept = (part for part in SENTENCE_BREAK.split(text) if not re.search(REFERENCE, part, re.IGNORECASE))
    return " ".join(kept)


def common_words(terms: Iterable[Term]) -> set[str]:
    """Words that the ontology itself writes in lower case somewhere; an eponym like Babinski is not among them."""
    return {
        word
        for term in terms
        for text in (term.definition, term.comment, term.name, *term.synonyms)
        for word in re.findall(r"\b[a-z]+\b", text)
    }


def prose(term: Term, names: dict[str, str], words: set[str]) -> str:
    """The entry as a paragraph: name, definition, other names, kinds, comment.

    Args:
        term: an entry with a definition.
        names: name of every term by id, for the parents.
        words: what :func:`common_words` found; decides which names lose their capital inside a sentence.
    """
    sentences = [_sentence(term.name), _sentence(term.definition)]
    seen = {_key(term.name), _key(term.definition)}
    synonyms = []
    for synonym in term.synonyms:
        if synonym and _key(synonym) not in seen:
            seen.add(_key(synonym))
            synonyms.append(_inside(synonym, words))
    if synonyms:
        sentences.append(f"It is also known as {_series(synonyms[:MAX_SYNONYMS])}.")
    parents = [_inside(names[parent], words) for parent in term.parents if parent in names and parent not in ROOTS]
    if parents:
        sentences.append(f"It is a kind of {_series(parents)}.")
    if term.comment and _key(term.comment) not in seen:
        sentences.append(_sentence(term.comment))
    return " ".join(sentences)


def write_ontology(obo: Path, output: Path) -> int:
    """Writes ``{"id", "text"}`` lines, one per term with a definition, and returns how many."""
    with obo.open(encoding="utf-8") as file:
        terms = [term for term in read_terms(file) if not term.obsolete]
    names = {term.id: term.name for term in terms}
    words = common_words(terms)
    count = 0
    with output.open("w", encoding="utf-8") as file:
        for term in terms:
            if term.definition and term.name:
                row = {"id": term.id, "text": prose(term, names, words)}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
    return count


def _sentence(text: str) -> str:
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".?!" or text.endswith((".)", '."')) else text.rstrip(",;:") + "."


def _inside(name: str, words: set[str]) -> str:
    """The name as it is written within a sentence: ``Renal cyst`` -> ``renal cyst``, ``Babinski sign`` as it is."""
    return re.sub(
        r"(?:^|(?<=/))[A-Z][a-z]*\b",
        lambda match: match[0].lower() if match[0].lower() in words else match[0],
        name.rstrip("."),
    )


def _series(items: list[str]) -> str:
    # A name that holds a comma would blur where one item ends.
    mark = "; " if any("," in item for item in items) else ", "
    return items[0] if len(items) == 1 else f"{mark.join(items[:-1])} and {items[-1]}"


def _key(text: str) -> str:
    """What two names share that differ in case, punctuation or plural only."""
    return " ".join(word.rstrip("s") for word in re.findall(r"\w+", text.casefold()))
