"""Logs of other tools: what is read, and a sentence for each wrong table."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from acclimate.types.errors import DataError, UsageError
from acclimate.verbs.planning.reading.logs import COLUMNS, read_log
from acclimate.verbs.planning.reading.paths import read
from tests.fixtures.sentences import refused
from tests.planning.tables import BASES, HEAD, log_lines, planted, write_log


def test_a_log_gives_the_readings_it_was_written_from(tmp_path: Path) -> None:
    found, expected = read_log(write_log(tmp_path / "a.csv", log_lines())), planted()
    assert found.gain_unit == "bits/byte"
    assert found.corpus == 10_000
    assert [one.run for one in found.readings] == [one.run for one in expected.readings]
    for one, other in zip(found.readings, expected.readings, strict=True):
        assert one.gain == pytest.approx(other.gain)
        assert one.drift == pytest.approx(other.drift)
        assert (one.share, one.learning_rate, one.tokens, one.seed) == (
            other.share,
            other.learning_rate,
            other.tokens,
            0,
        )


def test_tokens_of_all_sources_become_those_of_the_domain(tmp_path: Path) -> None:
    head = ("run", "set", "tokens", "share", "loss", "role")
    lines = [
        {"run": "a", "set": "law", "tokens": 0, "share": 0.25, "loss": 3.0, "role": "domain"},
        {"run": "a", "set": "web", "tokens": 0, "share": 0.25, "loss": 2.0},
        {"run": "a", "set": "law", "tokens": 4000, "share": 0.25, "loss": 2.5, "role": "domain"},
        {"run": "a", "set": "web", "tokens": 4000, "share": 0.25, "loss": 2.1},
    ]
    (one,) = read_log(write_log(tmp_path / "a.csv", lines, head)).readings
    assert one.tokens == 1000
    assert one.gain == pytest.approx(0.5)
    assert one.drift == pytest.approx(0.1)  # a rise of the loss, where no KL was logged
    assert math.isnan(one.learning_rate)
    found = read_log(tmp_path / "a.csv")
    assert (found.gain_unit, found.drift_of) == ("nats/token", "rise of the loss")


def test_bits_alone_tell_no_forgetting(tmp_path: Path) -> None:
    lines = [{key: value for key, value in line.items() if key != "kl"} for line in log_lines()]
    lines = [line | {"bits_per_byte": line.get("bits_per_byte", 0.9)} for line in lines]
    head = tuple(name for name in HEAD if name != "kl")
    found = read_log(write_log(tmp_path / "a.csv", lines, head))
    assert "bits a byte are not nats a token" in found.notes[0]
    assert all(math.isnan(one.drift) for one in found.readings)


LINE: dict[str, Any] = {"run": "a", "set": "domain", "domain_tokens": 100, "share": 0.5, "bits_per_byte": 1.0}


@pytest.mark.parametrize(
    ("head", "lines", "says"),
    [
        (("run", "set", "tokens", "los"), [{"run": "a"}], "a.csv:1: there is no column 'los'; accepted: "),
        (("run", "set", "tokens", "los"), [{"run": "a"}], "Did you mean 'loss'?"),
        (("run", "tokens", "loss"), [{"run": "a"}], "there is no column set, which a plan needs"),
        (("run", "set", "loss"), [{"run": "a"}], "there is no column tokens, which a plan needs"),
        (("run", "set", "tokens"), [{"run": "a"}], "there is no column bits_per_byte, loss or kl"),
        (("run", "set", "tokens", "domain_tokens", "loss"), [], "keep one"),
        (HEAD, [], "has a head and no line below it"),
        (HEAD, [LINE | {"bits_per_byte": "nan"}], "a.csv:2: bits_per_byte is nan; bits a byte on the set."),
        (HEAD, [LINE | {"bits_per_byte": "1,5"}], "a.csv:2: bits_per_byte is '1,5', which is no number"),
        (HEAD, [LINE | {"kl": -0.5}], "a.csv:2: kl is -0.5, and it cannot be below 0; KL(base || tuned)"),
        (HEAD, [LINE | {"share": 1.5}], "a.csv:2: share is 1.5; the domain's part"),
        (HEAD, [LINE | {"share": 50}], "As a part of 1 that is 0.5."),
        (HEAD, [LINE | {"share": "50 %"}], "Write a percentage as a part of 1."),
        (HEAD, [LINE | {"domain_tokens": "12,000"}], "Write it without signs between thousands, and with a point."),
        (HEAD, [LINE | {"domain_tokens": 0.5}], "domain_tokens is 0.5, which nobody measured"),
        (HEAD, [LINE | {"kl": 1e308}], "kl is 1e+308, which nobody measured"),
        (
            HEAD,
            [LINE | {"corpus_tokens": 0}],
            "corpus_tokens is 0; tokens of one pass over the domain's text, above 0.",
        ),
        (HEAD, [LINE | {"seed": 1.5}], "a.csv:2: seed is 1.5, which is no whole number."),
        (HEAD, [LINE, LINE], "a.csv:3: the set 'domain' of the run 'a' stands in "),
        (HEAD, [LINE | {"seed": 0}, LINE | {"seed": 1}], "with another seed; give each seed a run of its own name."),
        (HEAD, [BASES[0], BASES[0] | {"bits_per_byte": 9.0}, LINE], "the set 'domain' of the run 'base' stands in "),
        (HEAD, [BASES[0], LINE | {"corpus_tokens": 7}], "a.csv:3: corpus_tokens is 7, and 10000 in "),
        (
            (*HEAD, "base"),
            [BASES[0], LINE | {"base": "qwen"}, LINE | {"set": "web", "kl": 0.1, "base": "llama"}],
            "a.csv:4: base is 'llama', and 'qwen' above, of the same run.",
        ),
        (HEAD, [BASES[0], LINE | {"seed": 0}, LINE | {"set": "web", "kl": 0.1, "seed": 1}], "seed is another one than"),
        ((*HEAD, ""), [LINE], "a.csv:1: column 10 of 10 has no name"),
        (HEAD, [LINE | {"domain_tokens": ""}], "a.csv:2: the run 'a' does not say its tokens"),
        (HEAD, [LINE | {"run": ""}], "a.csv:2: run is empty"),
        (HEAD, [LINE | {"bits_per_byte": ""}], "a.csv:2: the line measures nothing"),
        (HEAD, [LINE], "a.csv:2: nothing says the bits_per_byte of 'domain' before training."),
        (HEAD, [LINE | {"set": "law"}], "has no set of the domain: name one 'domain', or give a column role"),
        (HEAD, [BASES[0]], "has no line of a model that was trained"),
        (HEAD, [BASES[0], LINE, LINE | {"set": "web", "kl": 0.1, "share": 0.6}], "share is another one than in"),
        ((*HEAD, "role"), [LINE | {"role": "domian"}], "accepted: domain or general. Did you mean 'domain'?"),
    ],
)
def test_a_wrong_log_is_a_sentence(
    head: tuple[str, ...], lines: list[dict[str, Any]], says: str, tmp_path: Path
) -> None:
    with refused(f"…{says}…"):
        read_log(write_log(tmp_path / "a.csv", lines, head))


@pytest.mark.parametrize("column", ["base", "tokenizer"])
def test_mixed_bases_and_tokenizers_are_refused(column: str, tmp_path: Path) -> None:
    lines = [line | {column: "llama" if line["run"] != "r3-0" else "qwen"} for line in log_lines()]
    path = write_log(tmp_path / "a.csv", lines, (*HEAD, column))
    with refused(f"Runs 'base' and 'r3-0' have another {column} (llama, qwen), so their numbers…", UsageError):
        read_log(path)


def test_a_rate_that_nobody_said_is_noted(tmp_path: Path) -> None:
    lines = [
        line | {"learning_rate": ""} for line in log_lines([(0.25, 1e-4, 5e3), (0.5, 1e-4, 5e3), (0.9, 1e-4, 2e4)])
    ]
    assert "3 of 3 readings do not say their learning rate" in read([write_log(tmp_path / "a.csv", lines)]).notes[-1]


def test_what_is_named_must_be_there_and_of_one_kind(tmp_path: Path) -> None:
    path = write_log(tmp_path / "a.csv", log_lines())
    for names, says in (
        ([], "acclimate plan reads runs that were trained"),
        ([tmp_path / "b.csv"], "There is nothing at '"),
        ([path, path], "are two tables, and a plan is made of one"),
    ):
        with refused(f"…{says}…", UsageError):
            read(names)
    other = tmp_path / "a.txt"
    other.write_text("x")
    with refused("…is no table that a plan reads; accepted: .jsonl, .yaml, .yml or .csv…", UsageError):
        read([other])
    with refused("Nothing can be planned from one setting (25 % domain, learning rate 0.0001…", UsageError):
        read([write_log(tmp_path / "c.csv", log_lines([(0.25, 1e-4, 5e3)]))])


def test_every_column_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "howto" / "plan.md").read_text()
    assert not [name for name in COLUMNS if f"`{name}`" not in page]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "begins with no head; its first line names the columns, as run, set, domain_tokens"),
        ("\n\n", "begins with no head"),
        ("run;set;tokens;loss\na;b;1;2\n", "a.csv:1: semicolons part the cells; a log has commas"),
        ("run\tset\ttokens\tloss\n", "a.csv:1: tabs part the cells"),
    ],
)
def test_a_file_without_commas_is_a_sentence(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    with refused(f"…{says}…"):
        read_log(tmp_path / "a.csv")


def test_a_spreadsheet_s_bytes_are_read(tmp_path: Path) -> None:
    """A mark before the first byte and the line ends of another system change nothing."""
    text = write_log(tmp_path / "a.csv", log_lines()).read_bytes()
    (tmp_path / "b.csv").write_bytes(b"\xef\xbb\xbf" + text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    assert read_log(tmp_path / "b.csv").readings == read_log(tmp_path / "a.csv").readings


def test_a_log_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="cannot be read"):
        read_log(path)
