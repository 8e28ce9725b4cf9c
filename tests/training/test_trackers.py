"""What the trackers of ``report_to`` are told, without a network."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from acclimate.runs.layout import Layout
from acclimate.training.callbacks import trackers
from acclimate.types.errors import ConfigError, UsageError
from acclimate.verbs.run import train
from tests.fixtures.runs import config, killed_after, lines

SHORT = {"budget": {"steps": 3, "batch_tokens": 128}, "evaluation": {"generations": 0}}


def wandb_rows(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """(kind, values) of the rows that wandb would have sent, of every session, in order."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for data in leveldb(path.read_bytes()[7:], 7):
            record = Record.FromString(data)
            for kind, items in (("history", record.history.item), ("summary", record.summary.update)):
                values = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
                found += [(kind, values)] if values else []
    return found


def leveldb(data: bytes, start: int) -> Iterator[bytes]:
    """Records of a log in the format of LevelDB: blocks of 32 KiB, pieces of (checksum, length, kind)."""
    at, whole = 0, b""
    while at + 7 <= len(data):
        left = 32768 - (at + start) % 32768
        if left < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        whole, at = whole + data[at + 7 : at + 7 + length], at + 7 + length
        if kind in (1, 4):  # whole, or its last piece
            yield whole
            whole = b""


def test_wandb_and_mlflow_know_every_step_and_what_was_measured(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a run that was stopped and goes on: it is one run there too."""
    import mlflow

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    given = {"report_to": ["wandb", "mlflow"], "training": {"save_steps": 1}}
    settings = config(pico_folder, corpora, tmp_path, **given, **SHORT)
    killed_after(2, settings)
    result = train(settings, resume=True)
    written = lines(result.run_dir)
    rows = wandb_rows(result.run_dir)
    told = {row["step"]: row for kind, row in rows if kind == "history"}
    assert [told[step]["loss"] for step in (1, 2, 3)] == [line["loss"] for line in written]
    (drift,) = (r for r in result.summary if (r["set"], r["metric"]) == ("general", "kl_base_tuned"))
    summary = {key: value for kind, row in rows if kind == "summary" for key, value in row.items()}
    assert summary["final/general/kl_base_tuned"] == drift["value"]
    client = mlflow.MlflowClient()
    (experiment,) = (one for one in client.search_experiments() if one.name == "acclimate")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", settings.name)
    assert run.data.params["optimizer.learning_rate"] == str(settings.optimizer.learning_rate)
    assert run.data.metrics["final/general/kl_base_tuned"] == drift["value"]
    history = {one.step: one.value for one in client.get_metric_history(run.info.run_id, "loss/total")}
    assert [history[step] for step in (1, 2, 3)] == [line["loss"] for line in written]
    known = json.loads(Layout(result.run_dir).trackers.read_text())["runs"]
    assert known["mlflow"] == run.info.run_id
    assert len(list(result.run_dir.glob(f"wandb/offline-run-*-{known['wandb']}"))) >= 2


class Service(SimpleNamespace):
    """A trackio that remembers what it is told, and fails from the second step on."""

    def init(self, **given: Any) -> SimpleNamespace:
        self.given = given
        return SimpleNamespace(name=f"{given['name']}-1")

    def log(self, metrics: dict[str, float], step: int | None = None) -> None:
        if step == 2:
            raise ConnectionError("the server is gone")
        self.told.append((step, metrics))

    def finish(self) -> None:
        self.finished = True


def test_a_service_that_fails_does_not_end_the_run(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(told=[])
    monkeypatch.setitem(sys.modules, "trackio", service)
    console = Console(record=True, width=200, quiet=False, file=(tmp_path / "out").open("w"))
    result = train(config(pico_folder, corpora, tmp_path, report_to="trackio", **SHORT), console=console)
    assert len(lines(result.run_dir)) == 3
    said = console.export_text()
    assert "trackio does not answer (the server is gone): step 2 and later steps are in metrics.jsonl only." in said
    (first, last) = service.told
    assert first == (1, {k: v for k, v in lines(result.run_dir)[0].items() if k != "step"})
    assert last[1]["final/domain/bits_per_byte"] > 0  # it answers again
    assert service.given["name"] == "run-1"  # as the service called it
    assert service.given["resume"] == "allow"


def test_what_cannot_be_told_is_said_before_the_first_step(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)  # as if it were not installed
    with pytest.raises(
        UsageError, match=r"report_to: trackio is not installed; run `pip install 'acclimate\[trackio\]'"
    ):
        train(config(pico_folder, corpora, tmp_path, report_to="trackio", **SHORT))

    def closed(**_: Any) -> None:
        raise PermissionError("no API key")

    monkeypatch.setitem(sys.modules, "trackio", SimpleNamespace(init=closed))
    with pytest.raises(UsageError, match=r"report_to: trackio could not begin \(no API key\)"):
        train(config(pico_folder, corpora, tmp_path, name="other", report_to="trackio", **SHORT))
    assert not (tmp_path / "other" / "metrics.jsonl").exists()


def test_the_names_of_trackers(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    assert config(pico_folder, corpora, tmp_path, report_to="none").report_to == []
    with pytest.raises(ConfigError, match=r"'wandbb'.*wandb, mlflow, trackio.*tensorboard"):
        config(pico_folder, corpora, tmp_path, report_to="wandbb")
    assert set(trackers.TRACKERS) == {"wandb", "mlflow", "trackio"}
