"""The memory that `validate` tells beside what torch's allocator held, and what is changed where it does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from acclimate.build import build_training, load_model, resolve
from acclimate.build.plan import compose
from acclimate.config.load import RunConfig
from acclimate.data.corpus import load_corpora
from acclimate.model.load import load_tokenizer
from acclimate.training.loop import run_loop
from acclimate.types.errors import ModelError
from acclimate.verbs.footprint import Estimate, Work, estimate, fit_of, settled, structure
from acclimate.verbs.footprint.fit import USUAL
from acclimate.verbs.footprint.live import LiveBytes
from acclimate.verbs.memory import PROCESS_BYTES, SPARE, Room
from acclimate.verbs.validate import validate
from tests.fixtures.pico import pico_model, pico_tokenizer
from tests.fixtures.runs import config, write_corpora

LARGER: dict[str, Any] = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3, "tie": False}


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model beside whose tensors those of the bookkeeping are small."""
    folder = tmp_path_factory.mktemp("larger")
    pico_model(**LARGER).save_pretrained(folder)
    pico_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpora(tmp_path_factory.mktemp("texts") / "corpora", documents=80)


def run(larger: Path, texts: Path, folder: Path, **changes: Any) -> RunConfig:
    plain = {
        "budget": {"steps": 2, "batch_tokens": 500},
        "data": {"sequence_length": 256},
        "training": {"micro_batch_size": 2, "gradient_checkpointing": False},
    }
    return config(larger, texts, folder, **{**plain, **changes})


def held(config: RunConfig) -> int:
    """Most bytes that torch's allocator held at one time in two steps, and the weights."""
    job = resolve(config)
    job.config.run_dir.mkdir(parents=True)
    corpora = load_corpora(job.config, load_tokenizer(job.config.model))
    model = load_model(job.config, job.device)  # some weights are mapped, others are made by threads
    weights = sum(t.numel() * t.element_size() for t in (*model.network.parameters(), *model.network.buffers()))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        training, _, _ = build_training(job, compose(job.config), model, corpora, Console(quiet=True))
        run_loop(training)
    live = peak = 0
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    for _, change in sorted((event.start_ns(), event.nbytes()) for event in events):
        live += change
        peak = max(peak, live)
    return peak + weights


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"training": {"micro_batch_size": 2, "gradient_checkpointing": True}},
        {"training": {"micro_batch_size": 2, "gradient_checkpointing": "selective"}},
        {"lora": {"rank": 8}, "method": "sft"},
        {"model": {"dtype": "bfloat16"}, "method": "sft"},
    ],
    ids=["full", "layers", "selective", "lora", "bfloat16"],
)
def test_within_15_percent_of_what_is_held(changes: dict[str, Any], larger: Path, texts: Path, tmp_path: Path) -> None:
    settings = run(larger, texts, tmp_path, **changes)
    found = validate(settings).memory
    assert found.counted
    assert (found.total - PROCESS_BYTES) / held(settings) == pytest.approx(1, abs=0.15)


def test_live_bytes_are_those_of_storages() -> None:
    with LiveBytes() as live:
        live.begin("first")
        base = torch.empty(100, device="meta")
        view = base.view(10, 10)[:5]
        live.begin("second")
        double = view * 2
        assert live.live == {"first": 400, "second": 200}
        live.rename(double, "renamed")
        del base
        assert live.live["first"] == 400  # the view holds it
        del view, double
        assert live.total == 0
        assert live.at_peak == {"first": 400, "second": 200}


def memory(larger: Path, texts: Path, folder: Path, work: Work = USUAL, cpu: bool = True, **changes: Any) -> Estimate:
    settings = run(larger, texts, folder, **changes)
    return estimate(settings, structure(settings), work, cpu)


def test_what_takes_less(larger: Path, texts: Path, tmp_path: Path) -> None:
    """Each setting lowers the part that it is about."""

    def part(name: str, **changes: Any) -> float:
        return memory(larger, texts, tmp_path, **changes).parts.get(name, 0.0)

    def rows(how: Any) -> dict[str, Any]:
        return {"training": {"micro_batch_size": 2, "gradient_checkpointing": how}}

    kept = [memory(larger, texts, tmp_path, **rows(how)).total for how in (False, "selective", True)]
    assert kept == sorted(kept, reverse=True)
    assert len(set(kept)) == 3
    assert part("optimizer", optimizer={"name": "adamw_8bit"}) < part("optimizer") / 3
    assert part("optimizer", lora={"rank": 4}) < part("optimizer") / 3
    assert part("activations", data={"sequence_length": 128}) < part("activations")
    spread = memory(larger, texts, tmp_path, replace(USUAL, ranks=4))
    assert spread.parts["optimizer"] == part("optimizer") / 4


def test_a_mask_of_packed_rows_on_a_gpu(larger: Path, texts: Path, tmp_path: Path) -> None:
    """2 T^2 bytes a row and layer in bfloat16, as each layer keeps a copy of its own."""
    bf16 = {"model": {"dtype": "bfloat16", "attention": "sdpa"}}
    found = memory(larger, texts, tmp_path, cpu=False, **bf16)
    copies = 2 * 256**2 * 2 * LARGER["num_hidden_layers"]
    assert copies <= found.parts["masks"] <= 1.5 * copies
    assert "masks" not in memory(larger, texts, tmp_path, replace(USUAL, alone=True), cpu=False, **bf16).parts


def test_a_network_that_looks_at_values_has_a_formula(
    larger: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = memory(larger, texts, tmp_path)
    network = structure(settings := run(larger, texts, tmp_path))
    network.model.layers[1].register_forward_pre_hook(lambda module, inputs: inputs[0].sum().item())
    found = estimate(settings, network, USUAL, True)
    assert not found.counted
    assert found.sentence.endswith("activations by a formula, since this network cannot be run without weights")
    assert found.total > 0.9 * counted.total  # it errs upwards


def room(size: float) -> Room:
    return Room(size, "of memory", SPARE)


def test_auto_takes_what_fits_at_least_cost(larger: Path, texts: Path, tmp_path: Path) -> None:
    plain = run(larger, texts, tmp_path, training={"gradient_checkpointing": "auto"})
    sizes: dict[Any, float] = {False: 10.0, "selective": 6.0, True: 3.0}

    def needed(trial: RunConfig) -> Estimate:
        return Estimate({"weights": sizes[trial.training.gradient_checkpointing]}, "head", 3, True)

    chosen = {}
    for free in (13.0, 9.0, 5.0, 1.0):
        trial, found, said = settled(plain, room(free), needed)
        chosen[free] = trial.training.gradient_checkpointing
        assert found.total == sizes[chosen[free]]
        assert (said is None) == (chosen[free] is False)
    assert chosen == {13.0: False, 9.0: "selective", 5.0: True, 1.0: True}
    asked = run(larger, texts, tmp_path, training={"gradient_checkpointing": "selective"})
    assert settled(asked, room(100.0), needed)[0] is asked


def test_auto_leaves_a_family_that_cannot(larger: Path, texts: Path, tmp_path: Path) -> None:
    plain = run(larger, texts, tmp_path, training={"gradient_checkpointing": "auto"})

    def needed(trial: RunConfig) -> Estimate:
        if trial.training.gradient_checkpointing:
            raise ModelError("It cannot.")
        return Estimate({"weights": 10.0}, "head", 3, True)

    assert settled(plain, room(1.0), needed)[0].training.gradient_checkpointing is False


def test_changes_come_in_the_order_of_their_cost(larger: Path, texts: Path, tmp_path: Path) -> None:
    settings = run(larger, texts, tmp_path, training={"micro_batch_size": 2, "gradient_checkpointing": False})
    whole = validate(settings).memory.total
    fits = fit_of(settings, room(1.3 * whole), ["base"], device="cpu")
    assert fits.fits
    needs = fits.needs
    first = fit_of(settings, room((needs - 1) / SPARE), ["base"], device="cpu")
    assert first.changes == {"training.gradient_checkpointing": "selective"}
    assert "memory by part, in gib" in first.sentence.lower()
    last = fit_of(settings, room(1.0), ["base"], device="cpu")
    assert list(last.changes) == [
        "training.gradient_checkpointing", "training.micro_batch_size", "lora.rank", "optimizer.learning_rate",
        "model.quantization",
    ]  # fmt: skip
    assert last.changes["training.gradient_checkpointing"] is True


def test_a_run_says_what_auto_chose(larger: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And goes on so, whatever is free by then."""
    from acclimate.verbs.footprint import settle
    from acclimate.verbs.run import train
    from tests.fixtures.runs import killed_after

    settings = run(
        larger, texts, tmp_path, training={"micro_batch_size": 2, "save_steps": 1}, method="sft",
        evaluation={"generations": 0, "memorisation_documents": 0},
    )  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(settle, "room_on", lambda device: room(PROCESS_BYTES))
        killed_after(1, settings)
    assert "gradient_checkpointing: true" in (settings.run_dir / "config.yaml").read_text()
    train(settings, resume=True)
    assert "gradient_checkpointing: true" in (settings.run_dir / "config.yaml").read_text()
    console = Console(record=True, width=10_000)
    with monkeypatch.context() as patch:
        patch.setattr(settle, "room_on", lambda device: room(PROCESS_BYTES))
        train(settings.model_copy(update={"name": "said"}), console=console)
    assert "training.gradient_checkpointing: auto is true here: about" in console.export_text()
