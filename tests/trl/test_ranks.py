"""Two ranks under DDP take the steps of one process."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file

import acclimate as ac
from tests.fixtures.pico import pico_model, pico_tokenizer
from tests.fixtures.ranks import run_ranks
from tests.trl.loops import by_hand, difference, objective, plain, rows


def test_two_ranks_take_the_steps_of_one_process(tmp_path: Path) -> None:
    """Two micro-batches of two rows each a rank: a step is all eight rows, and its sums have no order."""
    run_ranks(2, "tests.trl.worker", tmp_path)
    own = [load_file(tmp_path / f"weights-{rank}.safetensors") for rank in range(2)]
    assert difference(*own) == 0
    alone = pico_model(0, tie=False)
    plain(ac.causal(alone, pico_tokenizer()), objective(), [[by_hand(rows())]] * 3, 0.1)
    assert difference(own[0], dict(alone.state_dict())) < 1e-6
    outcomes = [(tmp_path / f"outcome-{rank}").read_text().split() for rank in range(2)]
    assert outcomes[0][0] == outcomes[1][0] <= "1"
    assert (int(outcomes[0][1]) > 0, outcomes[1][1]) == (True, "0")  # rank 0 alone speaks
