"""The verb: pages, JSON, the configuration that it writes, probes, and its page in the documentation."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import acclimate as ac
from acclimate.cli.main import main
from acclimate.config.load import RunConfig, load_config, parse_config
from acclimate.reports.page import markdown
from acclimate.types.errors import ConfigError, UsageError
from acclimate.verbs.planning import Plan
from acclimate.verbs.planning.advice import Advice
from acclimate.verbs.planning.predictions import Laws
from acclimate.verbs.planning.probes import foresee
from tests.fixtures.runs import killed_after, settings
from tests.fixtures.sentences import refused
from tests.planning.tables import log_lines, planted, write_log

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "plan.md").read_text()


def run_cli(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[Any, str, str]:
    monkeypatch.setattr(sys, "argv", ["acclimate", "plan", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    out, err = capsys.readouterr()
    return caught.value.code, out, " ".join(err.split())


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    folder = tmp_path_factory.mktemp("planned")
    return parse_config(settings(folder, folder, folder) | {"method": {"name": "mol", "kl_weight": 1.0}})


@pytest.fixture(scope="module")
def found(config: RunConfig) -> Plan:
    return Plan(Advice(Laws(planted()), 0.1, 20_000), config)


def test_the_page_has_answers_controls_and_the_nearest_run(found: Plan) -> None:
    text = markdown(found.page)
    assert text.startswith("# A plan from 12 runs of mol")
    for answer in found.answers.values():
        assert answer.question in text
        assert answer.says in text
    assert "control: even shares" in text
    near = found.advice.beside["the plan"].nearest
    assert f"| {near.run} |" in text
    assert re.search(r"no model: 0\.\d+", text)
    assert {picture.slug for block in found.page.blocks for picture in block.pictures} == {
        "plan-drift-share", "plan-gain-share", "plan-drift-tokens", "plan-gain-tokens",
    }  # fmt: skip


def test_pages_are_files_of_their_own(found: Plan, tmp_path: Path) -> None:
    page = found.save(tmp_path / "plan.html").read_text()
    assert page.count("<svg") == 4
    assert "http" not in re.sub(r"http-equiv", "", page)
    found.save(tmp_path / "plan.md")
    assert (tmp_path / "plan-drift-share.svg").read_text().startswith("<svg xmlns")
    with refused("--output: '…plan.pdf' is no page that a plan writes; accepted endings: .md or .html.", UsageError):
        found.save(tmp_path / "plan.pdf")
    assert "How much domain?" in found._repr_html_()


def test_the_written_configuration_trains_what_is_advised(found: Plan, tmp_path: Path) -> None:
    path = found.write(tmp_path / "plan.yaml")
    one, written = found.advice.beside["the plan"].setting, load_config(path)
    assert written.name == "run-plan"
    assert written.optimizer.learning_rate == one.learning_rate
    assert written.sources["domain"].share == pytest.approx(one.share)
    assert sum(source.share for source in written.sources.values() if isinstance(source.share, float)) == pytest.approx(
        1
    )
    assert (written.budget.tokens, written.budget.steps) == (20_000, None)
    text = path.read_text()
    assert re.search(r"share: 0\.\d+ +# plan: \d+ % domain; drift 0\.\d+ \(0\.\d+ to 0\.\d+\), 0\.1 allowed", text)
    assert re.search(r"learning_rate: 0\.\d+ +# plan: gain 0\.\d+ bits/byte", text)
    assert "# Nearest run: r" in text
    with refused("--write: '…plan.yaml' exists and is left alone; name a new file.", UsageError):
        found.write(path)
    with refused("--write: '…plan.md' is no name of a configuration; accepted endings: .yaml or .yml.", UsageError):
        found.write(tmp_path / "plan.md")


def test_what_cannot_be_told_is_left_as_it_was(config: RunConfig, tmp_path: Path) -> None:
    table = planted([(0.25, 1e-4, 1e4), (0.5, 1e-4, 1e4), (0.75, 1e-4, 1e4), (0.9, 1e-4, 1e4)])
    path = Plan(Advice(Laws(table), 0.1, 10_000), config).write(tmp_path / "plan.yaml")
    assert load_config(path).optimizer.learning_rate == config.optimizer.learning_rate
    assert "# Which learning rate? Cannot tell: every run has a learning rate of 0.0001." in path.read_text()
    with refused("--write: the table does not hold the configuration of its runs…--config FILE.", UsageError):
        Plan(Advice(Laws(table), 0.1, 10_000)).write(tmp_path / "other.yaml")


def test_the_command_prints_answers_and_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_log(tmp_path / "log.csv", log_lines())
    code, out, _ = run_cli([str(path), "--keep", "0.1", "--json"], monkeypatch, capsys)
    document = json.loads(out)
    assert not code
    assert document["answers"]["share"]["told"]
    assert document["answers"]["turning"]["never"]
    near = document["predictions"]["the plan"]["nearest"]
    assert near["run"].startswith("r")
    assert near["drift"] > 0
    code, out, _ = run_cli([str(path), "--keep", "0.1"], monkeypatch, capsys)
    assert not code
    assert "control: even shares" in out
    for arguments, says in (
        ([str(path), "--yes"], "--yes: has no effect without --probe"),
        ([str(path), "--config", "a.yaml"], "--config: has no effect without --write"),
        ([str(path), "--output", "a.pdf"], "accepted endings: .md or .html."),
        ([str(path), "--keep", "0"], "--keep: 0 is no limit of drift"),
        ([str(path), "--tokens", "-1"], "--tokens: -1 trains nothing"),
    ):
        code, _, err = run_cli(arguments, monkeypatch, capsys)
        assert code == 3
        assert says in err


def small(pico: Path, corpora: Path, output: Path, **changes: Any) -> RunConfig:
    return parse_config(
        settings(
            pico, corpora, output, budget={"steps": 20, "batch_tokens": 128}, evaluation={"generations": 0}, **changes
        )
    )


def test_probes_are_chosen_counted_trained_and_gone_on_with(
    pico_folder: Path,
    corpora: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = small(pico_folder, corpora, tmp_path / "runs")
    foreseen = foresee(config)
    assert len(foreseen.configs) == 6
    assert len({one.name for one in foreseen.configs}) == 6
    for part in ("share", "learning_rate", "tokens"):
        assert len({getattr(one, part) for one in foreseen.settings}) > 1
    assert all(one.data.split == "validation" for one in foreseen.configs)
    assert f"6 probes take {foreseen.forwards:,.0f} forwards" in foreseen.says[0]
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    code, _, err = run_cli(["--probe", str(path)], monkeypatch, capsys)
    assert code == 3
    assert "--probe trains these runs; say so with --yes." in err
    killed_after(2, foreseen.configs[0])
    code, out, _ = run_cli(["--probe", str(path), "--yes", "--keep", "5", "--json"], monkeypatch, capsys)
    assert not code
    document = json.loads(out)
    assert document["runs"] == 6
    assert document["answers"]["repeating"]["told"]
    spent = 0.0
    for one in foreseen.configs:
        record = json.loads((one.run_dir / "provenance.json").read_text())
        spent += record["forward_tokens"]
        assert not (one.run_dir / "model").exists()
    assert spent == pytest.approx(foreseen.forwards)

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("trained twice")

    monkeypatch.setattr("acclimate.verbs.planning.probes.train", never)
    again = ac.plan(probe=config, keep=5)
    assert again.as_json()["answers"] == ac.plan(
        [one.run_dir for one in foreseen.configs], keep=5, tokens=foreseen.tokens
    ).as_json()["answers"]  # fmt: skip


def test_runs_that_have_no_probes(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    short = small(pico_folder, corpora, tmp_path)
    short = short.model_copy(update={"budget": short.budget.model_copy(update={"steps": 6})})
    with refused("budget: a probe may have 2 steps, a 4th of the run's 6, …", ConfigError):
        foresee(short)
    data = short.model_dump(mode="json") | {"method": "auto", "retain": {"kl": 0.1}}
    data["optimizer"].pop("learning_rate")
    data["training"].pop("final")
    data["evaluation"]["validation_documents"] = 2
    with refused("--probe: method: auto chooses its own setting by probes; …", UsageError):
        foresee(parse_config(data))
    with refused("--probe trains runs of its own, so 'a' has no effect; …", UsageError):
        ac.plan("a", probe=short)


def test_probes_of_sft_vary_no_share(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    foreseen = foresee(small(pico_folder, corpora, tmp_path, method="sft"))
    assert len({one.share for one in foreseen.settings}) == 1
    assert len(foreseen.configs) == 6


def test_the_page_of_the_documentation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log, program, output = (re.findall(rf"```{kind}\n(.*?)```", PAGE, re.S)[0] for kind in ("csv", "python", "text"))
    (tmp_path / "log.csv").write_text(log)
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "plan.md", "exec"), {})
    assert capsys.readouterr().out == output
    assert Path("plan.html").is_file()
