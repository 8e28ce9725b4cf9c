"""`method: auto` in whole runs on a pico model: it is killed, goes on, chooses, trains, and can be frozen."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from acclimate.config.load import RunConfig, load_config, parse_config
from acclimate.reports import model_card, write_report
from acclimate.reports.search import record_of
from acclimate.runs.layout import Layout
from acclimate.types.errors import UsageError
from acclimate.verbs import run as run_module
from acclimate.verbs.run import chosen, train
from acclimate.verbs.search import freeze
from acclimate.verbs.validate import validate
from tests.fixtures.runs import KillAfter, Killed, same_weights, settings
from tests.fixtures.sentences import refused, says

SEARCHED: dict[str, Any] = {
    "method": "auto",
    "retain": {"kl": 0.5},
    "search": {"learning_rates": [3e-3, 1e-3, 6e-3], "lora": [False], "cost": 0.7},
    "optimizer": {"learning_rate": 5e-5},
    "budget": {"steps": 20, "batch_tokens": 128},
    "training": {"eval_steps": 5},
    "evaluation": {"validation_documents": 2, "generations": 0},
}


def searching(model: Path, corpora: Path, output: Path, /, **changes: Any) -> RunConfig:
    data = settings(model, corpora, output, **SEARCHED)
    for key, value in changes.items():
        data[key] = data[key] | value if isinstance(value, dict) and isinstance(data.get(key), dict) else value
    return parse_config(data)


@dataclass(frozen=True)
class Done:
    config: RunConfig
    run: Layout
    foreseen: list[str]
    killed: dict[str, bool]
    record: dict[str, Any]


@pytest.fixture(scope="module")
def done(pico_folder: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Killed in its third probe, and gone on with."""
    config = searching(pico_folder, corpora, tmp_path_factory.mktemp("search"))
    foresight = validate(config).search
    assert foresight is not None
    original, begun = run_module.run_loop, []

    def loop(training: Any) -> None:
        begun.append(training)
        training.callbacks = [*training.callbacks, KillAfter(2 if len(begun) == 3 else 99)]
        original(training)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "run_loop", loop)
        with pytest.raises(Killed):
            train(config)
    run = Layout(config.run_dir)
    state = {"config.yaml": run.config.exists(), "search.json": run.searched.exists()}
    state |= {"finished": len(list(run.search.glob("*/summary.json"))) == 2}
    train(config, resume=True)
    record = record_of(run.path)
    assert record is not None
    return Done(config, run, foresight.says, state, record)


def test_what_is_finished_is_not_done_again_after_a_kill(done: Done) -> None:
    assert done.killed == {"config.yaml": False, "search.json": False, "finished": True}
    for number, folder in enumerate(sorted(path for path in done.run.search.iterdir() if path.is_dir()), 1):
        sessions = json.loads(Layout(folder).provenance.read_text()).get("sessions", [])
        assert len(sessions) == 1, (number, sessions)
        assert not Layout(folder).has_model


def test_the_cost_is_what_was_promised(done: Done) -> None:
    """Counted forwards of all probes, of the run as configured, and of the final one."""
    forwards = done.record["forwards"]
    probes = [probe for rung in done.record["rungs"] for probe in rung["probes"]]
    assert forwards["spent"] == sum(probe["forward_tokens"] for probe in probes)
    assert forwards["spent"] <= forwards["promised"] <= forwards["limit"] == round(0.7 * forwards["run"])
    assert len(done.record["rungs"]) == 1
    assert forwards["spent"] == forwards["promised"]
    final = json.loads(done.run.provenance.read_text())["forward_tokens"]
    if done.record["chosen"]["method"] == "mol" and done.record["chosen"]["share"] == 0.5:
        assert final == forwards["run"]
    assert f"at most {forwards['promised']:,} forwards" in done.foreseen[0]
    assert f"of one run as it is configured ({forwards['run']:,})" in done.foreseen[0]


def test_what_was_tried_and_what_not(done: Done) -> None:
    (rung,) = done.record["rungs"]
    assert rung["steps"] == 3
    rates = [probe["learning_rate"] for probe in rung["probes"] if probe["method"] == "sft"]
    assert rates == [3e-3, 1e-3, 6e-3]
    assert [probe["learning_rate"] for probe in rung["probes"] if probe["method"] == "mol"][:3] == rates
    assert {one["share"] for one in done.record["untried"]} == {0.667}
    best = max(rung["probes"], key=lambda probe: probe["held_gain_percent"])
    own = next(probe for probe in rung["probes"] if probe["name"] == done.record["name"])
    assert own["held_gain_percent"] >= 0.98 * best["held_gain_percent"]


def test_the_frozen_configuration_trains_the_same_weights(done: Done, tmp_path: Path) -> None:
    path = tmp_path / "out.yaml"
    freeze(chosen(done.config, resume=True), path)
    text = path.read_text()
    assert says(text.splitlines()[0], f"# Chosen by method: auto, in {done.run.path}. {done.record['says']}")
    again = load_config(path, [f"output_dir={tmp_path}", "name=again"])
    assert again.method == done.record["chosen"]["method"]
    assert again.search is None
    assert again.optimizer.learning_rate == done.record["chosen"]["learning_rate"]
    train(again)
    assert same_weights(done.run.path, tmp_path / "again")
    plain = yaml.safe_load(done.run.config.read_text())
    assert plain["method"] == again.method
    with refused("--freeze: '…' exists and is left alone; name a new file.", UsageError):
        freeze(done.config, path)


def test_a_finished_search_goes_on_only_as_it_began(done: Done) -> None:
    """Also with what says how the work is done, which may differ."""
    assert train(done.config, resume=True).run_dir == done.run.path
    with refused("The run '…' exists. Continue it with --resume…", UsageError):
        train(done.config)
    changed = done.config.model_copy(update={"search": done.config.search.model_copy(update={"length": 0.3})})
    with refused("…differs at search.length: 0.15 then, 0.3 now…", UsageError):
        train(changed, resume=True)
    other = done.config.model_copy(update={"seed": 3})
    with refused("…differs at seed: 0 then, 3 now…", UsageError):
        train(other, resume=True)


def test_report_and_card_say_how_it_was_chosen(done: Done, tmp_path: Path) -> None:
    page = write_report([done.run.path], tmp_path / "report.html").read_text()
    assert "How the setting was chosen" in page
    assert 'id="search-0-picture"' in page
    assert done.record["says"] in page.replace("&#39;", "'")
    assert page.count("<b>(chosen)</b>") == 1
    assert "The setting was chosen by method: auto among" in model_card(done.run.path)


def test_nothing_to_choose_freeze_or_search(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    plain = parse_config(settings(pico_folder, corpora, tmp_path))
    with refused("--freeze: has no effect without method: auto; …", UsageError):
        chosen(plain)
    with refused("search.length: a probe may have 0 steps…", UsageError):
        train(searching(pico_folder, corpora, tmp_path, budget={"steps": 6}))
    assert not (tmp_path / "run").exists()
