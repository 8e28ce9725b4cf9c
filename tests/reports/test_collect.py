from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from acclimate.paired.seeds import crossed_ratio
from acclimate.reports import collect
from acclimate.reports.sections.scoreboard import scoreboard
from acclimate.runs.folder import read_summary, write_summary
from acclimate.runs.layout import write_lines
from acclimate.runs.scores import read_lines, read_scores
from acclimate.types.errors import RunError
from tests.fixtures.sentences import says
from tests.reports.runs import add_change, drop_change, edit_summary, three_methods, write_run


def test_seeds_of_one_method_become_one_run(tmp_path: Path) -> None:
    data = collect(three_methods(tmp_path, seeds=3))
    assert [run.label for run in data.runs] == ["sft", "replay", "mol"]
    assert [[seed.seed for seed in run.seeds] for run in data.runs] == [[0, 1, 2]] * 3
    assert [item.role for item in data.sets] == ["domain", "general", "chat"]


def test_seeds_have_an_interval_over_seeds_and_documents(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"mol-{seed}", seed=seed, kl_chat=0.1 + 0.02 * seed) for seed in range(3)]
    for run, change in zip(runs, (-0.20, -0.23, -0.26), strict=True):
        add_change(run, change, half=0.001, mde=0.002)
    found = collect(runs).runs[0]
    scores = [read_scores(run / "eval" / "chat.jsonl") for run in runs]
    crossed = crossed_ratio(np.stack([one["kl_base_tuned"] for one in scores]), scores[0]["tokens"])
    drift = found.measure("chat", "kl_base_tuned")
    assert drift is not None
    assert drift.value == pytest.approx(crossed.value) == pytest.approx(0.12)
    assert (drift.low, drift.high) == (crossed.low, crossed.high)
    assert drift.low < 0.11  # wider than over documents alone
    assert drift.high > 0.13
    change = found.paired_change("domain")
    assert change is not None
    assert change.value == pytest.approx(-0.23)
    assert change.low < -0.23 < change.high  # of the scores by document, not the hull of 0.199 to 0.261
    assert math.isinf(change.mde)
    assert found.changes_by_seed("domain") == {0: -0.20, 1: -0.23, 2: -0.26}


def test_seeds_without_scores_by_document_have_no_interval(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"mol-{seed}", seed=seed) for seed in range(2)]
    (runs[1] / "eval" / "chat.jsonl").unlink()
    run = collect(runs).runs[0]
    drift, other = run.measure("chat", "kl_base_tuned"), run.measure("general", "kl_base_tuned")
    assert drift is not None
    assert other is not None
    assert drift.value == pytest.approx(0.11)
    assert not drift.bounded
    assert other.bounded


def test_seeds_measured_on_other_documents_are_refused(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"mol-{seed}", seed=seed) for seed in range(2)]
    path = runs[1] / "eval" / "chat.jsonl"
    lines = read_lines(path)
    write_lines(path, [*lines[1:], lines[0]])
    with pytest.raises(RunError) as caught:
        collect(runs)
    assert says(caught.value, f"… '{runs[0]}' and '{runs[1]}' … other documents of 'chat'. … `acclimate eval` …")


def test_two_configurations_of_one_method_stay_apart(tmp_path: Path) -> None:
    mild = write_run(tmp_path / "mild", config={"optimizer": {"learning_rate": 1e-5}})
    runs = collect([write_run(tmp_path / "hot"), mild]).runs
    assert [run.label for run in runs] == ["mol (hot)", "mol (mild)"]


def test_the_same_seed_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="are both mol with seed 0; a seed counts once"):
        collect([write_run(tmp_path / "a"), write_run(tmp_path / "b")])


def test_one_folder_named_twice_counts_once(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a")
    assert len(collect([run, run]).folders) == 1


def test_bases_that_disagree_are_refused(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", "sft"), write_run(tmp_path / "b", base={"domain": 1.2})
    with pytest.raises(RunError, match=r"cannot be compared: .* 1\.0500 bits per byte on 'domain'.*1\.2000"):
        collect([a, b])


def test_the_reason_names_the_number_of_documents(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", "sft"), write_run(tmp_path / "b", documents=20)
    with pytest.raises(RunError, match="40 documents in one and 20 in the other"):
        collect([a, b])


def test_the_reason_names_the_data(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", "sft"), write_run(tmp_path / "b", base={"chat": 0.9})
    provenance = json.loads((b / "provenance.json").read_text())
    provenance["data"]["chat"] = "sha256:other"
    (b / "provenance.json").write_text(json.dumps(provenance))
    with pytest.raises(RunError, match="the data of 'chat' differ"):
        collect([a, b])


def test_different_models_are_refused_even_with_equal_scores(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", "sft"), write_run(tmp_path / "b", model_digest="sha256:another")
    with pytest.raises(RunError, match="different base models"):
        collect([a, b])


def test_arithmetic_of_another_machine_is_tolerated(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", "sft"), write_run(tmp_path / "b", base={"domain": 1.05 * (1 + 1e-5)})
    assert len(collect([a, b]).runs) == 2


def test_seeds_measured_differently_are_refused(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"s{seed}", seed=seed) for seed in range(2)]
    records = [record for record in read_summary(runs[1] / "summary.json") if record["set"] != "chat"]
    write_summary(runs[1] / "summary.json", records)
    with pytest.raises(RunError, match=rf"Run `acclimate eval {runs[1]}`"):
        collect(runs)


NOT_TRAINED = "… '{run}' has not been trained: … no {missing}. … `acclimate train {run}/config.yaml`."
SENTENCES = {
    "config.yaml": "'{run}' is not a run folder: … no config.yaml. `acclimate train CONFIG` …",
    "metrics.jsonl": NOT_TRAINED,
    "provenance.json": NOT_TRAINED,
    "summary.json": "… '{run}' has not been evaluated: … no {missing}. … not finished; … acclimate train --resume.",
}


@pytest.mark.parametrize("missing", SENTENCES)
def test_a_missing_file_says_what_to_run(tmp_path: Path, missing: str) -> None:
    run = write_run(tmp_path / "run")
    (run / missing).unlink()
    with pytest.raises(RunError) as caught:
        collect([run])
    assert says(caught.value, SENTENCES[missing].format(run=run, missing=missing))
    if missing == "summary.json":
        (run / "model").mkdir()
        with pytest.raises(RunError, match=f"has no summary.json. Run `acclimate eval {run}`"):
            collect([run])


def test_no_folder_and_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="needs at least one run folder"):
        collect([])
    with pytest.raises(RunError, match="There is no run folder"):
        collect([tmp_path / "nowhere"])


def test_optional_files_are_optional(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "generations.json").unlink()
    (run / "data.json").unlink()
    folder = collect([run]).folders[0]
    assert (folder.generations, folder.data) == ((), {})


def test_a_torn_last_line_is_tolerated_and_the_last_writing_of_a_step_wins(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=0)
    lines = ['{"step": 1, "loss": 3.0}', '{"step": 2, "loss": 2.5}', '{"step": 2, "loss": 2.0}', '{"step": 3, "lo']
    (run / "metrics.jsonl").write_text("\n".join(lines))
    folder = collect([run]).folders[0]
    assert folder.series("loss") == [(1, 3.0), (2, 2.0)]
    assert folder.skipped_lines == 0


def test_a_torn_line_in_the_middle_is_counted(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=0)
    (run / "metrics.jsonl").write_text('{"step": 1, "lo{"step": 1, "loss": 3.0}\n{"step": 2, "loss": NaN}\n')
    folder = collect([run]).folders[0]
    assert folder.skipped_lines == 1
    assert folder.series("loss") == []


def test_a_damaged_summary_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    edit_summary(run, run="mol", set="chat", metric="kl_base_tuned", value="nan")
    with pytest.raises(RunError, match=r"record \d+ is not a measurement"):
        collect([run])
    (run / "summary.json").write_text("[{")
    with pytest.raises(RunError, match="is not complete JSON"):
        collect([run])


def test_the_paired_interval_stands_below_the_change(tmp_path: Path) -> None:
    run = write_run(tmp_path / "mol", domain=0.84)
    drop_change(run)
    (column,) = [i for i, column in enumerate(scoreboard(collect([run])).columns) if column.unit == "gain ↑"]
    assert scoreboard(collect([run])).lines[1].cells[column].small == ""
    add_change(run, -0.21, half=0.021, mde=0.03)
    cell = scoreboard(collect([run])).lines[1].cells[column]
    assert (cell.text, cell.small) == ("+20.0\u00a0%", "+18.0 to +22.0\u00a0%")
