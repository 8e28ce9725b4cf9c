"""dae: a teacher by source, experts of every kind, and repair."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import yaml

from acclimate.build import experts, load_model, open_run, resolve
from acclimate.build.plan import compose
from acclimate.config.load import parse_config, with_absolute_paths
from acclimate.objective.objective import Objective
from acclimate.runs.scores import read_lines
from acclimate.types.central import IGNORE
from acclimate.types.errors import RunError
from acclimate.verbs.run import train
from tests.fixtures.pico import save_pico
from tests.fixtures.runs import config, settings
from tests.methods.test_token_weights import ROUTES, Fixed, composed, step

ROOT = Path(__file__).parents[2]


def gradients(method: Any, normalise: str) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Loss and gradient of the hidden states; the base and the expert are two given states."""
    batches, hidden, other, head = step()
    expert = [state.flip(-1) for state in other]
    references = {"base": Fixed(other, head, batches), "expert": Fixed(expert, head, batches)}
    objective = Objective(composed(method).terms, ROUTES, cast(Any, references), normalise=normalise)
    taken, student = objective.step(batches), cast(Any, Fixed(hidden, head, batches))
    loss = sum(taken.loss(student, batch) for batch in batches)
    assert isinstance(loss, torch.Tensor)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach(), [h.grad for h in hidden if h.grad is not None]


@pytest.mark.parametrize(("temperature", "weight"), [(1.0, 1.0), (2.5, 1.0), (2.5, 0.7)])
def test_closed_form(temperature: float, weight: float) -> None:
    method = {"name": "dae", "expert": "e", "distillation_weight": weight, "temperature": temperature}
    found, _ = gradients(method, "all")
    batches, hidden, other, head = step()
    nats, cross_entropy = [], []
    for batch, h, o in zip(batches, hidden, other, strict=True):
        teacher = torch.where(batch.route[..., None] == 0, o.flip(-1), o)  # [B, T, D]
        p, q = ((s.detach() @ head.weight.T / temperature).softmax(-1) for s in (h, teacher))
        learned = batch.labels != IGNORE
        nats.append((q * (q / p).log()).sum(-1)[learned])
        plain = (h.detach() @ head.weight.T).log_softmax(-1)
        cross_entropy.append(-plain.gather(-1, batch.labels.clamp_min(0)[..., None])[..., 0][learned])
    expected = weight * temperature**2 * torch.cat(nats).mean() + (1 - weight) * torch.cat(cross_entropy).mean()
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=0)


def test_general_tokens_get_the_gradient_of_mol_forward_up_to_the_denominator() -> None:
    batches = step()[0]
    general = [(batch.labels != IGNORE) & (batch.route == 1) for batch in batches]
    count = sum(int(mask.sum()) for mask in general)
    everything = sum(int((batch.labels != IGNORE).sum()) for batch in batches)
    mol = gradients({"name": "mol", "direction": "forward"}, "term")[1]
    for normalise, part in (("term", 1.0), ("all", count / everything)):
        dae = gradients({"name": "dae", "expert": "e"}, normalise)[1]
        for mask, one, two in zip(general, dae, mol, strict=True):
            assert one[mask].abs().max() > 1e-3
            torch.testing.assert_close(one[mask], part * two[mask], rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("kind", ["lora run", "full run", "folder"])
@pytest.mark.parametrize("student", ["full", "lora"])
def test_an_expert_is_what_its_run_wrote(
    kind: str, student: str, pico_folder: Path, expert: Path, corpora: Path, tmp_path: Path
) -> None:
    """Its logits are the run's own; the student starts at the base, so general text is compared with itself."""
    own = {"lora run": {"lora": {"rank": 4, "dropout": 0.2}}, "full run": {}}.get(kind)
    forgetful = expert
    if own is not None:
        forgetful = train(config(pico_folder, corpora, tmp_path, name="forgetful", method="sft", **own)).run_dir
    changes = {"lora": {"rank": 2}} if student == "lora" else {}
    method = {"name": "dae", "expert": str(forgetful)}
    repair = config(pico_folder, corpora, tmp_path, name="repair", method=method, **changes)
    job = resolve(repair)
    model = load_model(job.config, job.device)
    (found,) = experts(job.config, compose(job.config))
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        logits = found.load(model).eval().network(ids).logits
        if own is not None:
            known = open_run(forgetful)[1].model.eval().network
            assert torch.equal(logits, known(ids).logits)
        assert not torch.equal(logits, model.network(ids).logits)
    run_dir = train(repair).run_dir
    first = read_lines(run_dir / "metrics.jsonl")[0]
    assert first["loss/general/forward_kl"] == 0.0 < first["loss/domain/forward_kl"]
    assert "method.expert" in json.loads((run_dir / "provenance.json").read_text())["method_inputs"]


def test_an_expert_whose_base_has_changed(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    base = save_pico(tmp_path / "base", seed=3)
    run = train(config(base, corpora, tmp_path, name="forgetful", method="sft", lora={"rank": 4})).run_dir
    save_pico(base, seed=4)
    method = {"name": "dae", "expert": str(run)}
    with pytest.raises(RunError, match=r"forgetful' .* other contents of the base model"):
        train(config(pico_folder, corpora, tmp_path, name="repair", method=method))


def test_repair_recipe_gives_behaviour_back(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """On the pico model: nearer to the base than the expert on general text, and with the expert's domain."""
    loud = {"optimizer": {"learning_rate": 1e-2}, "budget": {"steps": 30, "batch_tokens": 256}}
    forgetful = train(config(pico_folder, corpora, tmp_path, name="forgetful", method="sft", **loud))
    recipe = yaml.safe_load((ROOT / "recipes" / "repair.yaml").read_text())
    small = settings(pico_folder, corpora, tmp_path, **loud)
    recipe |= {key: small[key] for key in ("model", "sources", "data", "output_dir", "budget", "optimizer")}
    recipe["method"]["expert"] = str(forgetful.run_dir)
    recipe["training"] = {"micro_batch_size": 4}
    repaired = train(parse_config(recipe))

    def value(summary: list[dict[str, Any]], set_name: str, metric: str, run: str) -> float:
        (found,) = (r["value"] for r in summary if (r["set"], r["metric"], r["run"]) == (set_name, metric, run))
        return float(found)

    drift = [value(r.summary, "general", "kl_base_tuned", n) for r, n in ((forgetful, "sft"), (repaired, "dae"))]
    assert drift[1] < 0.5 * drift[0]
    base, expert, after = (
        value(r.summary, "domain", "bits_per_byte", n)
        for r, n in ((forgetful, "base"), (forgetful, "sft"), (repaired, "dae"))
    )
    assert after - expert < 0.5 * (base - expert)


def test_an_unfinished_expert_and_one_that_changed(
    pico_folder: Path, expert: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.yaml").write_text("")
    with pytest.raises(RunError, match=r"^method.expert: the run '.*begun' has no model/ yet"):
        train(config(pico_folder, corpora, tmp_path, method={"name": "dae", "expert": str(tmp_path / "begun")}))
    monkeypatch.chdir(expert.parent)
    relative = config(pico_folder, corpora, tmp_path, method=["l2", {"name": "dae", "expert": expert.name}])
    assert with_absolute_paths(relative).method == ["l2", {"name": "dae", "expert": str(expert)}]
    hub = config(pico_folder, corpora, tmp_path, method={"name": "dae", "expert": "org/model"})
    assert with_absolute_paths(hub).method == {"name": "dae", "expert": "org/model"}
    run_dir = train(config(pico_folder, corpora, tmp_path, method={"name": "dae", "expert": str(expert)})).run_dir
    (run_dir / "summary.json").unlink()
    for path in (run_dir / "model").iterdir():
        path.unlink()
    record = json.loads((run_dir / "provenance.json").read_text())
    record["method_inputs"]["method.expert"] = "sha256:other"
    (run_dir / "provenance.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"other contents of method\.expert"):
        train(config(pico_folder, corpora, tmp_path, method={"name": "dae", "expert": str(expert)}), resume=True)
