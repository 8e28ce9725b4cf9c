"""What can be wrong with a comparison, and the sentence for it."""

# ruff: noqa: E501
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from acclimate.config.load import parse_config
from acclimate.verbs.compare.preparation import prepared
from acclimate.verbs.compare.schema import PrepareSection
from tests.compare.tables import comparison_file
from tests.fixtures.runs import config
from tests.fixtures.sentences import says
from tests.test_wrong_inputs import run_cli

Edit = Callable[[dict[str, Any]], None]


def put(dotted: str, value: Any) -> Edit:
    def edit(data: dict[str, Any]) -> None:
        *parents, leaf = dotted.split("/")
        for part in parents:
            data = data[part]
        data[leaf] = value

    return edit


SFT, MOL = "methods/sft", "methods/mol"
FREE = "method, lora, objective, optimizer, schedule, training, retain, mixture or budget.batch_tokens, and share, route or terms"
TABLE: dict[str, tuple[Edit, str]] = {
    "an unknown key": (put("seed", 1), "{C}:18: seed: there is no such key. Did you mean 'seeds'?"),
    "an unknown key of a method": (put(f"{SFT}/sets", {}), "{C}:11: methods.sft.sets: there is no such key. Did you mean 'set'?"),
    "a method that sets nothing": (
        put(f"{SFT}/set", {}), "{C}:5: methods.sft.set: is empty. "
        "(dotted.path: value, on top of the run: {{method: mol}})",
    ),
    "a budget of its own": (
        put(f"{SFT}/set/budget.steps", 9),
        f"{{C}}:5: methods.sft.set: budget.steps is equal for all that is compared; a method may set {FREE} of a source.",
    ),
    "documents of its own": (
        put(f"{SFT}/set/sources.domain.path", "x"),
        "{C}:5: methods.sft.set: sources.domain.path is equal for all that is compared; a method may set "
        f"{FREE} of a source.",
    ),
    "a seed of its own": (
        put(f"{SFT}/tune", {"seed": [1, 2]}),
        f"{{C}}:7: methods.sft.tune: seed is equal for all that is compared; a method may set {FREE} of a source.",
    ),
    "more trials for one": (
        put(f"{MOL}/tune", {"method.kl_weight": [1, 2, 3]}),
        "{C}:3: methods: 'sft' has 2 trials and 'mol' has 3: more trials are more chances; …",
    ),
    "trials for one alone": (
        lambda data: data["methods"]["mol"].pop("tune"),
        "{C}:3: methods: 'sft' has 2 trials and 'mol' has 0: more trials are more chances; …",
    ),
    "no value to try": (
        put(f"{MOL}/tune", {"method.kl_weight": []}),
        "{C}:14: methods.mol.tune: method.kl_weight has no value to try.",
    ),
    "set and tuned": (
        put(f"{MOL}/set/method.kl_weight", 1), "{C}:11: methods.mol: method.kl_weight is both set and tuned; keep one.",
    ),
    "a name that is no folder": (
        put("methods/a b", {"set": {"method": "sft"}, "tune": {"optimizer.eps": [1, 2]}}),
        "{C}:3: methods: 'a b' is no name for a method, which becomes a folder: at most 70 letters a-z, digits, . _ -.",
    ),
    "an unknown method": (
        put(f"{MOL}/set/method", "moll"),
        "{C}:11: methods.mol: method: there is no method 'moll'; accepted: {METHODS}. Did you mean 'mol'?",
    ),
    "an unknown setting of a method": (
        put(f"{MOL}/tune", {"method.kl_wight": [1, 2]}),
        "{C}:11: methods.mol: method.kl_wight=1: method.kl_wight: there is no such key. Did you mean 'kl_weight'?",
    ),
    "a wrong value": (
        put(f"{SFT}/tune", {"optimizer.learning_rate": [0.1, 7]}),
        "{C}:4: methods.sft: optimizer.learning_rate=7: optimizer.learning_rate: 7 should be less than or equal to 1. …",
    ),
    "the method of the run": (
        put(f"{SFT}/set", {"optimizer.weight_decay": 0.1}),
        "{C}:5: methods.sft.set: does not set method, … 'run.yaml'; write set: {{method: sft}}, …",
    ),
    "no run": (lambda data: data.pop("run"), "{C}: run: is required and missing. …"),
    "a run that is not there": (
        put("run", "rum.yaml"),
        "{C}:4: methods.sft: There is no configuration file '{F}/rum.yaml'. `acclimate init` writes one to start from. Did "
        "you mean 'run.yaml'?",
    ),
    "a seed twice": (put("seeds", [1, 2, 1]), "{C}:18: seeds: seed 1 is listed twice; keep one."),
    "a seed below 0": (put("seeds", [-1]), "{C}:18: seeds: -1 is no seed; a seed is 0 or more."),
    "a panel that is not there": (put("panels", ["p.yaml"]), "There is no panel file '{F}/p.yaml'. Did you mean 'run.yaml'?"),
    "a statistic of nobody": (
        put(f"{SFT}/prepare", {"tokens": 9}),
        "{C}:4: methods.sft: prepare: no method here lacks a statistic or an expert, …; leave it out.",
    ),
    "no statistic": (
        put(f"{SFT}/set/method", "ewc"),
        "{C}:4: methods.sft: method.store: 'ewc' reads a statistic (fisher); … `acclimate stats fisher`, or … prepare: {{tokens: 20000}} …",
    ),
    "an option of another statistic": (
        lambda data: (put(f"{SFT}/set/method", "ewc")(data), put(f"{SFT}/prepare", {"tokens": 9, "rank": 2})(data))[0],
        "{C}:4: methods.sft: prepare: rank is no option of fisher; it has tokens, source or labels.",
    ),
    "no tokens": (
        lambda data: (put(f"{SFT}/set/method", "ewc")(data), put(f"{SFT}/prepare", {"labels": "true"})(data))[0],
        "{C}:4: methods.sft: method.store: 'ewc' reads a statistic (fisher); … `acclimate stats fisher`, or … prepare: {{tokens: 20000}} …",
    ),
    "no expert": (
        put(f"{SFT}/set/method", "dae"),
        "{C}:4: methods.sft: method.expert: 'dae' learns from an expert; … prepare: {{expert: {{method: sft}}}} …",
    ),
    "tokens for an expert": (
        lambda data: (put(f"{SFT}/set/method", "dae")(data), put(f"{SFT}/prepare", {"tokens": 9, "expert": {"method": "sft"}})(data))[0],
        "{C}:4: methods.sft: prepare: tokens is no option of expert; it has expert.",
    ),
    "an expert of another budget": (
        lambda data: (put(f"{SFT}/set/method", "dae")(data), put(f"{SFT}/prepare", {"expert": {"budget.tokens": 9}})(data))[0],
        "{C}:12: methods.sft.prepare.expert: budget.tokens is equal …; … method, lora, objective, optimizer, schedule, training, retain, mixture or budget.batch_tokens, and share, route or terms of a source.",
    ),
    "an expert that needs preparation": (
        lambda data: (put(f"{SFT}/set/method", "dae")(data), put(f"{SFT}/prepare", {"expert": {"method": "ewc"}})(data))[0],
        "{C}:4: methods.sft: method=ewc: method.store: is required and missing. …",
    ),
    "another version": (
        put("version", 2), "{C}:18: version: this comparison is of version 2; this acclimate reads version 1.",
    ),
    "a run configuration": (
        lambda data: (data.clear(), data.update({"model": {"path": "x"}, "sources": {}}))[0],
        "{C}: this is a run configuration; a comparison names one as `run:` and has `methods:`.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_wrong_comparison(
    case: str, pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from acclimate.methods.registry import METHODS
    from acclimate.types.errors import listed

    edit, sentence = TABLE[case]
    path = comparison_file(tmp_path, pico_folder, corpora)
    data = yaml.safe_load(path.read_text())
    edit(data)
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    code, _, err = run_cli(["compare", str(path)], monkeypatch, capsys)
    assert says(err, f"Error: {sentence.format(C=path, F=tmp_path, METHODS=listed(METHODS))}\n")
    assert code == 3
    assert not (tmp_path / "runs").exists()  # nothing was begun


def test_wrong_use(
    pico_folder: Path,
    corpora: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = comparison_file(tmp_path, pico_folder, corpora)
    _, _, err = run_cli(["compare", str(path), "--only", "soft"], monkeypatch, capsys)
    assert says(err, "Error: --only: … 'soft' …; it has sft or mol. Did you mean 'sft'?\n")
    _, _, err = run_cli(["compare", str(tmp_path / "none.yaml")], monkeypatch, capsys)
    assert err.startswith(
        f"Error: There is no comparison file '{tmp_path}/none.yaml'. docs/howto/comparison.md has one to"
    )
    (tmp_path / "compare.jsonl").write_text("no row\n")
    code, _, err = run_cli(["compare", str(path)], monkeypatch, capsys)
    assert err.startswith(f"Error: {tmp_path}/compare.jsonl:1: this is no row of a comparison (Invalid JSON")
    assert code == 1


def test_a_preparation_has_no_budget(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """Its configuration is a file that is read again, so nothing of a budget's is left in it."""
    budgeted = config(
        pico_folder, corpora, tmp_path, method="ewc", retain={"kl": 0.1}, evaluation={"validation_documents": 2},
        training={"eval_steps": 2, "on_budget_exceeded": "stop"},
    )  # fmt: skip
    _, (made,) = prepared(budgeted, PrepareSection(tokens=100), 0, tmp_path, lambda settings: budgeted)
    assert parse_config(made.config.model_dump(mode="json")).retain is None
