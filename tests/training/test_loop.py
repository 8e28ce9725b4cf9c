"""Steps, slots and stops of the loop."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers.models.llama.modeling_llama import LlamaMLP

from acclimate.build import build_training, load_model, resolve
from acclimate.build.plan import compose
from acclimate.config.schema import ScheduleSection
from acclimate.data.corpus import load_corpora
from acclimate.kernels.projection import Projection
from acclimate.kernels.varlen import PACKED_VARLEN
from acclimate.model.load import load_tokenizer
from acclimate.parallel.world import SOLO
from acclimate.training.loop import run_loop
from acclimate.training.schedule import factor
from acclimate.training.training import Training
from acclimate.training.weights import Weights
from acclimate.types.errors import NonFiniteError
from acclimate.verbs.run import train
from acclimate.verbs.validate import validate
from tests.fixtures.runs import config, lines


def built(settings: Any) -> Training:
    job = resolve(settings)
    config = job.config
    config.run_dir.mkdir(parents=True, exist_ok=True)
    corpora, model = load_corpora(config, load_tokenizer(config.model)), load_model(config, job.device)
    training, _, _ = build_training(job, compose(config), model, corpora, Console(quiet=True))
    return training


def test_kl_is_exactly_zero_at_the_first_step(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    for dtype in ("float32", "bfloat16"):
        for lora in (None, {"rank": 4}):
            name = f"{dtype}-{'lora' if lora else 'full'}"
            settings = config(
                pico_folder, corpora, tmp_path, name=name, lora=lora, model={"dtype": dtype},
                budget={"steps": 3, "batch_tokens": 256},
            )  # fmt: skip
            first, *rest = lines(train(settings).run_dir)
            assert first["loss/general/reverse_kl"] == 0
            assert first["loss/chat/reverse_kl"] == 0
            assert rest[-1]["loss/general/reverse_kl"] > 0


def test_metrics_have_every_source_and_units(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    result = train(config(pico_folder, corpora, tmp_path, training={"eval_steps": 3}))
    *earlier, last = lines(result.run_dir)
    assert "loss/general/reverse_kl" in set().union(*earlier, last)  # a step of two rows may hold none of it
    assert {
        "step", "loss", "loss/domain/cross_entropy",
        "gradient_norm", "learning_rate", "tokens_per_second", "trained_tokens/domain", "epochs/chat",
        "eval/domain/bits_per_byte", "eval/general/bits_per_byte", "eval/chat/bits_per_byte",
    } <= last.keys()  # fmt: skip
    assert all(math.isfinite(value) for value in last.values())
    measured = {name.rpartition("/")[2] for name in last if name.startswith("eval/")}
    assert measured == {"bits_per_byte", "change_percent", "net_change"}  # no drift: nothing asks for it
    tokens = {name: last[f"trained_tokens/{name}"] for name in ("domain", "general", "chat")}
    assert tokens["domain"] >= 6 * 128
    assert abs(tokens["domain"] / sum(tokens.values()) - 0.5) < 96 / sum(tokens.values())  # within one row
    records = result.summary
    assert {(r["run"], r["role"]) for r in records} == {
        (r, s) for r in ("base", "mol") for s in ("domain", "general", "chat")
    }
    assert all(r["low"] <= r["value"] <= r["high"] and r["n"] == 4 for r in records)


def test_learning_lowers_the_domain_loss_and_the_anchor_holds(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    found = {}
    for method in ("sft", "mol"):
        settings = config(
            pico_folder, corpora, tmp_path, name=method, method=method, budget={"steps": 20, "batch_tokens": 256}
        )
        rows = train(settings).summary
        found[method] = {(r["run"] == "base", r["set"], r["metric"]): r["value"] for r in rows}
        assert found[method][False, "domain", "bits_per_byte"] < 0.7 * found[method][True, "domain", "bits_per_byte"]
    for held in ("general", "chat"):
        assert found["mol"][False, held, "kl_base_tuned"] < 0.6 * found["sft"][False, held, "kl_base_tuned"]


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_non_finite_stops_before_the_optimizer_step(
    where: str, pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    training = built(config(pico_folder, corpora, tmp_path))
    before = {name: tensor.clone() for name, tensor in training.weights.state_dict().items()}
    if where == "loss":  # one token's embedding is broken: only documents that hold it have a bad loss
        dead = training.model.tokenizer("k")["input_ids"][0]
        with torch.no_grad():
            training.model.network.get_input_embeddings().weight[dead] = float("nan")
        expected = r"Step 1 stopped before the optimizer step: .*loss of source 'domain', .*domain.jsonl:\d+"
    else:
        training.model.network.model.norm.weight.register_hook(lambda grad: grad * float("inf"))
        expected = (
            r"Step 1 stopped .*gradient_norm not finite; every loss is finite but the gradient of 1 parameters .*norm"
        )
    with pytest.raises(NonFiniteError, match=expected):
        run_loop(training)
    assert training.step == 0
    if where == "gradient":
        assert all(torch.equal(before[name], tensor) for name, tensor in training.weights.state_dict().items())


def test_the_broken_document_is_the_one_that_is_named(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    training = built(config(pico_folder, corpora, tmp_path, method="sft", budget={"batch_tokens": 1024}))
    dead = training.model.tokenizer("1")["input_ids"][0]
    batches = training.data.next_step()
    holding = {int(b.document[r, t]) for b in batches for r, t in (b.input_ids == dead).nonzero().tolist()}
    everything = {int(d) for b in batches for d in b.document.unique() if d >= 0}
    assert set() < holding < everything  # some documents of the step hold a 1, some do not
    with torch.no_grad():
        training.model.network.get_input_embeddings().weight[dead] = float("inf")
    from acclimate.training.finite import _documents_with_non_finite_loss

    # tied weights: the label's logit is infinite for every document, so look at an untied copy of the head
    training.model.network.lm_head.weight = torch.nn.Parameter(torch.randn_like(training.model.head.weight))
    assert set(_documents_with_non_finite_loss(training, training.objective.step(batches))) == holding


def test_the_loader_finds_ahead_what_the_step_asks(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    training = built(config(pico_folder, corpora, tmp_path))
    batches = training.data.next_step()
    step = training.objective.step(batches)
    for batch, assigned in zip(batches, step._assigned, strict=True):
        assert batch.bounds is None  # which attention on a CPU finds in its own way
        assert assigned is batch.assignment
        assert assigned.by is training.objective
    training.model.network.config._attn_implementation = PACKED_VARLEN
    for _ in range(3):
        batches = training.data.next_step()
    assert all(batch.bounds is not None and batch.bounds.longest > 1 for batch in batches)
    training.data.close()


def test_update_scale_scales_the_update(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """The slot that DBA's correction needs: with plain AdamW the first update is proportional to its rate."""
    moved = {}
    for scale in (1.0, 0.25):
        training = built(config(pico_folder, corpora, tmp_path, schedule={"type": "constant", "warmup_ratio": 0.0}))
        before = {n: t.clone() for n, t in training.weights.state_dict().items()}
        training.update_scale = lambda metrics, scale=scale: scale * (metrics["loss"] > 0)
        training.total_steps, training.callbacks = 1, ()
        run_loop(training)
        moved[scale] = torch.cat([(t - before[n]).flatten() for n, t in training.weights.state_dict().items()])
    torch.testing.assert_close(moved[0.25], 0.25 * moved[1.0], rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("lora", [None, {"rank": 2}])
@pytest.mark.parametrize("method", ["sft", "mol"])
def test_work_is_counted_in_forwards(
    method: str, lora: dict[str, int] | None, pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    """A backward is two forwards, one where only an adapter learns; the reference sees rows of general tokens only."""
    training = built(config(pico_folder, corpora, tmp_path, method=method, lora=lora, budget={"steps": 3}))
    taken = training.data.next_step
    expected, compared = 0.0, 0

    def watched() -> list[Any]:
        nonlocal expected, compared
        batches = taken()
        for batch in batches:
            anchored = bool((training.objective.compares[batch.route[batch.labels >= 0].numpy()] > 0).any())
            expected += batch.input_ids.numel() * ((3 if lora is None else 2) + anchored)
            compared += anchored
        return batches

    with patch.object(training.data, "next_step", watched):
        run_loop(training)
    assert (compared > 0) == (method == "mol")
    assert training.forwards == expected > 0


def test_masters_keep_what_bfloat16_would_lose() -> None:
    parameter = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    weights = Weights({"w": parameter})
    for _ in range(8):  # 8 micro-batches whose gradients a bfloat16 sum would round
        parameter.grad = torch.tensor([1.0, 2.0**-7, 2.0**-8, 1.0], dtype=torch.bfloat16)
        weights.accumulate()
    assert weights.gradients["w"].tolist() == [8.0, 2.0**-4, 2.0**-5, 8.0]
    with torch.no_grad():
        for _ in range(4):
            weights.masters["w"] += 2.0**-9
            weights.publish()
    assert weights.masters["w"].tolist() == [1 + 2.0**-7] * 4
    assert parameter.tolist() == [1 + 2.0**-7] * 4  # each single step would have rounded back to 1
    assert parameter.grad is None


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant", "wsd"])
def test_schedule(kind: str) -> None:
    least = 0.0 if kind == "constant" else 0.1
    section = ScheduleSection(type=kind, warmup_ratio=0.1, min_ratio=least)  # type: ignore[arg-type]
    curve = [factor(step, 100, section) for step in range(100)]
    assert curve[0] == pytest.approx(1 / 11)
    assert curve[:10] == sorted(curve[:10])
    assert curve[10] == pytest.approx(1.0)
    assert max(curve) <= 1.0
    if kind == "constant":
        assert set(curve[10:]) == {1.0}
    else:
        assert curve[-1] < 0.16
        assert curve[10:] == sorted(curve[10:], reverse=True)
    if kind in ("cosine", "linear"):
        done = (32 - 10) / 90
        fallen = {"linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[kind]
        assert curve[32] == pytest.approx(0.1 + 0.9 * fallen)
        assert curve[55] == pytest.approx(0.55)
    by_steps = ScheduleSection(type=kind, warmup_steps=4, min_ratio=least)  # type: ignore[arg-type]
    assert factor(3, 100, by_steps) == pytest.approx(4 / 5)
    assert factor(4, 100, by_steps) == 1.0
    if kind == "wsd":
        assert set(curve[10:80]) == {1.0}
        assert curve[90] == pytest.approx(0.55)


def test_gradient_checkpointing_changes_nothing_but_memory(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    rows, products, layers = [], [], []
    for on in (False, True):
        settings = config(pico_folder, corpora, tmp_path, name=f"c{on}", training={"gradient_checkpointing": on})
        mlp = LlamaMLP.forward
        with (
            patch.object(Projection, "raw", autospec=True, side_effect=Projection.raw) as raw,
            patch.object(LlamaMLP, "forward", autospec=True, side_effect=mlp) as computed,
        ):
            rows.append(lines(train(settings).run_dir))
        products.append(raw.call_count)
        layers.append(computed.call_count)
    for plain, checkpointed in zip(*rows, strict=True):
        assert checkpointed["loss"] == pytest.approx(plain["loss"], rel=1e-6)
    assert products[0] == products[1] > 0  # layers are recomputed, the head is not
    assert layers[1] > layers[0] > 0


def test_tensorboard(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    result = train(
        config(pico_folder, corpora, tmp_path, report_to="tensorboard", budget={"steps": 2, "batch_tokens": 128})
    )
    (events,) = (result.run_dir / "tensorboard").glob("events*")
    found = EventAccumulator(str(events)).Reload()
    written = {tag: [event.value for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    for line in lines(result.run_dir):
        assert written["loss"][int(line["step"]) - 1] == pytest.approx(line["loss"])


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant", "wsd"])
@pytest.mark.parametrize("total", [10, 97])
@pytest.mark.parametrize("warmup", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("decay", [0.05, 0.5, 1.0])
def test_a_schedule_never_jumps(kind: str, total: int, warmup: float, decay: float) -> None:
    """Where warmup and decay overlap, too: the one begins where the other has ended."""
    part = {"decay_ratio": decay} if kind == "wsd" else {}
    section = ScheduleSection(type=kind, warmup_ratio=warmup, **part)  # type: ignore[arg-type]
    curve = [factor(step, total, section) for step in range(total)]
    first = round(warmup * total)
    left = total - first
    if kind == "wsd":
        left = min(left, round(decay * total))
    assert curve[first] == 1.0  # the peak is reached
    steepest = {"constant": 0.0, "cosine": math.pi / 2}.get(kind, 1.0) / max(1, left)
    for step in range(1, total):
        risen = 1 / (first + 1)
        assert -steepest - 1e-9 <= curve[step] - curve[step - 1] <= risen + 1e-9


def test_a_schedule_whose_parts_overlap_is_said(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    schedule = {"type": "wsd", "warmup_ratio": 0.5, "decay_ratio": 0.8}
    wanted = "warmup_ratio (the first 3 steps) and decay_ratio (the last 5) overlap in a run of 6 steps"
    assert any(wanted in note for note in validate(config(pico_folder, corpora, tmp_path, schedule=schedule)).warnings)
    schedule["decay_ratio"] = 0.5
    notes = validate(config(pico_folder, corpora, tmp_path, schedule=schedule)).warnings
    assert not any("overlap in a run" in note for note in notes)


def test_decay_moves_nothing_that_no_token_has_reached() -> None:
    """A bias that only chooses experts, say. What was reached once is moved in every step, as ever."""
    named = {name: torch.nn.Parameter(torch.ones(2)) for name in ("never", "later", "zeros", "pulled")}
    weights = Weights(named)
    optimizer = torch.optim.AdamW(named.values(), lr=0.1, weight_decay=0.1)
    seen = []
    for step in range(3):
        named["zeros"].grad = torch.zeros(2)
        if step == 1:
            named["later"].grad = torch.ones(2)
        weights.accumulate()
        gradients = weights.reduce(SOLO)
        gradients["pulled"] += 1.0  # by a penalty
        weights.leave_unreached(optimizer, SOLO)
        optimizer.step()
        weights.publish()
        seen.append({name: float(parameter[0].detach()) for name, parameter in named.items()})
    assert [values["never"] for values in seen] == [1.0, 1.0, 1.0]
    assert seen[0]["later"] == 1.0 > seen[1]["later"] > seen[2]["later"]
    assert 1.0 > seen[0]["zeros"] > seen[1]["zeros"]
    assert 1.0 > seen[0]["pulled"] > seen[1]["pulled"]
