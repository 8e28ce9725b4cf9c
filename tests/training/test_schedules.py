"""Schedules in whole runs: streamed, killed and resumed, drawn; and the ramp that follows drift."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from acclimate.build.mixture import all_tokens, mix
from acclimate.build.plan import compose
from acclimate.build.training import build_objective
from acclimate.config.load import RunConfig, parse_config
from acclimate.data.corpus import load_corpora
from acclimate.model.load import load_tokenizer
from acclimate.reports import write_report
from acclimate.types.errors import ConfigError
from acclimate.verbs.run import train
from acclimate.verbs.validate import validate
from tests.fixtures.runs import config, killed_after, metric_lines, same_weights
from tests.fixtures.runs import settings as settings_of

ROW = 96
SOURCES = ("domain", "general", "chat")


def staged(model: Path, corpora: Path, output: Path, **changes: Any) -> RunConfig:
    """Domain text in stages, and a stream of general text that comes late."""
    stream = {"streaming": True, "shuffle_buffer": 9}
    sources = {
        "domain": {"path": str(corpora / "domain.jsonl"), "share": {0: 0.3, 0.5: 0.7}, "heldout": 4},
        "general": {"path": str(corpora / "general.jsonl"), "share": {0: 0, 0.5: 0.2}, "heldout": 4} | stream,
        "chat": {"path": str(corpora / "chat.jsonl"), "heldout": 4, "route": "general"},
    }
    return config(
        model, corpora, output, sources=sources, budget={"steps": 8, "batch_tokens": 192, "count": "all"},
        training={"micro_batch_size": 2, "save_steps": 2}, **changes,
    )  # fmt: skip


def test_a_schedule_is_planned_trained_resumed_and_drawn(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    settings = staged(pico_folder, corpora, tmp_path, name="straight")
    run = train(settings).run_dir
    lines = metric_lines(run)
    stages = json.loads((run / "data.json").read_text())["schedule"]
    assert [stage["from"] for stage in stages] == [0.0, 0.5]
    assert stages[0]["tokens"] == {"domain": 230, "general": 0, "chat": 538}
    assert stages[1]["tokens"] == {"domain": 538, "general": 154, "chat": 77}
    for name in SOURCES:
        done = [0.0, lines[3][f"trained_tokens/{name}"], lines[7][f"trained_tokens/{name}"]]
        for stage, before, after in zip(stages, done, done[1:], strict=False):
            assert abs(after - before - stage["tokens"][name]) <= 2 * ROW
    assert not any("loss/general/reverse_kl" in line for line in lines[:3])
    began = yaml.safe_load((run / "config.yaml").read_text())["sources"]["chat"]["share"]
    assert began == pytest.approx({"0.0": 0.7, "0.5": 0.1})  # what auto came to
    settings = staged(pico_folder, corpora, tmp_path, name="killed")
    killed_after(5, settings)
    again = train(settings, resume=True).run_dir
    assert metric_lines(again) == lines
    assert same_weights(run, again)
    page = write_report([run], tmp_path / "page.html").read_text()
    assert re.findall(r'<figure id="(shares-\d)">', page) == ["shares-0", "shares-1", "shares-2"]


def test_the_plan_counts_what_the_schedule_asks_for(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """Tokens and forwards of references by the mean over the run, in a budget of the domain's tokens."""
    sources = {
        "domain": {"path": str(corpora / "domain.jsonl"), "heldout": 4, "share": {0: 0.8, 0.5: 0.4}},
        "general": {"path": str(corpora / "general.jsonl"), "heldout": 4},
        "chat": {"path": str(corpora / "chat.jsonl"), "heldout": 4, "share": 0, "route": "general"},
    }
    budget = {"steps": 8, "batch_tokens": 192, "count": "domain"}
    settings = config(pico_folder, corpora, tmp_path, sources=sources, budget=budget)
    corpora_, composition = load_corpora(settings, load_tokenizer(settings.model)), compose(settings)
    mixture = mix(settings, corpora_, build_objective(settings, composition.terms, corpora_))
    domain = 8 * 192
    total = domain / 2 / 0.8 + domain / 2 / 0.4
    assert all_tokens(settings, mixture) == pytest.approx(total)
    assert mixture.shares == pytest.approx({"domain": domain / total, "general": 1 - domain / total})
    assert mixture.forwards == pytest.approx(1 - domain / total)
    assert validate(settings).data["sources"]["general"]["epochs"] == pytest.approx(
        (total - domain) / mixture.trained_tokens["general"]  # type: ignore[operator]
    )


def ramp(model: Path, corpora: Path, output: Path, **changes: Any) -> RunConfig:
    return config(
        model, corpora, output, mixture={"ramp": {"start": 0.2, "drift": 0.2}},
        budget={"steps": 9, "batch_tokens": 192, "count": "all"},
        training={"micro_batch_size": 2, "save_steps": 2, "eval_steps": 2}, **changes,
    )  # fmt: skip


def test_a_ramp_follows_drift_and_resumes(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    run = train(ramp(pico_folder, corpora, tmp_path, name="straight")).run_dir
    lines, largest = metric_lines(run), 0.0
    assert "schedule" not in json.loads((run / "data.json").read_text())  # nobody knows it before
    for line, after in pairwise(lines):
        if "eval/general/kl_base_tuned" in line:
            found = [line[f"eval/{name}/kl_base_tuned"] for name in ("general", "chat")]
            largest = max(largest, sum(found) / 2)
            assert line["ramp/part"] == pytest.approx(0.2 + 0.8 * min(1.0, largest / 0.2))
        part = 0.2 + 0.8 * min(1.0, largest / 0.2)
        assert after["dial/share/general"] == pytest.approx(0.25 * part)
        assert after["dial/share/domain"] == pytest.approx(1 - 0.5 * part)
    assert lines[0]["dial/share/general"] == pytest.approx(0.05)
    assert lines[-1]["dial/share/general"] > 0.06
    settings = ramp(pico_folder, corpora, tmp_path, name="killed")
    killed_after(5, settings)
    again = train(settings, resume=True).run_dir
    assert metric_lines(again) == lines
    assert same_weights(run, again)


def test_schedules_beside_a_forgetting_budget(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """A budget moves a strength and a schedule moves shares; neither knows the other."""
    choice: dict[str, Any] = {"retain": {"kl": 0.05}, "evaluation": {"validation_documents": 2}}
    found = validate(staged(pico_folder, corpora, tmp_path, **choice))
    assert [stage["from"] for stage in found.data["schedule"]] == [0.0, 0.5]
    assert any("mixture.ramp.drift: shares begin at" in note for note in
               validate(ramp(pico_folder, corpora, tmp_path, **choice)).warnings)  # fmt: skip


def test_a_ramp_of_drift_needs_held_out_text(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    settings = ramp(pico_folder, corpora, tmp_path)
    sources = {
        name: section.model_copy(update={} if name == "domain" else {"heldout": 0})
        for name, section in settings.sources.items()
    }
    with pytest.raises(ConfigError, match=r"mixture\.ramp\.drift: none of general or chat holds documents out"):
        validate(settings.model_copy(update={"sources": sources}))


PAGE = Path(__file__).parents[2] / "docs" / "howto" / "mixture-schedules.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.S)


def test_the_page_s_program_prints_what_it_says(
    pico_folder: Path,
    corpora: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sources = {name: {"path": str(corpora / f"{name}.jsonl"), "heldout": 4} for name in ("domain", "general")}
    data = settings_of(pico_folder, corpora, tmp_path, sources=sources, budget={"steps": 8, "batch_tokens": 1024})
    data["sources"].pop("chat", None)
    monkeypatch.chdir(tmp_path)
    Path("acclimate.yaml").write_text(yaml.safe_dump(data))
    (program,), (output,) = blocks("python"), blocks("text")
    exec(compile(program, "mixture-schedules.md", "exec"), {})
    assert capsys.readouterr().out == output


@pytest.mark.parametrize("number", range(5))
def test_the_page_s_settings_are_settings(number: int, pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    data, given = settings_of(pico_folder, corpora, tmp_path), yaml.safe_load(blocks("yaml")[number])
    for name in data["sources"]:
        data["sources"][name].pop("share")
    data["sources"].pop("chat")
    if "domain" in given.get("sources", {}):
        given["sources"] = {
            n: data["sources"][n] | {"share": s.get("share", "auto")} for n, s in given["sources"].items()
        }
    found = validate(parse_config(data | given | {"training": given.get("training", {}) | {"micro_batch_size": 2}}))
    drift = "drift" in str(given.get("mixture"))
    assert ("schedule" in found.data) != drift
    assert len(blocks("yaml")) == 5
