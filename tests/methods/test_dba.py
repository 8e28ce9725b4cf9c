"""DBA: its identities, its projection onto an adapter, its schedule and correction."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from acclimate.gradient.boost import Boost
from acclimate.methods.dba import Dba
from acclimate.reports import collect, write_report
from acclimate.reports.pictures.figures import learning
from acclimate.runs.scores import read_lines
from acclimate.stores.mean_gradient import MeanGradient
from acclimate.stores.store import write_store
from acclimate.types.plan import Plan, PlanContext
from acclimate.verbs.run import train
from tests.fixtures.runs import config
from tests.fixtures.stores import taken

GENERATOR = torch.Generator().manual_seed(0)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR)


def planned(folder: Path, steps: int, **settings: object) -> Plan:
    manifest = {"kind": "mean-gradient", "lora": None, "lora_scaling": {}}
    write_store(folder, {"w": torch.ones(2, 2)}, {}, {"w": (2, 2)}, manifest)
    return Dba(store=str(folder), **settings).plan(PlanContext(total_steps=steps))


def test_mixes_and_reports_the_cosine() -> None:
    general, own = {"a": random(700, 300), "b": random(5)}, {"a": random(700, 300), "b": random(5)}
    boost = Boost(general, 0.5, 10)
    boost.init(own)
    for step, gamma in ((0, 0.5), (4, 0.3), (9, 0.05)):
        grads = {n: g.clone() for n, g in own.items()}
        metrics = boost.update(grads, own, {}, step)
        for n, g in grads.items():
            torch.testing.assert_close(g, gamma * general[n] + (1 - gamma) * own[n], rtol=1e-5, atol=1e-6)
        flat = [torch.cat([of[n].flatten() for n in own]).double() for of in (own, general)]
        assert metrics["boost/gamma"] == pytest.approx(gamma)
        assert metrics["boost/cosine"] == pytest.approx(torch.cosine_similarity(*flat, dim=0).item(), rel=1e-5)


def test_equal_gradients_stay_what_they_are() -> None:
    own = {"a": random(40, 30)}
    boost = Boost(own, 0.4, 10)
    boost.init(own)
    grads = {"a": own["a"].clone()}
    metrics = boost.update(grads, own, {}, 0)
    torch.testing.assert_close(grads["a"], own["a"], rtol=1e-6, atol=0)
    assert metrics["boost/cosine"] == pytest.approx(1)


def test_without_boost_nothing_is_touched() -> None:
    own = {"a": random(40, 30)}
    own["a"][0, 0] = -0.0
    boost = Boost({"a": random(40, 30)}, 0.0, 10)
    boost.init(own)
    grads = {"a": own["a"].clone()}
    assert boost.update(grads, own, {}, 3)["boost/gamma"] == 0
    assert torch.equal(grads["a"].view(torch.int32), own["a"].view(torch.int32))


def test_a_zero_gradient_has_no_direction() -> None:
    boost = Boost({"a": torch.zeros(3)}, 0.5, 10)
    boost.init({"a": torch.zeros(3)})
    assert boost.update({"a": torch.ones(3)}, {}, {}, 0)["boost/cosine"] == 0


def test_under_an_adapter_it_is_the_chain_rule_of_the_dense_gradient() -> None:
    a, b = "m.lora_A.default.weight", "m.lora_B.default.weight"
    params = {a: random(3, 7).double(), b: random(5, 3).double()}
    general = random(5, 7).double()
    leaves = {n: p.clone().requires_grad_() for n, p in params.items()}
    (1.7 * leaves[b] @ leaves[a] * general).sum().backward()
    boost = Boost({"m.weight": general}, 1.0, 10, {"m": 1.7})
    boost.init(params)
    grads = {n: random(*p.shape).double() for n, p in params.items()}
    boost.update(grads, params, {}, 0)
    for n, leaf in leaves.items():
        torch.testing.assert_close(grads[n], leaf.grad, rtol=0, atol=1e-12)


def test_gamma_falls_from_k0_to_0_and_is_clipped() -> None:
    boost = Boost({}, 2.5, 100)
    assert [boost.gamma(step) for step in (0, 60, 80, 99)] == pytest.approx([1.0, 1.0, 0.5, 0.025])


@pytest.mark.parametrize(
    ("steps", "settings", "k0", "alone"),
    [
        (1000, {}, 0.2, 0),
        (200, {}, 1.0, 0),  # gamma is 1 at the first step only
        (100, {}, 2.0, 51),
        (100, {"k_max": 0.5}, 0.5, 0),
        (1000, {"k_max": 0.5}, 0.2, 0),
        (100, {"k0": 0.3}, 0.3, 0),
        (100, {"k0": 0.0}, 0.0, 0),
    ],
)
def test_k0_and_the_note_on_short_runs(
    steps: int, settings: dict[str, float], k0: float, alone: int, tmp_path: Path
) -> None:
    plan = planned(tmp_path / "s", steps, **settings)
    assert plan.transforms[0].k0 == pytest.approx(k0)
    said = (
        f"dba: in the first {alone} of {steps} steps gamma is 1, so the general gradient decides alone; k_max below 1 "
        "leaves the domain a part of every step."
    )
    assert plan.notes == ((said,) if alone else ())


def test_correction_scales_the_update_by_how_far_the_gradients_differ(tmp_path: Path) -> None:
    assert planned(tmp_path / "a", 10).update_scale is None
    scale = planned(tmp_path / "b", 10, correction=True, correction_min=0.2, correction_max=1.5).update_scale
    assert scale is not None
    assert [scale({"boost/cosine": c}) for c in (0.25, 0.95, -0.9)] == pytest.approx([0.75, 0.2, 1.5])


def test_correction_reaches_the_optimizer(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """Through the learning rate of the step, which AdamW would not undo."""
    store = taken(MeanGradient(), pico_folder, corpora, tmp_path / "s")
    method = {"name": "dba", "store": str(store.folder), "k0": 0.3}
    lines = {}
    for name, own in (("plain", {}), ("corrected", {"correction": True, "correction_min": 0.0})):
        run = train(
            config(pico_folder, corpora, tmp_path, name=name, method=method | own, schedule={"type": "constant"})
        )
        lines[name] = read_lines(run.run_dir / "metrics.jsonl")
    for plain, corrected in zip(lines["plain"], lines["corrected"], strict=True):
        expected = plain["learning_rate"] * min(1 - corrected["boost/cosine"], 2.0)
        assert corrected["learning_rate"] == pytest.approx(expected)
        assert corrected["boost/gamma"] == pytest.approx(0.3 * (1 - (corrected["step"] - 1) / 6))


@pytest.mark.parametrize(
    "settings",
    [
        {"k0": 0.5, "k_max": 0.5},
        {"correction_min": 0.5},
        {"correction": True, "correction_min": 1.5, "correction_max": 1},
    ],
)
def test_settings_without_effect_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Dba(store="s", **settings)


def test_the_report_shows_what_the_stored_gradient_is_worth(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """Its norm and the cosine of its halves, and its cosine with the domain's gradient over time."""
    store = taken(MeanGradient(), pico_folder, corpora, tmp_path / "s")
    method = {"name": "dba", "store": str(store.folder), "k_max": 0.5}
    run = train(config(pico_folder, corpora, tmp_path, method=method))
    titles = {picture.title for picture in learning(collect([run.run_dir]))}
    assert "Does the stored gradient still agree with the step's own?" in titles
    assert "How much of each step is the stored gradient?" in titles
    write_report([run.run_dir], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    for fact in ("norm", "split_half_cosine"):
        assert f"statistics.0.facts.{fact}" in page
        assert f"{store.facts[fact]:.6g}" in page
