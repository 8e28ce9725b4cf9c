"""What the log of steps says in report and terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from acclimate.reports import collect, step_notes
from acclimate.reports.words.verdict import verdict
from tests.reports.runs import write_run


def told(run: Path, norms: list[float], limit: float | None, without: int) -> list[str]:
    """Notes on a run of these gradient norms whose first ``without`` steps had no divergence."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["optimizer"] = config.get("optimizer", {}) | {"max_grad_norm": limit}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    lines = [
        {"step": step, "loss": 1.0, "loss/domain/cross_entropy": 1.0, "gradient_norm": norm, "tokens_per_second": 1.0}
        | ({} if step <= without else {"loss/chat/reverse_kl": 0.1})
        for step, norm in enumerate(norms, 1)
    ]
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    data = collect([run])
    notes = [note.replace("\u00a0", " ") for note in step_notes(data)]
    assert verdict(data).notes[len(verdict(data).notes) - len(notes) :] == tuple(step_notes(data))
    return notes


@pytest.mark.parametrize(
    ("norms", "limit", "without", "parts"),
    [
        ([0.5] * 20, 1.0, 0, []),
        ([0.5] * 20, 1.0, 1, []),  # one step in twenty is no more than 5 %
        ([2.0] * 20, None, 0, []),
        ([2.0] * 5 + [0.5] * 15, 1.0, 0, ["mol: the gradient was clipped in 25.0 % of steps."]),
        ([2.0] * 20, 1.0, 0, ["clipped in 100.0 % of steps, so max_grad_norm set the gradient's length"]),
        ([2.0] * 20, 3.0, 12, ["mol: reverse_kl was absent from 60.0 % of steps", "batch_tokens or share"]),
    ],
)
def test_clipped_and_absent(
    norms: list[float], limit: float | None, without: int, parts: list[str], tmp_path: Path
) -> None:
    notes = told(write_run(tmp_path / "mol"), norms, limit, without)
    assert len(notes) == bool(parts)
    assert all(part in notes[0] for part in parts)
