"""One family, tuned in full or with LoRA as a user would, and what of it holds beside plain transformers and PEFT."""

from __future__ import annotations

import json
import shutil
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import transformers
from benchmarks.tiny.likeness import apart, digests, error, logits, nats_alone, patterns, unlike
from benchmarks.tiny.reach import reached
from benchmarks.tiny.sizes import ROW
from rich.console import Console
from torch import Tensor

from acclimate import export, parse_config, train, validate
from acclimate.runs.layout import Layout
from acclimate.runs.scores import read_lines
from acclimate.types.errors import AcclimateError
from acclimate.verbs import run as verb

MODES = ("full", "lora")
STEPS, STOPPED = 3, 2
EVERY = 120
"""Tokens of a text that is long enough to reach every expert."""
Row = dict[str, Any]


def settings(checkpoint: Path, inputs: Path, output: Path, mode: str) -> dict[str, Any]:
    """As small a run as shows everything; weight decay, so that frozen tensors that are not left alone move."""
    sources = {
        name: {"path": str(inputs / f"{name}.jsonl"), "share": 0.5, "heldout": 4} for name in ("domain", "general")
    }
    return {
        "name": mode,
        "output_dir": str(output),
        "model": {"path": str(checkpoint), "dtype": "float32", "device": "cpu"},
        "method": "mol",
        "sources": sources,
        "budget": {"steps": STEPS, "batch_tokens": 128},
        "optimizer": {"learning_rate": 3e-3, "weight_decay": 0.1},
        "data": {"sequence_length": ROW, "cache_dir": str(inputs / "cache")},
        "training": {"micro_batch_size": 2, "save_steps": STOPPED},
        "evaluation": {"generations": 1, "max_new_tokens": 4, "memorisation_documents": 0},
    } | ({"lora": {"rank": 4, "alpha": 8}} if mode == "lora" else {})


@dataclass
class Plain:
    """The base as plain transformers loads it."""

    kind: Any
    network: Any
    tokenizer: Any

    @classmethod
    def of(cls, checkpoint: Path) -> Plain:
        name = json.loads((checkpoint / "config.json").read_text())["architectures"][0]
        kind = getattr(transformers, name)
        tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
        return cls(kind, loaded(kind, checkpoint), tokenizer)


def loaded(kind: Any, folder: Path) -> Any:
    """In evaluation.

    Raises:
        ValueError: tensors are missing, which transformers would make up, or have no place.
    """
    network, found = kind.from_pretrained(folder, local_files_only=True, output_loading_info=True, dtype=torch.float32)
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if found[what]:
            raise ValueError(f"{what.replace('_', ' ')}: {patterns(map(str, found[what]))}")
    return network.eval()


def with_adapter(base: Any, folder: Path) -> Any:
    from peft import PeftModel

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        peft = PeftModel.from_pretrained(base, str(folder)).eval()
    if lost := [str(warning.message) for warning in told if "adapter keys" in str(warning.message)]:
        raise ValueError(lost[0][:300])
    return peft


@dataclass
class Seen:
    """The trained network in memory, before it is written."""

    logits: Tensor | None = None
    tensors: dict[str, Tensor] = field(default_factory=dict)
    trained: set[str] = field(default_factory=set)
    about: Row = field(default_factory=dict)

    def look(self, model: Any) -> None:
        network = model.network
        with model.inference():
            self.logits = logits(network)
        self.tensors = {
            name.replace(".base_layer", ""): value
            for name, value in network.state_dict().items()
            if "lora_" not in name
        }
        self.trained = {name for name, value in network.named_parameters(remove_duplicate=False) if value.requires_grad}
        self.about = {
            "loaded_as": type(network).__name__,
            "attention": getattr(model, "attention", network.config._attn_implementation),
            "rows": "packed" if getattr(model, "alone", None) is None else "alone",
            "why_alone": getattr(model, "alone", None),
        }
        if model.peft is not None:
            self.about["reach"] = reached(model)


@contextmanager
def watched() -> Iterator[Seen]:
    seen, save = Seen(), verb.save_model

    def look(model: Any, *arguments: Any, **options: Any) -> Any:
        seen.look(model)
        return save(model, *arguments, **options)

    with patch.object(verb, "save_model", look):
        yield seen


def attempt(task: Any, *arguments: Any, **options: Any) -> Row:
    """``{}``, or the sentence that refused it, or where its traceback ends."""
    try:
        task(*arguments, **options)
    except AcclimateError as refusal:
        return {"refused": str(refusal)[:600]}
    except Exception as failure:
        frames = traceback.extract_tb(failure.__traceback__)
        ours = [frame for frame in frames[:-4] if "/acclimate/" in frame.filename][-2:]
        places = [
            f"{'/'.join(frame.filename.split('/')[-3:])}:{frame.lineno} {frame.name}" for frame in (*ours, *frames[-4:])
        ]
        return {"traceback": f"{type(failure).__name__}: {str(failure)[:400]}", "where": places}
    return {}


def tried(family: str, mode: str, checkpoint: Path, inputs: Path, output: Path, plain: Plain) -> Row:
    """A row of results.

    ==========  ===================================================================================================
    validate    absent where it accepts the run
    refused     or ``traceback``: the run did not train
    kl          nats at step 0
    alone       largest relative difference of held-out nats and a plain forward of the document: base, tuned
    touched     frozen tensors that are not bitwise the base's, and trained ones that moved without a gradient
    resume      absent where weights are bitwise those of the run that was not stopped
    exports     kind -> what is unlike the source, and how far the reloaded logits are from the run's
    ==========  ===================================================================================================
    """
    started = time.perf_counter()
    row: Row = {"family": family, "mode": mode, "class": plain.kind.__name__}
    config = parse_config(settings(checkpoint, inputs, output, mode))
    shutil.rmtree(config.run_dir, ignore_errors=True)
    if said := attempt(validate, config):
        row["validate"] = said
    with watched() as seen:
        failed = attempt(train, config, console=Console(quiet=True))
    row |= seen.about | failed
    if not failed and seen.logits is not None:
        run = Layout(config.run_dir)
        first = read_lines(run.metrics)[0]
        row["kl"] = max(abs(value) for key, value in first.items() if key.startswith("loss/") and "kl" in key)
        row["moved"] = apart(logits(plain.network), seen.logits)
        base = nats_alone(plain.network, plain.tokenizer, run.path)
        row["alone"] = {"base": error(base, run.path, "base_nats")}
        row["touched"] = touched(plain.network, seen)
        for kind in ("whole",) if mode == "full" else ("adapter", "merged"):
            row.setdefault("exports", {})[kind] = exported(kind, row, run, checkpoint, output / kind, seen, plain)
        if said := attempt(resume, config, run):
            row["resume"] = said
    return row | {"seconds": round(time.perf_counter() - started, 1)}


def touched(base: Any, seen: Seen) -> list[str]:
    """Frozen tensors and buffers that training changed, and what it changed although no text reaches it."""
    before = base.state_dict()
    if other := seen.tensors.keys() ^ before.keys():
        return [f"other names: {patterns(other)}"]
    base(input_ids=torch.arange(1, 300)[None, :EVERY], use_cache=False).logits.square().mean().backward()
    reached = {name for name, value in base.named_parameters(remove_duplicate=False) if value.grad is not None}
    base.zero_grad(set_to_none=True)
    moved = {name for name, value in before.items() if not torch.equal(value, seen.tensors[name])}
    return patterns(moved - (reached & seen.trained))


def exported(kind: str, row: Row, run: Layout, source: Path, folder: Path, seen: Seen, plain: Plain) -> Row:
    """What an export is unlike, and whether plain transformers or PEFT answers as the run did."""
    shutil.rmtree(folder, ignore_errors=True)
    if said := attempt(export, run.path, folder, merge=kind == "merged"):
        return said
    found: Row = {} if kind == "adapter" else {"unlike": unlike(source, folder)}

    def reload() -> None:
        assert seen.logits is not None
        again = with_adapter(loaded(plain.kind, source), folder) if kind == "adapter" else loaded(plain.kind, folder)
        found["logits"] = apart(seen.logits, logits(again))
        if kind != "adapter":
            row["alone"]["tuned"] = error(nats_alone(again, plain.tokenizer, run.path), run.path, "nats")

    said = attempt(reload)
    return {key: value for key, value in found.items() if value != {}} | ({"reload": said} if said else {})


def resume(config: Any, run: Layout) -> None:
    """The run again from the checkpoint after step 2, as if it had been stopped there.

    Raises:
        ValueError: the weights are others.
    """
    whole = digests(run.model)
    shutil.rmtree(run.model)
    run.summary.unlink()
    shutil.rmtree(run.checkpoint(STEPS))
    train(config, resume=True, console=Console(quiet=True))
    if len(read_lines(run.metrics)) != STEPS:
        raise ValueError(f"{len(read_lines(run.metrics))} steps are recorded instead of {STEPS}")
    if digests(run.model) != whole:
        raise ValueError("the weights differ from those of the run that was not stopped")
