"""Online weights in two processes: both ranks move the shares as one process does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from acclimate.verbs.run import train
from tests.fixtures.runs import config, lines
from tests.parallel.test_launch import run

RULES = [{"doge": {"every": 2}}, {"doremi": {"eta": 4}}, {"dids": {"every": 1}}]
READ = ("alignment/", "fisher/", "validation/", "influence/", "credit/")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: next(iter(rule)))
def test_two_processes_move_shares_alike(rule: Any, pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """What a rank holds none of, another may hold; the target's rows are those of both."""
    changes: dict[str, Any] = {
        "mixture": rule, "budget": {"count": "all", "batch_tokens": 512, "steps": 5},
        "evaluation": {"validation_documents": 2, "generations": 0},
    }  # fmt: skip
    spread = config(pico_folder, corpora, tmp_path, name="two", **changes)
    run(spread, "--nproc", "2")
    alone = train(config(pico_folder, corpora, tmp_path, name="one", **changes)).run_dir
    one, two = lines(alone), lines(spread.run_dir)
    read = [key for line in one for key in line if key.startswith(READ) or key.endswith("/excess")]
    assert len(read) > 4
    for here, there in zip(one, two, strict=True):
        keys = [key for key in here if key.startswith(("dial/", "online/")) or key in read]
        assert {key: there[key] for key in keys} == pytest.approx({key: here[key] for key in keys}, rel=2e-3, abs=1e-7)
