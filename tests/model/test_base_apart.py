"""model.base: a run goes on from a tuned model and is measured against the original."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from acclimate.build import build_training, load_model, open_run, resolve
from acclimate.build.pairs import run_pair
from acclimate.build.plan import compose
from acclimate.config.load import load_config, with_absolute_paths
from acclimate.config.schema import ModelSection, RunConfig
from acclimate.data.corpus import load_corpora
from acclimate.gates import gate
from acclimate.model.identity import model_digest
from acclimate.model.load import load_tokenizer
from acclimate.reports import collect, model_card
from acclimate.runs.comparison import compare_runs
from acclimate.types.central import IGNORE, Batch
from acclimate.types.errors import ConfigError, ModelError, RunError
from acclimate.verbs.compare.execute import _digests
from acclimate.verbs.export import export
from acclimate.verbs.run import RunResult, evaluate_run, train
from acclimate.verbs.validate import validate
from tests.fixtures.pico import pico_model, pico_tokenizer, save_pico
from tests.fixtures.runs import config, killed_after, lines, same_weights

LORA = {"rank": 4}
EVERY = pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was tuned before: the original's tokens, other weights."""
    return save_pico(tmp_path_factory.mktemp("start"), seed=1)


def stage_two(start: Path, base: Path, corpora: Path, output: Path, /, **changes: Any) -> RunConfig:
    model = {"path": str(start), "base": str(base)} | changes.pop("model", {})
    return config(start, corpora, output, model=model, budget={"steps": 4}, **changes)


def gated(corpora: Path) -> dict[str, Any]:
    """As many documents as a gate wants."""
    return {"domain": {"path": str(corpora / "domain.jsonl"), "share": 0.5, "heldout": 20}}


@pytest.fixture(scope="module", params=[None, LORA], ids=["full", "lora"])
def run(
    request: pytest.FixtureRequest,
    start: Path,
    pico_folder: Path,
    corpora: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> RunResult:
    output = tmp_path_factory.mktemp("apart")
    return train(stage_two(start, pico_folder, corpora, output, lora=request.param, sources=gated(corpora)))


def divergence(batches: list[Batch], general: set[int], start: Path, base: Path) -> float:
    """Mean over general labels of KL[p || p_base], document by document through transformers alone."""
    student, frozen = (AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval() for path in (start, base))
    nats = []
    for batch in batches:
        for row in range(batch.input_ids.shape[0]):
            for document in batch.document[row].unique():
                at = batch.document[row] == document
                taken = (batch.labels[row, at] != IGNORE) & torch.isin(batch.route[row, at], torch.tensor([*general]))
                with torch.no_grad():
                    logs = [
                        m(batch.input_ids[row, at][None]).logits[0, taken].log_softmax(-1) for m in (student, frozen)
                    ]
                nats.append((logs[0].exp() * (logs[0] - logs[1])).sum(-1))
    return float(torch.cat(nats).mean())


def test_the_first_step_measures_start_against_base(
    run: RunResult, start: Path, pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    job = resolve(stage_two(start, pico_folder, corpora, tmp_path, sources=gated(corpora)))
    settings = job.config
    loaded = load_corpora(settings, load_tokenizer(settings.model))
    model = load_model(settings, job.device)
    training, _, _ = build_training(job, compose(settings), model, loaded, Console(quiet=True))
    batches = training.data.next_step()
    training.data.close()
    general = {index for index, route in enumerate(loaded.routes) if route.source == "general"}
    expected = divergence(batches, general, start, pico_folder)
    first = lines(run.run_dir)[0]
    assert expected > 0.01
    assert first["loss/general/reverse_kl"] == pytest.approx(expected, rel=1e-4)


def test_all_files_say_which_base(run: RunResult, start: Path, pico_folder: Path, corpora: Path) -> None:
    digests = {
        name: model_digest(ModelSection(path=str(path))) for name, path in (("model", start), ("base", pico_folder))
    }
    record = json.loads((run.run_dir / "provenance.json").read_text())
    assert {name: record[name]["digest"] for name in digests} == digests
    assert record["base"].keys() == record["model"].keys() == {"path", "digest", "reading"}
    measured = json.loads((run.run_dir / "eval" / "measured.json").read_text())
    assert measured["base"] == digests["base"]
    assert {name: found for name, found in _digests(record).items() if "." not in name} == {
        "base": digests["base"], "start": digests["model"],
    }  # fmt: skip
    note = f"Training started from '{start.name}' and everything is measured against '{pico_folder.name}' (model.base)"
    policy = run.run_dir.parent / "policy.yaml"
    policy.write_text(yaml.safe_dump({"sets": {"domain": {"max_drop": {"bits_per_byte": "10 bits/byte"}}}}))
    assert note in model_card(run.run_dir).replace("\\", "")
    assert any(note in said for said in gate(run.run_dir, policy).notes)
    assert evaluate_run(run.run_dir).summary == run.summary


def test_the_pair_of_a_run(run: RunResult, start: Path, pico_folder: Path, tmp_path: Path) -> None:
    """Drift is the distance to the original; what an adapter stands on is where training started."""
    pair = run_pair(run.run_dir)
    assert pair.base.model is not pair.model
    original = load_file(pico_folder / "model.safetensors")
    assert torch.equal(pair.base.model.network.get_input_embeddings().weight, original["model.embed_tokens.weight"])
    assert pair.identity["base"] == {
        "path": pico_folder.name,
        "digest": model_digest(ModelSection(path=str(pico_folder))),
    }
    if pair.model.peft is not None:
        began = load_file(start / "model.safetensors")["model.embed_tokens.weight"]
        assert torch.equal(pair.model.network.get_input_embeddings().weight, began)
        export(run.run_dir, tmp_path / "adapter")
        saved = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
        assert saved["base_model_name_or_path"] == str(start)


def test_a_resumed_run_is_bitwise_the_same(
    run: RunResult, start: Path, pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    base = shutil.copytree(pico_folder, tmp_path / "base")
    lora = LORA if (run.run_dir / "model" / "adapter_config.json").exists() else None
    changes: dict[str, Any] = {"sources": gated(corpora), "training": {"save_steps": 2}}
    settings = stage_two(start, base, corpora, tmp_path, lora=lora, **changes)
    killed_after(3, settings)
    resumed = train(settings, resume=True)
    assert same_weights(run.run_dir, resumed.run_dir)
    assert resumed.summary == run.summary
    pico_model(seed=2).save_pretrained(base)
    with pytest.raises(RunError, match="began with other contents of the base model than"):
        evaluate_run(resumed.run_dir)
    with pytest.raises(RunError, match="began with other contents of the base model than"):
        open_run(resumed.run_dir)[1].base  # noqa: B018
    export(resumed.run_dir, tmp_path / "exported")  # which needs none


def test_stages_are_compared_by_their_base(start: Path, pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """Drift of stage two is comparable to that of stage one, and stage one again from another base is not."""
    one = train(config(pico_folder, corpora, tmp_path, name="one", budget={"steps": 2}))
    two = train(stage_two(start, pico_folder, corpora, tmp_path, name="two"))
    alone = train(config(start, corpora, tmp_path, name="alone", budget={"steps": 2}))
    assert "kl_base_tuned" in compare_runs(two.run_dir, one.run_dir, "general")
    assert "kl_base_tuned" not in compare_runs(two.run_dir, alone.run_dir, "general")
    assert len(collect([one.run_dir, two.run_dir]).runs) == 2
    with pytest.raises(RunError, match="different base models"):
        collect([two.run_dir, alone.run_dir])


@EVERY
def test_wise_goes_back_to_where_training_started(
    lora: Any, start: Path, pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    method = ["mol", {"name": "wise", "alpha": 0.0}]
    found = train(stage_two(start, pico_folder, corpora, tmp_path, lora=lora, method=method))
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        began = AutoModelForCausalLM.from_pretrained(start, dtype=torch.float32).eval()(ids).logits
        model = open_run(found.run_dir)[1].model.eval()
        assert torch.allclose(model.network(ids).logits, began, atol=1e-5)
    drift = [r["value"] for r in found.summary if r["metric"] == "kl_base_tuned"]
    assert min(drift) > 0.01


def test_a_base_that_is_the_model_is_no_other(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    plain = with_absolute_paths(config(pico_folder, corpora, tmp_path))
    assert ModelSection(path="m", revision="v1", base="m", base_revision="v1") == ModelSection(path="m", revision="v1")
    assert ModelSection(path="m", revision="v1", base="m").of_base.revision is None  # another commit is another model
    there = pico_folder.parent / "x" / ".." / pico_folder.name
    (pico_folder.parent / "x").mkdir(exist_ok=True)
    named = config(pico_folder, corpora, tmp_path, model={"base": str(there)})
    assert named.model.base is not None
    assert with_absolute_paths(named) == plain


def test_validate_says_that_the_base_is_in_memory(
    start: Path, pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    one, two = (
        validate(stage_two(start, pico_folder, corpora, tmp_path, lora=LORA, **changes))
        for changes in ({}, {"model": {"base": None}})
    )
    (note,) = [note for note in one.warnings if note.startswith("model.base: ")]
    assert [part for part in (str(pico_folder), str(start), "from the first step on") if part not in note] == []
    assert not any("model.base" in note for note in two.warnings)
    assert one.memory_bytes - two.memory_bytes >= 4 * one.total_parameters - 1e6


def test_what_cannot_be_a_base(start: Path, pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(stage_two(start, pico_folder, corpora, tmp_path).model_dump(mode="json")))
    with pytest.raises(ConfigError, match="base_revision has no effect without base"):
        load_config(path, ["model.base=null", "model.base_revision=main"])
    with pytest.raises(ConfigError, match=r"model\.base_revision: has no effect on a local model"):
        validate(load_config(path, ["model.base_revision=main"]))
    with pytest.raises(ModelError, match=r"^model\.base: .*nowhere"):
        validate(load_config(path, [f"model.base={tmp_path}/nowhere"]))
    other = save_pico(tmp_path / "other")
    tokenizer = pico_tokenizer()
    tokenizer.add_tokens(["<|tool|>"])
    tokenizer.save_pretrained(other)
    for verb in (validate, train):
        with pytest.raises(ModelError, match=r"^model\.base: .*another vocabulary .*'<\|tool\|>'"):
            verb(load_config(path, [f"model.base={other}"]))  # type: ignore[operator]
    assert not (tmp_path / "run" / "model").exists()
