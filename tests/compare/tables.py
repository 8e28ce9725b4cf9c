"""Rows of a comparison made by hand, and comparison files on the pico model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from acclimate.runs.cells import ItemScores, Row, TextScores
from tests.fixtures.runs import settings

DOCUMENTS = 40


def texts(gain: float, drift: float, spread: float = 0.0, seed: int = 0) -> dict[str, TextScores]:
    """A domain set that got easier by ``gain``, and a general one at ``drift`` nats per token."""
    sizes = np.random.default_rng(1).integers(50, 400, DOCUMENTS).astype(float)
    noise = np.random.default_rng(seed).normal(0, 1, DOCUMENTS) * spread

    def scores(role: str, gains: Any, drifts: Any) -> TextScores:
        nats = sizes * 0.7
        return TextScores(
            role=role,
            bytes=sizes.tolist(),
            tokens=(sizes / 4).tolist(),
            base_nats=nats.tolist(),
            nats=(nats * (1 - gains)).tolist(),
            kl_base_tuned=(sizes / 4 * drifts).tolist(),
        )

    return {"domain": scores("domain", gain + noise, 0.1), "general": scores("general", 0.0, np.abs(drift + noise))}


def row(
    method: str,
    seed: int = 0,
    kind: Literal["trial", "run", "panel"] = "run",
    found: Mapping[str, TextScores] | None = None,
    items: Mapping[str, ItemScores] | None = None,
    **changes: Any,
) -> Row:
    plain: dict[str, Any] = {
        "key": f"{method}-{seed}",
        "kind": kind,
        "method": method,
        "settings": {},
        "seed": seed,
        "outcome": "finished",
        "texts": dict(found or {}),
        "items": dict(items or {}),
        "digests": {"base": "b"} if kind != "panel" else {"panel": "p", "panel.name": "panel"},
    }
    return Row(**(plain | changes))


def comparison_file(folder: Path, pico: Path, corpora: Path, **changes: Any) -> Path:
    """``compare.yaml`` with sft and mol, two trials each and one seed, and its ``run.yaml``."""
    run = settings(pico, corpora, folder / "runs")
    del run["name"], run["method"]
    run["budget"]["steps"] = 2
    run["evaluation"]["generations"] = 0
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.yaml").write_text(yaml.safe_dump(run, sort_keys=False))
    data: dict[str, Any] = {
        "run": "run.yaml",
        "output_dir": str(folder / "runs"),
        "methods": {
            "sft": {"set": {"method": "sft"}, "tune": {"optimizer.learning_rate": [0.001, 0.003]}},
            "mol": {"set": {"method": "mol"}, "tune": {"method.kl_weight": [0.5, 2]}},
        },
    }
    path = folder / "compare.yaml"
    path.write_text(yaml.safe_dump(data | changes, sort_keys=False))
    return path
