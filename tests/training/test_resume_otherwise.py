"""What may differ between the first half of a run and its second: every key of the schema, and versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from acclimate.config.apart import FREE_ON_RESUME, marks
from acclimate.config.explain import section_paths
from acclimate.config.load import save_config
from acclimate.config.schema import RunConfig
from acclimate.runs import provenance
from acclimate.runs.beginning import differences_from
from acclimate.runs.claim import check_run_dir
from acclimate.types.errors import UsageError
from acclimate.verbs.run import train
from tests.fixtures.runs import config, killed_after, lines, settings, weights

FREE: dict[str, tuple[Any, str]] = {
    "report_to": (["tensorboard"], "where metrics also go"),
    "data.cache_dir": ("elsewhere", "where prepared corpora lie"),
    "model.device": ("auto", "order of sums"),
    "objective.chunk_tokens": (64, "order of sums"),
    "training.micro_batch_size": (1, "order of sums"),
    "training.gradient_checkpointing": (True, "what is kept between forward and backward"),
    "training.save_steps": (5, "what is kept"),
    "training.keep_last": (3, "what is kept"),
    "training.save_in_background": (False, "who waits for the disk"),
    "parallel": ({"strategy": "fsdp"}, "order of sums"),
    "evaluation.documents": (3, "measured after the last step"),
    "evaluation.generations": (0, "measured after the last step"),
    "evaluation.max_new_tokens": (5, "measured after the last step"),
    "evaluation.memorisation_documents": (3, "measured after the last step"),
    "evaluation.overlap_ngram": (9, "counted, not used"),
}
REFUSED: dict[str, tuple[Any, str]] = {
    "seed": (1, "the order of documents"),
    "data.overlap": ("drop", "which documents are held out"),
    "evaluation.sequence_length": (64, "what is measured while training, which choices look at"),
    "evaluation.overlap": (8, "what is measured while training, which choices look at"),
    "method": ("sft", "what is learned"),
    "lora": ({"rank": 4}, "which weights are learned"),
    "model.path": ("elsewhere", "an input"),
    "model.revision": ("main", "which weights the base has"),
    "model.base": ("elsewhere", "an input, which KL is measured against"),
    "model.add_tokens": (["kidney"], "which tokens a text is"),
    "model.trust_remote_code": (True, "which program computes the base"),
    "model.dtype": ("bfloat16", "how weights are rounded"),
    "model.train": (["model.layers.1"], "which weights are learned"),
    "model.attention": ("eager", "some families compute something else, as without a softcap"),
    "objective.normalise": ("all", "the loss"),
    "objective.average": ("sequence", "the loss"),
    "objective.router_aux_loss": (0.1, "the loss"),
    "optimizer.name": ("adafactor", "the steps"),
    "optimizer.learning_rate": (1e-4, "the steps"),
    "optimizer.embedding_learning_rate": (1e-4, "the steps"),
    "optimizer.weight_decay": (0.1, "the steps"),
    "optimizer.betas": ([0.8, 0.9], "the steps"),
    "optimizer.eps": (1e-6, "the steps"),
    "optimizer.max_grad_norm": (2.0, "the steps"),
    "schedule.type": ("linear", "the steps"),
    "schedule.warmup_steps": (2, "the steps"),
    "schedule.warmup_ratio": (0.2, "the steps"),
    "schedule.min_ratio": (0.1, "the steps"),
    "schedule.decay_ratio": (0.3, "the steps"),
    "mixture": ({"ramp": {"start": 0.1, "until": 0.5}}, "the rows of a step"),
    "budget.count": ("general", "how far training goes"),
    "budget.steps": (9, "how far training goes, and the schedule with it"),
    "budget.tokens": (999, "how far training goes, and the schedule with it"),
    "budget.epochs": (1.0, "how far training goes, and the schedule with it"),
    "budget.batch_tokens": (256, "the rows of a step"),
    "data.sequence_length": (64, "the rows"),
    "data.split_seed": (1, "which documents are held out"),
    "data.split": ("validation", "which documents are held out"),
    "training.eval_steps": (2, "among which weights the best are chosen"),
    "retain": ({"kl": 0.05}, "how much may be forgotten: another budget is another run"),
    "training.final": ("best", "which weights are the model"),
    "training.patience": (3, "when training ends"),
    "evaluation.validation_documents": (2, "which documents choices look at"),
    "evaluation.training_documents": (3, "a curve, and a best, over other documents"),
    "sources.domain.path": ("elsewhere", "an input"),
}
ONLY_WITH_OTHERS = {
    "version": "there is one",
    "name": "names the folder that is resumed",
    "output_dir": "names the folder that is resumed",
    "model.base_revision": "refused: which weights the base has",
    "model.quantization": "refused: how weights are rounded",
    "model.dequantize": "refused: how weights are rounded",
    "objective.logits_dtype": "refused: how logits are rounded",
    "optimizer.no_decay": "refused: the steps; it needs weight_decay",
    "optimizer.momentum": "refused: the steps; it needs name: muon",
    "training.on_budget_exceeded": "refused: what becomes of a run; it needs retain",
    "search": "refused: what is chosen; it needs method: auto",
}


def every_key() -> set[str]:
    keys = set()
    for path, section in section_paths(RunConfig).items():
        if not path.startswith(
            ("lora", "mixture", "parallel", "retain", "search", "sources.")
        ):  # refused, free and refused as a whole
            keys |= {f"{path}.{name}".lstrip(".") for name in section.model_fields}
    return keys - {
        path
        for path in keys
        if path in section_paths(RunConfig) and path not in ("lora", "mixture", "parallel", "retain", "search")
    }


def test_every_key_has_a_reason() -> None:
    here = {*FREE, *REFUSED, *ONLY_WITH_OTHERS} - {"sources.domain.path"}
    assert here == every_key() - {"sources"}
    marked = {path for path, mark in marks(RunConfig).items() if mark in FREE_ON_RESUME}
    assert marked == {*FREE, "name", "output_dir"}
    inside = {path for path in marks(RunConfig) if path.startswith(("lora.", "sources."))}
    inputs = {"path", "replay.prompts", "replay.prefixes"}
    assert inside == {f"sources.*.{name}" for name in inputs}  # every other setting of a source is refused


def otherwise(path: str, value: Any, pico: Path, corpora: Path, folder: Path) -> tuple[RunConfig, RunConfig]:
    """A run, and the same with another value at ``path``."""
    changes: dict[str, Any] = {"schedule": {"type": "wsd"}, "training": {"micro_batch_size": 2, "save_steps": 2}}
    changes["evaluation"] = {"documents": 4}
    if path in ("training.final", "training.patience", "retain"):
        changes["training"] |= {"eval_steps": 3}
        changes["evaluation"] |= {"validation_documents": 1}
    plain = settings(pico, corpora, folder, **changes)
    other = json.loads(json.dumps(plain))
    *sections, last = path.split(".")
    place = other
    for name in sections:
        place = place.setdefault(name, {})
    place[last] = value
    if path in ("budget.tokens", "budget.epochs"):
        del other["budget"]["steps"]
    return RunConfig.model_validate(plain), RunConfig.model_validate(other)


@pytest.mark.parametrize("path", [*FREE, *REFUSED])
def test_each_key_is_refused_or_free(path: str, pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    value = (FREE | REFUSED)[path][0]
    began, now = otherwise(path, value, pico_folder, corpora, tmp_path)
    assert began != now
    save_config(began, began.run_dir / "config.yaml")
    if path in FREE:
        check_run_dir(now, resume=True)
    else:
        assert any(told.startswith(f"{path}: ") or told.startswith(f"{path}.") for told in differences_from(now))
        with pytest.raises(UsageError, match="began with another configuration; it differs at "):
            check_run_dir(now, resume=True)


def test_a_run_goes_on_with_all_that_is_free(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after running out of memory, on another machine; the weights are equal up to the order of sums."""
    training = {"micro_batch_size": 4, "save_steps": 2}
    straight = train(config(pico_folder, corpora, tmp_path, name="straight", training=training))
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "versions", lambda: {"torch": "1.0", "python": "3"})
        killed_after(3, config(pico_folder, corpora, tmp_path, training=training))
    other = {"micro_batch_size": 1, "gradient_checkpointing": True, "save_steps": 1, "keep_last": 1}
    otherwise = config(
        pico_folder,
        corpora,
        tmp_path,
        training=other,
        objective={"chunk_tokens": 32},
        model={"device": "auto"},
        evaluation={"generations": 1, "memorisation_documents": 0},
    )
    console = Console(record=True, width=10_000)
    resumed = train(otherwise, resume=True, console=console)
    said = console.export_text()
    assert "Note: " in said
    assert "training.micro_batch_size: 4 then, 1 now" in said
    assert "up to the order of sums" in said
    assert "evaluation.generations: 2 then, 1 now" in said
    assert "trained so far with python 3, torch 1.0; it goes on with python 3." in said
    one, two = weights(straight.run_dir), weights(resumed.run_dir)
    assert all(torch.allclose(one[name], two[name], atol=2e-6) for name in one)
    assert not all(torch.equal(one[name], two[name]) for name in one)  # or nothing was done otherwise
    losses = [[line["loss"] for line in lines(run.run_dir)] for run in (straight, resumed)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert [path.name for path in (resumed.run_dir / "checkpoints").glob("step-*")] == ["step-00000006"]
    assert len(json.loads((resumed.run_dir / "generations.json").read_text())["answers"]) == 1
    kept = json.loads((resumed.run_dir / "provenance.json").read_text())["sessions"]
    assert [(session["step"], session["versions"]["torch"]) for session in kept] == [(0, "1.0"), (2, torch.__version__)]
    # finished, it says that nothing of it has an effect any more
    console = Console(record=True, width=10_000)
    train(config(pico_folder, corpora, tmp_path, training=training), resume=True, console=console)
    assert "nothing to do. What differs has no effect any more: " in console.export_text()
