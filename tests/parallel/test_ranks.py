"""One process, two ranks of DDP and two of FSDP2 take the same step. Two gloo workers serve the whole registry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from acclimate.types.central import PAD_DOCUMENT
from tests.fixtures.families import pico_of
from tests.fixtures.gradients import built, step_gradient
from tests.fixtures.pico import pico_tokenizer, save_pico
from tests.fixtures.ranks import run_ranks
from tests.parallel.worker import STRATEGIES, Case, cases, setting

Gradient = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_pico(folder / "tied")
    save_pico(folder / "untied", tie=False)
    save_pico(folder / "expert", seed=1)
    pico_of("Lfm2").save_pretrained(folder / "rows of their own")
    pico_tokenizer().save_pretrained(folder / "rows of their own")
    return folder


@pytest.fixture(scope="module")
def gradients(models: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("ranks")
    for case in cases():
        setting(models, corpora, output, case)  # makes the stores, which takes a process of its own
    run_ranks(2, "tests.parallel.worker", models, corpora, output)
    return output


@pytest.fixture(scope="module")
def alone(models: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Gradient]:
    """The gradient of one process, in which nothing is spread: one serves both strategies."""
    folder, found = tmp_path_factory.mktemp("alone"), dict[tuple[str, str], Gradient]()

    def gradient(case: Case) -> Gradient:
        if case[:2] not in found:
            found[case[:2]] = step_gradient(built(setting(models, corpora, folder, case)))
        return found[case[:2]]

    return gradient


@pytest.mark.parametrize("case", cases(), ids="-".join)
def test_two_ranks_take_the_step_of_one_process(case: Case, gradients: Path, alone: Callable[[Case], Gradient]) -> None:
    expected = alone(case)
    found = load_file(gradients / f"{'-'.join(case)}.safetensors")
    assert found.keys() == expected.keys()
    assert max(gradient.abs().max() for gradient in expected.values()) > 1e-3
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-10)


def test_a_rank_without_rows_was_among_them(gradients: Path) -> None:
    assert (gradients / "some rank had nothing to do").exists()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_step_that_is_not_finite_stops_both_and_one_says_why(
    strategy: str, gradients: Path, models: Path, corpora: Path, tmp_path: Path
) -> None:
    training = built(setting(models, corpora, tmp_path, ("mol", "full", strategy)))
    documents = {int(d) for batch in training.data.next_step() for d in batch.document.unique() if d != PAD_DOCUMENT}
    names = [training.document_name(document) for document in sorted(documents)]
    assert len(names) > 2
    said = (gradients / f"{strategy} rank 0").read_text()
    assert said.startswith("NonFiniteError: Step 1 stopped before the optimizer step: ")
    assert f"the loss of {'; '.join(names[:5])}" in said  # those of both ranks
    assert (gradients / f"{strategy} rank 1").read_text() == "PeerError: Rank 0 stopped with an error."


def test_an_error_of_one_rank_ends_all(gradients: Path) -> None:
    assert (gradients / "one fails, rank 1").read_text() == "DataError: rank 1 cannot read its file."
    assert (gradients / "one fails, rank 0").read_text() == "PeerError: Rank 1 stopped with an error."
