"""Files of rows: what they hold, what is left out, and that a kill at any moment changes nothing."""

# ruff: noqa: E501 (sentences stand on one line)

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from acclimate.config.chosen.replay import ReplaySection
from acclimate.config.schema import ModelSection
from acclimate.config.source_schema import SourceSection
from acclimate.data.prepare.encoding import Encoder
from acclimate.data.prepare.routes import NOT_LEARNED
from acclimate.data.read.documents import read_documents
from acclimate.disk.files import alone
from acclimate.measurement.two_samples import told_apart
from acclimate.types.central import Route
from acclimate.types.errors import AcclimateError, ConfigError, DataError, ModelError, RunError, UsageError
from acclimate.verbs.replay import replay
from acclimate.verbs.replay import write as write_module
from acclimate.verbs.replay.degenerate import why_degenerate
from acclimate.verbs.replay.manuscript import Manuscript
from acclimate.verbs.replay.seeds import in_turns, seeds
from tests.fixtures.pico import pico_tokenizer
from tests.fixtures.sentences import refused, says
from tests.fixtures.writing import END, EOS, LETTERS, save_writer
from tests.test_disk_full import fill

SMALL = {"tokens": 450, "max_new_tokens": 32, "batch_size": 8}


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_writer(tmp_path_factory.mktemp("writer"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without a chat template, with a bos that the tokenizer does not put."""
    return save_writer(tmp_path_factory.mktemp("base"), chat_template=None, bos=True)


def written(model: Path, output: Path, **settings: Any) -> dict[str, Any]:
    section = ModelSection(path=str(model), dtype="float32", device="cpu")
    return replay(section, output, ReplaySection(**(SMALL | settings)))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def rows(writer: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    output = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    return output, written(writer, output)


def test_seeds_are_many_and_of_many_kinds() -> None:
    assert len(seeds()) >= 200
    assert len({seed.family for seed in seeds()}) >= 12
    assert Counter(seed.language for seed in seeds()).total() - sum(seed.language == "en" for seed in seeds()) >= 60
    assert len({seed.prompt for seed in seeds()}) == len(seeds())
    assert len({seed.family for seed in in_turns(3)[:16]}) == 16  # a first batch already
    assert sorted(in_turns(3), key=repr) == sorted(seeds(), key=repr) != list(in_turns(3))


def test_rows_hold_what_the_model_wrote_and_the_report_counts_it(rows: tuple[Path, dict[str, Any]]) -> None:
    output, found = rows
    records = lines(output)
    assert found["rows"] == len(records)
    assert found["tokens"] >= SMALL["tokens"] > found["tokens"] - SMALL["max_new_tokens"]
    assert set(found["ways"]) == {"template", "seeds"}
    assert sum(of["rows"] for of in found["ways"].values()) == len(records) == sum(found["lengths"].values())
    assert len(found["families"]) >= 6
    assert found["written_tokens"] > found["tokens"]
    assert json.loads(output.with_name("rows.replay.json").read_text()) == {"version": 1} | found
    assert f"{len(records)} rows" in output.with_name("rows.replay.markdown").read_text()
    assert sorted(path.name for path in output.parent.iterdir()) == [
        ".rows.jsonl.lock", "rows.jsonl", "rows.replay.json", "rows.replay.markdown",
    ]  # fmt: skip
    cut = [r for r in records if r.get("ended") is False and "messages" in r]
    assert {len(r["messages"][-1]["content"]) for r in cut} == {
        8,
        16,
        32,
    }  # a token is a letter here; batches end at three limits


def test_exactly_what_was_written_is_learned(writer: Path, rows: tuple[Path, dict[str, Any]]) -> None:
    """Tokens that have a label are the answer, and the end where the model wrote one."""
    output, found = rows
    documents, _ = read_documents("general", SourceSection(path=str(output)))
    encoder = Encoder(pico_tokenizer(), "general", SourceSection(path="x"), (Route("general", "general"),))
    (encoded,) = encoder.encode(documents)
    at = learned = 0
    for record, length in zip(lines(output), encoded.lengths.tolist(), strict=True):
        ids, labels = encoded.ids[at : at + length], encoded.routes[at : at + length] != NOT_LEARNED
        text = encoder.tokenizer.decode(ids[labels])
        if "messages" in record:
            assert text == record["messages"][-1]["content"] + END * (record.get("ended") is not False)
        else:  # the model ended its turn with eos, which the template does not
            assert text == record["completion"]
            assert record["completion"].endswith(EOS)
        at, learned = at + length, learned + int(labels.sum())
    assert {"messages", "rendered"} == set(found["forms"])
    assert learned == found["tokens"]


def test_a_kill_at_any_moment_changes_nothing(
    writer: Path, rows: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "rows.jsonl"
    original, moment = write_module.Manuscript.add, 0

    def killed(script: Manuscript, *given: Any) -> None:
        nonlocal moment
        moment += 1
        if moment % 2:
            original(script, *given)
            return
        with script.partial.open("ab") as stream:  # rows of a batch that its progress does not know, torn
            stream.write(b'{"messages": [{"role"')
        with script.progress.open("ab") as stream:
            stream.write(b'{"bytes": 12')
        raise KeyboardInterrupt

    monkeypatch.setattr(write_module.Manuscript, "add", killed)
    kills = 0
    while not output.exists():
        try:
            found = written(writer, output)
        except KeyboardInterrupt:
            kills += 1
    assert kills >= 3
    assert output.read_bytes() == rows[0].read_bytes()
    assert {k: v for k, v in found.items() if k != "seconds"} == {k: v for k, v in rows[1].items() if k != "seconds"}
    assert not (tmp_path / "rows.jsonl.progress").exists()


def test_a_kill_before_the_report(writer: Path, rows: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    output = tmp_path / "rows.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write_module, "report", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            written(writer, output)
    assert output.exists()
    written(writer, output)
    assert output.read_bytes() == rows[0].read_bytes()


def test_what_is_there_is_not_written_again_nor_over(
    writer: Path, rows: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    output, found = rows
    monkeypatch.setattr(write_module, "_write", None)  # would be called
    assert written(writer, output) == found
    with refused("--output: … exists and is left alone; …", UsageError):
        written(writer, output, seed=1)


def test_a_full_disk(
    writer: Path, rows: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "rows.jsonl"
    with monkeypatch.context() as patch:
        met = fill(patch, "rows.jsonl.partial")
        with refused(
            f"'{output}' cannot be written (No space left on device); … then run the command again, …", RunError
        ):
            written(writer, output)
    assert met
    written(writer, output)
    assert output.read_bytes() == rows[0].read_bytes()


def test_something_else_was_begun_there(writer: Path, tmp_path: Path) -> None:
    output = tmp_path / "rows.jsonl"
    Manuscript(output, "another")
    with refused("… was begun with another model, other settings or other prompts; … remove …", UsageError):
        written(writer, output)


def test_two_processes_do_not_write_at_once(writer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits for the first, then finds its rows."""
    output = tmp_path / "rows.jsonl"
    waits: list[float] = []
    with alone(tmp_path / ".rows.jsonl.lock") as free:
        assert free

        def wait(seconds: float) -> None:
            waits.append(seconds)
            raise KeyboardInterrupt

        monkeypatch.setattr(write_module.time, "sleep", wait)
        with pytest.raises(KeyboardInterrupt):
            written(writer, output)
    assert waits
    assert not output.exists()


def test_prompts_of_ones_own(writer: Path, tmp_path: Path) -> None:
    (tmp_path / "asked.txt").write_text("tell\n\nshout\n")
    (tmp_path / "asked.jsonl").write_text(json.dumps({"prompt": "sing"}) + "\n")
    for name, questions in (("asked.txt", {"tell", "shout"}), ("asked.jsonl", {"sing"})):
        output = tmp_path / f"{name}.rows.jsonl"
        written(writer, output, prompts=str(tmp_path / name), ways={"prompts": 1}, tokens=200)
        asked = {r["messages"][0]["content"] for r in lines(output) if "messages" in r}
        assert asked == questions


def test_a_base_model_begins_with_nothing_or_with_given_words(base: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text(json.dumps({"text": "nothing else"}) + "\n")
    output = tmp_path / "rows.jsonl"
    found = written(base, output, prefixes=str(tmp_path / "texts.jsonl"), prefix_tokens=7)
    assert set(found["ways"]) == {"bos", "prefixes"}
    records = lines(output)
    for record in records:
        assert ("text" in record and record["text"].startswith(EOS)) or "nothing".startswith(record["prompt"])
    assert {record.get("ended", True) for record in records} == {True, False}
    documents, _ = read_documents("general", SourceSection(path=str(output)))
    encoder = Encoder(pico_tokenizer(None), "general", SourceSection(path="x"), (Route("general", "general"),))
    (encoded,) = encoder.encode(documents)
    ends = encoded.ids[encoded.lengths.cumsum() - 1] == 0
    assert ends.tolist() == [record.get("ended", True) for record in records]  # eos only where the model wrote it
    assert int(encoded.labels.sum()) == found["tokens"]


def test_hybrid_models_write_in_both_modes(tmp_path: Path) -> None:
    template = (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
        "{% if enable_thinking is defined and not enable_thinking %}-\n{% endif %}{% endif %}"
    )
    hybrid = save_writer(tmp_path / "hybrid", template)
    found = written(hybrid, tmp_path / "rows.jsonl", tokens=600)
    assert {"on", "off"} == set(found["thinkings"])
    rendered = [r for r in lines(tmp_path / "rows.jsonl") if "prompt" in r]
    assert any(r["prompt"].endswith("assistant\n-\n") for r in rendered)  # what messages would not say


REFUSED: list[tuple[dict[str, Any], str, type[AcclimateError]]] = [
    ({"prompts": "EMPTY"}, "replay.prompts: … there is no document in … (… dropped: 1 empty).", DataError),
    ({"prompts": "nowhere.txt"}, "replay.prompts: 'nowhere.txt' matches no file or folder …", DataError),
    ({"ways": {"prefixes": 1}}, "replay.ways: 'prefixes' cannot be had, since replay.prefixes names no file.", ModelError),
    ({"ways": {"bos": 1}}, "replay.ways: 'bos' cannot be had, since its tokenizer has no bos token.", ModelError),
    ({"ways": {"seeds": 1}, "prompts": "GIVEN"}, "replay.prompts: has no effect, since 'prompts' is not among …", ConfigError),
    ({"max_new_tokens": 512}, "replay.max_new_tokens: 512 leaves no room for a prompt in the 512 positions …", ConfigError),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "sentence", "kind"), REFUSED)
def test_wrong_settings(
    settings: dict[str, Any], sentence: str, kind: type[AcclimateError], writer: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "given.txt").write_text("tell")
    files = {"EMPTY": str(tmp_path / "empty.txt"), "GIVEN": str(tmp_path / "given.txt")}
    given = {k: files.get(v, v) if isinstance(v, str) else v for k, v in settings.items()}
    with refused(sentence, kind):
        written(writer, tmp_path / "rows.jsonl", **given)
    assert not (tmp_path / "rows.jsonl").exists()


def test_models_that_have_nothing_to_write(tmp_path: Path) -> None:
    mute = save_writer(tmp_path / "mute", chat_template=None)
    with refused(
        "replay: the model has neither a chat template nor a bos token, … give replay.prefixes, …", ModelError
    ):
        written(mute, tmp_path / "rows.jsonl")
    with refused("replay.prompts: has no effect, since the model has no chat template; …", ConfigError):
        (tmp_path / "asked.txt").write_text("tell")
        written(
            mute, tmp_path / "rows.jsonl", prompts=str(tmp_path / "asked.txt"), prefixes=str(tmp_path / "asked.txt")
        )
    ends = save_writer(tmp_path / "ends", end=1e6)
    with pytest.raises(DataError) as error:
        written(ends, tmp_path / "rows.jsonl")
    assert says(
        error.value, "replay: … hardly writes a row that is new: of … so far 0 could be kept (left out: … empty…"
    )


def test_why_a_row_is_left_out() -> None:
    assert why_degenerate([5, 6], "ab", {0}) is None
    assert why_degenerate([5, 0], "a<|endoftext|>", {0}) == "a special token inside"
    assert why_degenerate([5], "\ufffd", {0}) == why_degenerate([5], None, {0}) == "bytes that are no text"
    assert why_degenerate([], "  \n", {0}) == "empty"
    assert why_degenerate([7, *([1, 2, 3, 4] * 9), 8], "x", {0}) == "a loop"
    assert why_degenerate([1, 2] * 9, "x", {0}) is None  # a short refrain


def test_a_classifier_tells_what_differs_and_nothing_else() -> None:
    draw = random.Random(0)
    letters = [" ".join(draw.choices(LETTERS, k=9)) for _ in range(240)]
    same = told_apart(letters[::2], letters[1::2])
    assert same is not None
    assert same["low"] <= 0.5 <= same["high"] + 0.1
    other = told_apart(letters[::2], [f"{text} indeed" for text in letters[1::2]])
    assert other is not None
    assert other["accuracy"] > 0.95
    assert told_apart(letters[:5], letters) is None
