"""HLR: the closed form of its pull, where it starts, and its layer weights."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from acclimate.methods.hlr import Hlr, layer_weights
from acclimate.stores.path_integral import PathIntegral
from acclimate.stores.store import write_store
from acclimate.training.loop import run_loop
from acclimate.types.errors import RunError
from acclimate.types.plan import PlanContext
from acclimate.verbs.run import train
from tests.fixtures.gradients import built
from tests.fixtures.runs import config
from tests.fixtures.sentences import says
from tests.fixtures.stores import taken

DOUBLE = torch.float64


def plan_of(folder: Path, importance: dict, end: dict, method: Hlr | None = None, **context):
    manifest = {"kind": "path-integral", "facts": {"norms": {n: float(t.norm()) for n, t in importance.items()}}}
    shapes = {n: tuple(t.shape) for n, t in importance.items()}
    write_store(folder, importance, end, shapes, manifest | {"lora": None, "lora_scaling": {}})
    return Hlr(store=str(folder), **(method or {})).plan(PlanContext(**context))


def test_displacement_on_a_quadratic_is_the_closed_form(tmp_path: Path) -> None:
    """SGD on ``1/2 sum h (theta - t)^2`` from theta*: after k steps coordinate i is at
    ``h (t - theta*) / (h + c) * (1 - (1 - eta (h + c))^k)`` with ``c = 2 phi alpha_l Omega_i``."""
    importance = {"a": torch.tensor([0.0, 0.5, 3.0], dtype=DOUBLE), "b": torch.tensor([[1.0], [0.1]], dtype=DOUBLE)}
    star = {"a": torch.tensor([1.0, -1.0, 2.0], dtype=DOUBLE), "b": torch.tensor([[0.5], [0.7]], dtype=DOUBLE)}
    phi, eta, steps = 0.7, 0.05, 40
    plan = plan_of(tmp_path / "s", importance, star, {"phi": phi, "layer_weights": "normalised"})
    (transform,) = plan.transforms
    params = {n: torch.zeros_like(t) for n, t in star.items()}  # the base, which is not where it pulls to
    transform.init(params)
    for n, t in star.items():
        params[n].copy_(t)
    target, h = 4.0, 0.8
    for step in range(steps):
        grads = {n: h * (p - target) for n, p in params.items()}
        metrics = transform.update(grads, params, {}, step)
        if step == 0:
            assert metrics["penalty/hlr"] == 0
            assert sum(metrics[f"penalty/hlr_alpha/{n}"] for n in params) == pytest.approx(1)
        for n in params:
            params[n] -= eta * grads[n]
    norms = {n: math.sqrt(float(t.square().sum())) for n, t in importance.items()}
    for n, param in params.items():
        c = 2 * phi * norms[n] / sum(norms.values()) * importance[n]
        expected = h * (target - star[n]) / (h + c) * (1 - (1 - eta * (h + c)) ** steps)
        torch.testing.assert_close(param - star[n], expected, rtol=1e-12, atol=1e-12)
    assert metrics["penalty/hlr_alpha_max"] == pytest.approx(max(norms.values()) / sum(norms.values()))


def test_under_an_adapter_the_distance_is_from_its_end(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = "m.lora_A.default.weight", "m.lora_B.default.weight"
    star = {n: torch.randn(*shape, generator=generator, dtype=DOUBLE) for n, shape in ((a, (3, 7)), (b, (5, 3)))}
    importance = {"m.weight": torch.rand(5, 7, generator=generator, dtype=DOUBLE)}
    plan = plan_of(tmp_path / "s", importance, star, {"phi": 0.3}, lora_scaling={"m": 1.7})
    (transform,) = plan.transforms
    params = {n: t + 0.1 * torch.randn(t.shape, generator=generator, dtype=DOUBLE) for n, t in star.items()}
    transform.init(params)
    leaves = {n: p.clone().requires_grad_() for n, p in params.items()}
    distance = 1.7 * (leaves[b] @ leaves[a] - star[b] @ star[a])
    value = 0.3 * (importance["m.weight"] * distance.square()).sum()  # alpha of a single matrix is 1
    value.backward()
    grads = {n: torch.zeros_like(p) for n, p in params.items()}
    assert transform.update(grads, params, {}, 0)["penalty/hlr"] == pytest.approx(value.item(), rel=1e-12)
    for n, leaf in leaves.items():
        torch.testing.assert_close(grads[n], leaf.grad, rtol=0, atol=1e-12)


def test_layer_weights() -> None:
    norms = {"a": 1.0, "b": 2.0, "c": 5.0}
    total = sum(map(math.exp, norms.values()))
    assert layer_weights(norms, "softmax") == pytest.approx({n: math.exp(v) / total for n, v in norms.items()})
    assert layer_weights(norms, "normalised") == pytest.approx({"a": 1 / 8, "b": 2 / 8, "c": 5 / 8})
    scaled = {n: 1000 * v for n, v in norms.items()}
    assert layer_weights(scaled, "normalised") == pytest.approx(layer_weights(norms, "normalised"))
    assert layer_weights(scaled, "softmax")["c"] == 1.0


def test_a_collapse_is_a_note(tmp_path: Path) -> None:
    importance = {"a": torch.full((4,), 0.1), "b": torch.full((4,), 50.0)}
    collapsed = plan_of(tmp_path / "s", importance, {})
    (note,) = collapsed.notes
    assert says(note, "hlr: … 'b' is 1 of 1, … alone; layer_weights: normalised …")
    assert not plan_of(tmp_path / "t", {n: 1 + t / 50 for n, t in importance.items()}, {}).notes


@pytest.mark.parametrize("lora", [None, {"rank": 4}], ids=["full", "lora"])
def test_at_phi_0_it_is_sft_from_the_end_of_the_path(
    lora: dict | None, pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    store = taken(PathIntegral(), pico_folder, corpora, tmp_path / "s", lora=lora)
    method = {"name": "hlr", "store": str(store.folder), "phi": 0.0}
    run = train(config(pico_folder, corpora, tmp_path, method=method, lora=lora))
    control = built(config(pico_folder, corpora, tmp_path, name="sft", method="sft", lora=lora), torch.float32)
    control.weights.load_state_dict(store.end)
    run_loop(control)
    (path,) = (run.run_dir / "model").glob("*.safetensors")
    found = load_file(path)
    for name, weight in control.weights.masters.items():
        saved = f"base_model.model.{name}".replace(".default", "") if lora else name
        assert torch.equal(found[saved], weight.detach()), name
    record = json.loads((run.run_dir / "provenance.json").read_text())["statistics"]
    assert [(entry["kind"], entry["tokens"]) for entry in record] == [("path-integral", store.manifest["tokens"])]


def test_a_resumed_run_pulls_to_the_same_place(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    store = taken(PathIntegral(), pico_folder, corpora, tmp_path / "s")
    changes = {"method": {"name": "hlr", "store": str(store.folder), "phi": 5.0}, "training": {"save_steps": 3}}
    whole = train(config(pico_folder, corpora, tmp_path, **changes))
    settings = config(pico_folder, corpora, tmp_path, name="again", **changes)
    again = train(settings)
    shutil.rmtree(again.run_dir / "model")
    (again.run_dir / "summary.json").unlink()
    shutil.rmtree(again.run_dir / "checkpoints" / "step-00000006")
    train(settings, resume=True)
    for file in ("model/model.safetensors", "summary.json"):
        assert (again.run_dir / file).read_bytes() == (whole.run_dir / file).read_bytes()
    shutil.rmtree(again.run_dir / "model")
    shutil.rmtree(store.folder)
    taken(PathIntegral(xi=0.2), pico_folder, corpora, store.folder)
    with pytest.raises(RunError, match="began with another statistics store than there is now"):
        train(settings, resume=True)
