"""A model that forgot does not pass the gate on numbers that are not its own, or not whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from acclimate.config.load import parse_config
from acclimate.gates import gate, parse_policy
from acclimate.reports import collect, model_card
from acclimate.reports.html import render
from acclimate.runs.folder import read_summary, write_summary
from acclimate.runs.layout import write_lines
from acclimate.runs.scores import read_lines
from acclimate.types.errors import ConfigError, RunError
from acclimate.verbs.export import export
from acclimate.verbs.run import evaluate_run, train
from tests.fixtures.runs import settings, write_corpora
from tests.gates.runs import edit, sign
from tests.test_wrong_inputs import run_cli

POLICY = parse_policy({"default": {"max_drop": {"kl_base_tuned": "0.2 nats/token"}}})
PANEL = parse_policy({"panels": {"p": {"general": {"max_drop": {"kl_base_tuned": "0.2 nats/token"}}}}})


@pytest.fixture(scope="module")
def trained(pico_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs on the same documents: ``good`` hardly moved, ``bad`` forgot."""
    folder = tmp_path_factory.mktemp("gated")
    corpora = write_corpora(folder / "corpora", 130)
    for name, changes in {
        "good": {"method": "mol", "optimizer": {"learning_rate": 1e-4}},
        "bad": {"method": "sft", "optimizer": {"learning_rate": 3e-2}},
    }.items():
        data = settings(pico_folder, corpora, folder, **changes, name=name, evaluation={"generations": 0})
        for source in data["sources"].values():
            source |= {"heldout": 60, "group": "none"}
        train(parse_config(data))
    return folder


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    for name in ("good", "bad"):
        shutil.copytree(trained / name, tmp_path / name, symlinks=True)
    return tmp_path


def test_the_good_one_passes_and_the_bad_one_fails(runs: Path) -> None:
    verdict = gate(runs / "good", POLICY)
    assert (verdict.outcome, verdict.notes) == ("pass", ())
    assert verdict.weights == json.loads((runs / "good" / "provenance.json").read_text())["tuned"]["digest"]
    assert gate(runs / "bad", POLICY).outcome == "fail"


def replaced(name: str) -> Callable[[Path], None]:
    """A folder of the good run in the bad one's place, or the bad model in the good run."""

    def attack(runs: Path) -> None:
        shutil.rmtree(runs / "bad" / name)
        shutil.copytree(runs / "good" / name, runs / "bad" / name)

    return attack


def lines(change: Callable[[list[str]], list[str]], name: str = "general") -> Callable[[Path], None]:
    def attack(runs: Path) -> None:
        path = runs / "bad" / "eval" / f"{name}.jsonl"
        write_lines(path, map(json.loads, change(list(map(json.dumps, read_lines(path))))))

    return attack


def column(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[list[str]], list[str]]:
    return lambda found: [json.dumps(json.loads(line) | change(json.loads(line))) for line in found]


def weights(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def attack(runs: Path) -> None:
        path = runs / "bad" / "model" / "model.safetensors"
        path.write_bytes(change(path.read_bytes()))

    return attack


def linked(runs: Path) -> None:
    shutil.rmtree(runs / "bad" / "model")
    (runs / "bad" / "model").symlink_to(runs / "good" / "model")


def renamed(runs: Path) -> None:
    shutil.copy(runs / "good" / "eval" / "chat.jsonl", runs / "bad" / "eval" / "general.jsonl")


def summary(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Callable[[Path], None]:
    path = Path("bad") / "summary.json"
    return lambda runs: write_summary(runs / path, change(read_summary(runs / path)))


def without_set(data: dict[str, Any]) -> dict[str, Any]:
    return data | {"sources": {name: row for name, row in data["sources"].items() if name != "general"}}


def rescaled(runs: Path) -> None:
    edit(runs / "bad" / "model" / "config.json", lambda config: config | {"rms_norm_eps": 0.1})


def with_weights_file(runs: Path) -> None:
    """The good run's eval/ and model/ with the bad run's provenance."""
    replaced("eval")(runs)
    replaced("model")(runs)


ATTACKS: dict[str, tuple[Callable[[Path], None], str]] = {
    "another run's eval/": (replaced("eval"), "are of other weights than this run's training wrote"),
    "another run's model/": (replaced("model"), "model' holds other weights than this run's training wrote"),
    "another run's eval/ and model/": (with_weights_file, "model' holds other weights"),
    "another run's summary": (
        lambda runs: shutil.copy(runs / "good" / "summary.json", runs / "bad" / "summary.json"),
        "summary.json' is not the file that was written when the run was measured",
    ),
    "lines three times": (lines(lambda found: 3 * found), "general.jsonl' is not the file that was written"),
    "the worst lines deleted": (lines(lambda found: found[:20]), "general.jsonl' is not the file"),
    "another order": (lines(lambda found: found[::-1]), "general.jsonl' is not the file"),
    "divergences below 0": (
        lines(column(lambda line: {"kl_base_tuned": -line["kl_base_tuned"]})), "general.jsonl' is not the file",
    ),
    "swapped columns": (
        lines(column(lambda line: {"nats": line["base_nats"], "base_nats": line["nats"]})), "general.jsonl' is not the",
    ),
    "another set's file": (renamed, "general.jsonl' is not the file"),
    "a set out of the summary": (
        summary(lambda found: [record for record in found if record["set"] != "general"]), "summary.json' is not the",
    ),
    "numbers of the summary": (
        summary(lambda found: [record | {"value": 0.01} for record in found]), "summary.json' is not the file",
    ),
    "a set out of data.json": (
        lambda runs: edit(runs / "bad" / "data.json", without_set), "data.json' is not the file",
    ),
    "a set without scores": (
        lambda runs: (runs / "bad" / "eval" / "general.jsonl").unlink(), "general.jsonl' is missing",
    ),
    "no digests of measuring": (
        lambda runs: (runs / "bad" / "eval" / "measured.json").unlink(), "measured.json is missing",
    ),
    "no digest of training": (
        lambda runs: edit(
            runs / "bad" / "provenance.json",
            lambda found: {k: v for k, v in found.items() if k != "tuned"}
        ),
        "provenance.json holds no digest of its weights",
    ),
    "digests cut off": (
        lambda runs: (runs / "bad" / "eval" / "measured.json").write_text("{"), "measured.json' is damaged",
    ),
    "another base": (
        lambda runs: edit(runs / "bad" / "provenance.json", lambda found: found | {"model": {"digest": "sha256:0"}}),
        "measured against another base than the run's",
    ),
    "other data": (
        lambda runs: edit(
            runs / "bad" / "provenance.json",
            lambda found: found | {"data": {**found["data"], "chat": "0"}}
        ),
        "are of other data of chat",
    ),
    "a link to another model": (linked, "model' holds other weights"),
    "weights cut off": (weights(lambda found: found[:-100]), "model' holds other weights"),
    "one bit of the weights": (
        weights(lambda found: found[:-1] + bytes([found[-1] ^ 1])), "model' holds other weights",
    ),
    "another file of weights beside": (
        lambda runs: shutil.copy(runs / "good/model/model.safetensors", runs / "bad/model/x.safetensors"),
        "model' holds other weights",
    ),
    "another configuration": (rescaled, "model' holds another configuration or tokenizer"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_not_the_runs_own_is_refused(runs: Path, name: str) -> None:
    """By gate, report and card alike."""
    attack, sentence = ATTACKS[name]
    attack(runs)
    for verb in (lambda run: gate(run, POLICY), lambda run: collect([run]), model_card):
        with pytest.raises(RunError) as caught:
            verb(runs / "bad")
        assert sentence in str(caught.value)


FORGED: dict[str, tuple[Callable[[Path], None], str]] = {
    "lines three times": (lines(lambda found: 3 * found[:8]), "general.jsonl:10: this is not the scores of a document "
                          "(it is the same one as in line 2)"),
    "the same texts at other places": (
        lines(lambda found: [*found[:9], *(line.replace('"where": "', '"where": "copy of ') for line in found[:9])]),
        "general.jsonl:11: this is not the scores of a document (it is the same one as in line 2)",
    ),
    "more documents than are held out": (
        lines(lambda found: [*found, json.dumps(json.loads(found[0]) | {"where": "else", "text": "else"})]),
        "has scores of 61 documents of 'general', but 60 to report",
    ),
    "divergences below 0": (
        lines(column(lambda line: {"kl_base_tuned": -line["kl_base_tuned"]})), "and it is never below 0",
    ),
    "negative nats": (lines(column(lambda line: {"nats": -1.0})), "nats is -1, and it is never below 0"),
    "negative nats of the base": (lines(column(lambda line: {"base_nats": -1.0})), "base_nats is -1, and"),
    "negative bytes": (lines(column(lambda line: {"bytes": -4.0})), "bytes is -4, which is no count of at least 0"),
    "half a byte": (lines(column(lambda line: {"bytes": 4.5})), "bytes is 4.5, which is no count"),
    "no tokens": (lines(column(lambda line: {"tokens": 0.0})), "tokens is 0, which is no count of at least 1"),
    "more agreement than tokens": (lines(column(lambda line: {"agree": 1e6})), "agree is 1e+06 of "),
    "NaN": (lines(column(lambda line: {"kl_base_tuned": float("nan")})), "a number is not finite"),
    "a set out of the summary": (
        summary(lambda found: [record for record in found if record["set"] != "general"]),
        "holds documents of 'general' out, but has no scores of it",
    ),
    "a set out of eval/": (
        lambda runs: (runs / "bad" / "eval" / "general.jsonl").unlink(), "of 'general' out, but has no scores of it",
    ),
    "another role": (
        summary(lambda found: [record | {"role": "chat"} for record in found]), "is chat in summary.json and domain in",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_what_cannot_be_is_refused_even_with_digests_written_anew(runs: Path, name: str) -> None:
    attack, sentence = FORGED[name]
    attack(runs)
    sign(runs / "bad")
    with pytest.raises(RunError) as caught:
        gate(runs / "bad", POLICY)
    assert sentence in str(caught.value)


def test_a_shipped_folder_without_its_weights_says_so(runs: Path) -> None:
    whole = gate(runs / "good", POLICY)
    shutil.rmtree(runs / "good" / "model")
    verdict = gate(runs / "good", POLICY)
    assert verdict.outcome == "pass"
    (note,) = verdict.notes
    assert "The weights are not in the folder" in note
    assert whole.weights in note
    assert "The weights are not in the folder" in render(collect([runs / "good"]), gates=[verdict.as_json()])


def test_a_run_of_before_digests_is_read_but_not_gated(runs: Path) -> None:
    run = runs / "good"
    (run / "eval" / "measured.json").unlink()
    edit(run / "provenance.json", lambda found: {name: value for name, value in found.items() if name != "tuned"})
    with pytest.raises(RunError, match=r"before acclimate kept digests.*`acclimate eval .*good` measures it again"):
        gate(run, POLICY)
    assert "Measured before acclimate kept digests" in render(collect([run]))
    evaluate_run(run)
    assert gate(run, POLICY).outcome == "pass"


def test_measuring_or_exporting_another_model_as_the_runs_is_refused(runs: Path) -> None:
    replaced("model")(runs)
    for verb in (lambda: evaluate_run(runs / "bad"), lambda: export(runs / "bad", runs / "exported")):
        with pytest.raises(RunError, match="holds other weights than this run's training wrote"):
            verb()
    assert not (runs / "exported").exists()


@pytest.fixture
def panels(
    runs: Path, pico_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Path]:
    """Measures panel p of the named run, or of another one's model; returns the panel's folder."""

    def measure(run: str, model: str | None = None, items: int = 60) -> Path:
        path = runs / "files" / str(items) / "p.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        texts = runs / "files" / "general.jsonl"
        texts.write_text("\n".join(json.dumps({"text": f"river city {i} train {i * i} cloud."}) for i in range(80)))
        path.write_text(json.dumps({"sets": {"general": {"kind": "text", "path": str(texts), "max_items": items}}}))
        output = runs / run / "panels" / "p"
        of = [str(runs / run)] if model is None else [
            "--model", str(runs / model / "model"), "--base", str(pico_folder), "--output", str(output)]  # fmt: skip
        code, _, err = run_cli(["eval", *of, "--panel", str(path)], monkeypatch, capsys)
        assert (code, err) == (0, "")
        return output

    return measure


def test_panels_of_other_weights_are_refused(runs: Path, panels: Callable[..., Path]) -> None:
    panels("good")
    assert gate(runs / "good", PANEL).outcome == "pass"
    panels("bad")
    assert gate(runs / "bad", PANEL).outcome == "fail"
    panels("bad", model="good")  # every command succeeds
    for verb in (lambda: gate(runs / "bad", PANEL), lambda: render(collect([runs / "bad"]))):
        with pytest.raises(RunError, match="measured on other weights than"):
            verb()
    panels("bad", model="bad")  # by hand, but of its own weights
    assert gate(runs / "bad", PANEL).outcome == "fail"


def test_panels_that_were_edited_or_are_another_one_are_refused(runs: Path, panels: Callable[..., Path]) -> None:
    folder = panels("bad")
    path, text = folder / "general.jsonl", (folder / "general.jsonl").read_text()
    path.write_text("".join(text.splitlines(keepends=True)[:20]))
    with pytest.raises(RunError, match=r"general.jsonl' is not the file that was written"):
        gate(runs / "bad", PANEL)
    path.write_text(text)
    shutil.copytree(folder, folder.with_name("hard"))
    rules = {"general": {"max_drop": {"kl_base_tuned": "0.2 nats/token"}}}
    with pytest.raises(RunError, match="holds the panel 'p', not 'hard'"):
        gate(runs / "bad", parse_policy({"panels": {"hard": rules}}))
    digest = gate(runs / "bad", PANEL).panels["p"]
    pinned = parse_policy({"panels": {"p": rules}, "panel_digests": {"p": digest}})
    assert gate(runs / "bad", pinned).outcome == "fail"
    panels("bad", items=25)
    with pytest.raises(ConfigError, match=r"panel_digests.p: the run .* was measured on another panel 'p'"):
        gate(runs / "bad", pinned)
    edit(folder / "panel.json", lambda found: {name: value for name, value in found.items() if name != "files"})
    with pytest.raises(RunError, match="was measured before acclimate kept digests"):
        gate(runs / "bad", PANEL)


def test_a_digest_of_a_panel_without_a_rule_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"panel_digests.q: no rule is about a panel 'q'"):
        parse_policy(
            {"panels": {"p": {"x": {"max_drop": {"accuracy": "1 points"}}}}, "panel_digests": {"q": "sha256:0"}}
        )
