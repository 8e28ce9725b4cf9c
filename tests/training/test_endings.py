"""How often a run is measured, and what ends it early."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from acclimate.build.heldout.checks import CHECKED, Checks
from acclimate.config.load import load_config
from acclimate.training.callbacks.plateau import Plateau
from acclimate.types.errors import ConfigError, UsageError
from acclimate.verbs.run import train
from acclimate.verbs.validate import print_preflight, validate
from tests.fixtures.runs import CHOICE, config, killed_after, lines, metric_lines, same_weights
from tests.fixtures.sentences import says


def spoken(settings: Any) -> str:
    console = Console(record=True, width=200)
    print_preflight(validate(settings), console)
    return console.export_text()


@pytest.mark.parametrize(
    ("steps", "tokens", "every"),
    [
        (1000, 128, 19),  # what 3 % buys
        (1000, 8192, 10),  # a hundred at most
        (30, 128, 3),  # ten at least, whatever they cost
        (7, 128, 1),
    ],
)
def test_auto_is_three_percent(
    steps: int, tokens: int, every: int, pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    settings = config(
        pico_folder, corpora, tmp_path, budget={"steps": steps, "batch_tokens": tokens},
        training={"eval_steps": "auto"}, **CHOICE,
    )  # fmt: skip
    found = validate(settings).checks
    assert found is not None
    assert found.every == every
    assert found.count == -(-steps // every)
    assert found.part <= 0.03 or found.count <= 20
    assert found.part == found.count * found.panel * CHECKED / found.work


def test_a_check_is_counted_as_training_counts(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """The plan's work beside what the run then took."""
    settings = config(
        pico_folder, corpora, tmp_path, budget={"steps": 14}, training={"eval_steps": "auto", "micro_batch_size": 1},
        **CHOICE,
    )  # fmt: skip
    found = validate(settings).checks
    assert found is not None
    run = train(settings).run_dir
    taken = json.loads((run / "provenance.json").read_text())["forward_tokens"]
    assert taken == pytest.approx(found.work, rel=0.25)
    assert sum("eval/net_change" in row for row in lines(run)) == found.count == 14
    assert json.loads((run / "data.json").read_text())["checks"]["every"] == found.every


def test_auto_stays_what_it_was(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"budget": {"steps": 20}, "training": {"eval_steps": "auto", "save_steps": 3}, **CHOICE}
    settings = config(pico_folder, corpora, tmp_path, **changes)
    straight = train(config(pico_folder, corpora, tmp_path, name="straight", **changes)).run_dir
    killed_after(5, settings)
    every = load_config(settings.run_dir / "config.yaml").training.eval_steps
    assert every == 2
    again = train(settings, resume=True).run_dir
    assert metric_lines(again) == metric_lines(straight)
    (again / "summary.json").unlink()
    with pytest.raises(UsageError, match=r"training.eval_steps: 2 then, 5 now"):
        train(config(pico_folder, corpora, tmp_path, **(changes | {"training": {"eval_steps": 5, "save_steps": 3}})),
              resume=True)  # fmt: skip
    assert "held-out text is measured every 2 steps, 10 times" in spoken(settings)


@pytest.mark.parametrize("value", ["atuo", "0", "-3", "2.5", "true"])
def test_what_is_no_number_of_steps(value: str, pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        config(pico_folder, corpora, tmp_path, training={"eval_steps": json.loads(value) if value != "atuo" else value})
    hint = ". Did you mean 'auto'?" if value == "atuo" else "."
    assert says(error.value, f"configuration: training.eval_steps: … is not accepted; accepted: … auto or null{hint}")


def test_patience_needs_measurements(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"training: patience .*; set eval_steps"):
        config(pico_folder, corpora, tmp_path, training={"patience": 3})
    with pytest.raises(ConfigError, match=r"training\.patience: .* no source of role domain holds documents out; set"):
        validate(
            config(
                pico_folder,
                corpora,
                tmp_path,
                training={"patience": 3, "eval_steps": 1},
                sources={"domain": {"path": str(corpora / "domain.jsonl"), "share": 0.5, "heldout": 0}},
            )
        )


class State:
    """A run between two steps."""

    total_steps = 100

    def __init__(self) -> None:
        self.step, self.why = 0, ""

    def end(self, why: str) -> None:
        self.why = why


def measured(domain: float, spent: float | None = None) -> dict[str, float]:
    found = {"eval/domain/change_percent": domain, "learning_rate": 5e-4}
    return found | ({} if spent is None else {"retain/spent": spent})


def ended_at(plateau: Plateau, rows: list[dict[str, float]]) -> tuple[int, str]:
    state: Any = State()
    for row in rows:
        state.step += 1
        plateau.on_step_end(state, row)
        if state.why:
            break
    return state.step, state.why


def test_patience_counts_checks_without_a_new_best() -> None:
    falling = [measured(-float(step)) for step in range(5)]
    assert ended_at(Plateau(2, ["domain"], None), falling + [{"loss": 1.0}] * 9) == (14, "")  # no check, no count
    step, why = ended_at(Plateau(2, ["domain"], 1e-3), [*falling, measured(-3.0), {}, measured(-4.0), measured(-9.0)])
    assert step == 8
    assert says(why, "Ended after step 8 of 100 … 2 measurements … -4.0 % bits per byte at step 5. … 50% of the peak …")
    assert says(why, "… budget.steps: 5 …")
    resumed = Plateau(2, ["domain"], None)
    first = Plateau(2, ["domain"], None)
    ended_at(first, [*falling, measured(-3.0)])
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert ended_at(resumed, [measured(-3.5)])[1]


def test_patience_counts_no_check_outside_of_the_budget() -> None:
    rows = [measured(-5.0, 0.9), *[measured(-9.0, 1.2)] * 6, measured(-4.0, 0.8), measured(-4.5, 1.0)]
    step, why = ended_at(Plateau(2, ["domain"], None), rows)
    assert step == 9
    assert says(why, "… in a row inside of the budget …")


def test_a_run_without_patience_ends_where_it_learns_no_more(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end is any run's; a resumed one ends there, too."""
    changes: dict[str, Any] = {
        "budget": {"steps": 12}, "training": {"eval_steps": 1, "patience": 2, "save_steps": 4, "final": "best"},
        "optimizer": {"learning_rate": 0.3}, "report_to": ["tensorboard"], **CHOICE,
    }  # fmt: skip
    console = Console(record=True, width=1000)
    straight = train(config(pico_folder, corpora, tmp_path, name="straight", **changes), console=console).run_dir
    rows = lines(straight)
    assert 3 <= len(rows) < 12
    record = json.loads((straight / "provenance.json").read_text())["ended"]
    assert (record["step"], record["of"]) == (len(rows), 12)
    assert f"Note: {record['why']}" in console.export_text()
    assert (straight / "checkpoints" / f"step-{len(rows):08d}").is_dir()
    assert (straight / "summary.json").is_file()
    settings = config(pico_folder, corpora, tmp_path, name="killed", **changes)
    with monkeypatch.context() as patch:  # after the last checkpoint, before model/
        patch.setattr("acclimate.verbs.run._save", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(settings)
    again = train(settings, resume=True).run_dir
    assert metric_lines(again) == metric_lines(straight)
    assert same_weights(again, straight)
    assert json.loads((again / "provenance.json").read_text())["ended"] == record


def test_checks_are_counted_with_the_last() -> None:
    assert [Checks(every, 10, 1, 1.0).count for every in (1, 3, 5, 10, 11)] == [10, 4, 2, 1, 1]
