"""Wrong inputs and what the sentence says that each gets, through the command line; ``…`` are words in between."""

# ruff: noqa: E501 (sentences stand on one line)

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from acclimate.cli import main
from acclimate.disk.digest import sha256_of
from acclimate.methods.registry import METHODS
from acclimate.stores.store import write_store
from acclimate.types.errors import listed
from tests.fixtures.panels import RUN_BASE, answers, texts, write_panel
from tests.fixtures.pico import pico_model, pico_tokenizer
from tests.fixtures.runs import settings
from tests.fixtures.sentences import says
from tests.gates.runs import scored_run, sign
from tests.reports.runs import add_memorisation, add_panel

Edit = Callable[[dict[str, Any], Path], None]


def put(path: str, value: Any) -> Edit:
    def edit(data: dict[str, Any], folder: Path) -> None:
        *parents, leaf = path.split(".")
        for name in parents:
            data = data.setdefault(name, {})
        data[leaf] = value

    return edit


def drop(path: str) -> Edit:
    def edit(data: dict[str, Any], folder: Path) -> None:
        *parents, leaf = path.split(".")
        for name in parents:
            data = data[name]
        del data[leaf]

    return edit


def domain_file(name: str, content: bytes | str) -> Edit:
    def edit(data: dict[str, Any], folder: Path) -> None:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        data["sources"]["domain"]["path"] = str(folder / name)

    return edit


def both(*edits: Edit) -> Edit:
    def edit(data: dict[str, Any], folder: Path) -> None:
        for one in edits:
            one(data, folder)

    return edit


def pipe(data: dict[str, Any], folder: Path) -> None:
    os.mkfifo(folder / "pipe.jsonl")
    data["sources"]["domain"]["path"] = str(folder / "pipe.jsonl")


def link(data: dict[str, Any], folder: Path) -> None:
    (folder / "link.jsonl").symlink_to("nowhere")
    data["sources"]["domain"]["path"] = str(folder / "link.jsonl")


def broken_model(*changes: Callable[[Path], object]) -> Edit:
    """The pico model, copied to {F}/model and changed there."""

    def edit(data: dict[str, Any], folder: Path) -> None:
        shutil.copytree(data["model"]["path"], folder / "model")
        for change in changes:
            change(folder / "model")
        data["model"]["path"] = str(folder / "model")

    return edit


def file(name: str, content: str) -> Callable[[Path], object]:
    return lambda model: (model / name).write_text(content)


def config_json(**changes: Any) -> Callable[[Path], None]:
    def change(model: Path) -> None:
        document = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(document | changes))

    return change


def cut(name: str, part: float) -> Callable[[Path], None]:
    def change(model: Path) -> None:
        content = (model / name).read_bytes()
        (model / name).write_bytes(content[: int(len(content) * part)])

    return change


def remove(*names: str) -> Callable[[Path], None]:
    def change(model: Path) -> None:
        for name in names:
            (model / name).unlink()

    return change


def pickles(model: Path) -> None:
    """A pickle that would make a folder were it ever loaded."""
    (model / "model.safetensors").unlink()
    payload = f"cos\nsystem\n(S'mkdir -p {model.parent}/runs/run-was-pickled'\ntR."
    (model / "pytorch_model.bin").write_bytes(payload.encode())


def shards(model: Path) -> None:
    (model / "model.safetensors").unlink()
    pico_model().save_pretrained(model, max_shard_size="20KB")
    (model / "model-00002-of-00006.safetensors").unlink()


def added_tokens(model: Path) -> None:
    tokenizer = pico_tokenizer()
    tokenizer.add_tokens(["<new>", "<newer>"])
    tokenizer.save_pretrained(model)


def wider(model: Path) -> None:
    pico_model(vocab_size=264).save_pretrained(model)


def other_expert(change: Callable[[Path], None]) -> Edit:
    """An expert in {F}/expert: the pico model, changed."""

    def edit(data: dict[str, Any], folder: Path) -> None:
        shutil.copytree(data["model"]["path"], folder / "expert")
        change(folder / "expert")
        data["method"] = {"name": "dae", "expert": str(folder / "expert")}

    return edit


def begun_expert(data: dict[str, Any], folder: Path) -> None:
    (folder / "begun").mkdir()
    (folder / "begun" / "config.yaml").write_text(yaml.safe_dump(data))
    data["method"] = {"name": "dae", "expert": str(folder / "begun")}


def gguf(content: bytes) -> Edit:
    def edit(data: dict[str, Any], folder: Path) -> None:
        (folder / "m.gguf").write_bytes(content)
        data["model"]["path"] = str(folder / "m.gguf")

    return edit


SECRET = (
    "{C}:10: sources.domain.path: a URL with a user, password or query …; give the bare URL …: in environment variables (AWS_ACCESS_KEY_ID, "
    "GOOGLE_APPLICATION_CREDENTIALS, HF_TOKEN, FSSPEC_S3_KEY) or in ~/.config/fsspec/."
)

LAYERS = "the linear layers of this model are called down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj or v_proj"
KNOWN = f"accepted: {listed(METHODS)}."
GOOD = "".join(json.dumps({"text": f"A good line number {i}."}) + "\n" for i in range(12))

# (edit, the sentence with {F} for the folder and {C} for the configuration file, exit code)
TABLE: dict[str, tuple[Edit, str, int]] = {
    "unknown section": (put("optimzer", {}), "{C}:36: optimzer: there is no such key. Did you mean 'optimizer'?", 3),
    "unknown key": (
        put("optimizer.learning_rat", 1),
        "{C}:27: optimizer.learning_rat: there is no such key. Did you mean 'learning_rate'?", 3,
    ),
    "another trainer's name": (
        put("training.per_device_train_batch_size", 4),
        "{C}:32: training.per_device_train_batch_size: there is no such key. Here it is called 'training.micro_batch_size'.", 3,
    ),
    "key in the wrong section": (
        put("model.rslora", True), "{C}:7: model.rslora: there is no such key. It belongs at 'lora.rslora'.", 3,
    ),
    "missing model": (drop("model"), "{C}: model: is required and missing.", 3),
    "missing path": (
        drop("sources.domain.path"),
        "{C}:9: sources.domain.path: is required and missing. …", 3,
    ),
    "no sources": (put("sources", {}), "{C}:8: sources: is empty.", 3),
    "wrong literal": (
        put("schedule", {"type": "cosin"}),
        "{C}:37: schedule.type: 'cosin' is not accepted; accepted: cosine, linear, constant or wsd. Did you mean 'cosine'?", 3,
    ),
    "share above 1": (
        put("sources.domain.share", 50),
        "{C}:11: sources.domain.share: 50 is not accepted; accepted: a part from 0 to 1, stages …, or auto.", 3,
    ),
    "text for a number": (
        put("optimizer.learning_rate", "fast"),
        "{C}:26: optimizer.learning_rate: 'fast' is not a number. …", 3,
    ),
    "two budgets": (
        put("budget.tokens", 5), "{C}:22: budget: needs exactly one of tokens, steps or epochs, got tokens and steps.", 3,
    ),
    "an output folder that cannot be": (
        lambda data, folder: data.update(output_dir=str(folder / "c.yaml" / "runs")),
        "{C}:2: output_dir: '{C}/runs' cannot be written …", 3,
    ),
    "budget counts nothing": (
        put("budget.count", "domian"),
        "{C}:25: budget.count is 'domian', which is no source; accepted: domain, general, chat or all. Did you mean 'domain'?", 3,
    ),
    "budget counts an unused source": (
        both(put("method", "sft"), put("budget.count", "general")),
        "{C}:25: budget.count: 'general' is not trained on by this method; count domain or all.", 3,
    ),
    "batch smaller than a row": (
        put("budget.batch_tokens", 50),
        "{C}:24: budget.batch_tokens is 50, but one packed row may hold 96 trained tokens; set it to at least "
        "data.sequence_length (96), or shorten the rows.", 3,
    ),
    "unknown method": (put("method", "moll"), "{C}:7: method: there is no method 'moll'; " + KNOWN + " Did you mean 'mol'?", 3),
    "unknown method setting": (
        put("method", {"name": "mol", "kl_wieght": 2}), "{C}:9: method.kl_wieght: there is no such key. Did you mean 'kl_weight'?", 3,
    ),
    "wrong method setting": (
        put("method", {"name": "mol", "direction": "reversed"}),
        "{C}:9: method.direction: 'reversed' is not accepted; accepted: reverse, forward or js. Did you mean 'reverse'?", 3,
    ),
    "negative weight": (
        put("method", {"name": "l2", "weight": -1}),
        "{C}:9: method.weight: -1 should be greater than or equal to 0. (of the squared distance; 0 is sft bitwise [ours: default])", 3,
    ),
    "clashing methods": (
        put("method", ["sft", "replay"]),
        "{C}:7: method: 'replay' wants cross_entropy on domain or general, another … on domain; … use one of them.", 3,
    ),
    "route that no term looks at": (
        put("sources.chat.route", "genral"),
        "{C}:17: sources.chat: its route is 'genral', which no loss term of 'mol' looks at; give it route: domain or general, … Did you mean 'general'?", 3,
    ),
    "no general source": (
        both(drop("sources.general"), drop("sources.chat")),
        "{C}:7: method: 'mol' learns reverse_kl from route 'general', but no token is on it; the sources are 'domain' (route domain). "
        "Name a source 'general' or set its route: general. … sources.general: self has the base write it; …", 3,
    ),
    "no share for general text": (
        both(put("sources.general.share", 0), drop("sources.chat")),
        "{C}:7: method: 'mol' learns reverse_kl … but no token is on it; … Give sources.general.share more than 0, …", 3,
    ),
    "names of its own": (
        both(put("sources.chat.route", "talk"), put("sources.general.route", "wiki")),
        "{C}:…: sources.general: its route is 'wiki', … give it route: domain or general, … So it is with sources.chat ('talk').", 3,
    ),
    "unknown term": (
        both(drop("sources.chat"), put("sources.general.terms", {"kl": 1.0})),
        "{C}:17: sources.general.terms: there is no loss term 'kl'; accepted: cross_entropy, reverse_kl, forward_kl or js.", 3,
    ),
    "terms on a shared route": (
        put("sources.general.terms", {"js": 1.0}),
        "{C}:17: sources.general.terms: the route 'general' is shared with sources.chat; leave route out, …", 3,
    ),
    "a negative tau": (put("method", {"name": "talr", "tau": -1}), "{C}:9: method.tau: -1.0 is neither a number above 0 nor batch, median or lower_median.", 3),
    "a tau that is no number": (put("method", {"name": "talr", "tau": "mean"}), "{C}:9: method.tau: 'mean' is neither a number above 0 nor batch, median or lower_median. Did you mean 'median'?", 3),
    "a floor above 1": (put("method", {"name": "talr", "w_min": 2}), "{C}:9: method.w_min: 2 should be less than or equal to 1. …", 3),
    "a percentile out of range": (put("method", {"name": "stm", "percentile": 120}), "{C}:9: method.percentile: 120 should be less than or equal to 100. …", 3),
    "a perplexity below 1": (put("method", {"name": "stm", "threshold": 0.5}), "{C}:9: method.threshold: 0.5 should be greater than or equal to 1. (a perplexity of the base; 2.5 in the paper)", 3),
    "threshold and percentile": (put("method", {"name": "stm", "threshold": 2.5, "percentile": 80}), "{C}:7: method: stm needs exactly one of threshold (2.5 in the paper, for answers of chat models) and percentile (for raw text), got threshold and percentile.", 3),
    "neither threshold nor percentile": (put("method", ["mol", "stm"]), "{C}:9: method.1: stm needs exactly one of threshold (2.5 in the paper, for answers of chat models) and percentile (for raw text), got none.", 3),
    "labels chosen from a stream": (
        both(put("method", {"name": "stm", "percentile": 80}), put("sources.domain.streaming", True)), "{C}:15: sources.domain.streaming: … scores every label … before training, … leave streaming out.", 3,
    ),
    "no expert": (put("method", "dae"), "{C}:7: method.expert: is required and missing. …", 3),
    "an expert that is not there": (put("method", {"name": "dae", "expert": "./none"}), "method.expert: './none' is no model folder or .gguf file; … a .gguf file, or a hub id such as 'HuggingFaceTB/SmolLM2-135M-Instruct'.", 1),
    "an expert that is not finished": (begun_expert, "method.expert: the run '{F}/begun' has no model/ yet: it is not finished.", 1),
    "an expert of another vocabulary": (other_expert(added_tokens), "method.expert: '{F}/expert' has another vocabulary than '{M}' (first at '<new>'), … same tokenizer.", 1),
    "an expert with more logits": (other_expert(wider), "method.expert: '{F}/expert' has 264 logits, the model 259; a divergence needs the same vocabulary.", 1),
    "no temperature": (put("method", {"name": "dae", "expert": "x", "temperature": 0}), "{C}:10: method.temperature: 0 should be greater than 0. (T, of teacher and student)", 3),
    "an alpha outside": (put("method", {"name": "wise", "alpha": 1.5}), "{C}:9: method.alpha: 1.5 is not in [0, 1], from the base to the tuned weights.", 3),
    "an alpha of a list outside": (put("method", {"name": "wise", "alpha": [0.5, -0.1]}), "{C}:9: method.alpha: -0.1 is not in [0, 1], from the base to the tuned weights.", 3),
    "no alpha": (put("method", {"name": "wise", "alpha": []}), "{C}:9: method.alpha: is an empty list; accepted: a number in [0, 1], or several to choose from.", 3),
    "alphas without documents to choose by": (put("method", {"name": "wise", "alpha": [0.5, 1.0]}), "{C}:7: method: wise … a list of alphas … set evaluation.validation_documents, or … a single alpha.", 3),
    "a rule for a single alpha": (put("method", {"name": "wise", "alpha": 0.5, "max_general_rise": 0.1}), "{C}:7: method: max_general_rise has no effect on a single alpha; … list …", 3),
    "validation that leaves nothing to report": (put("evaluation.validation_documents", 4), "{C}:36: evaluation.validation_documents: 4 leaves none of the 4 held-out documents of 'domain' to report; … (sources.domain.heldout).", 3),
    "validation without the domain": (
        both(put("evaluation.validation_documents", 2), put("sources.domain.heldout", 0)), "{C}:36: evaluation.validation_documents: a choice is judged by held-out text of the domain, but no source of role domain holds any out; set sources.NAME.heldout, or role: domain.", 3,
    ),
    "two weightings": (put("method", ["talr", "dft"]), "{C}:7: method: talr and dft both weigh the tokens …; use one of them.", 3),
    "a weighting twice": (put("method", ["asft", "dft"]), "{C}:7: method: asft and dft both weigh the tokens …; use one of them.", 3),
    "an interpolation twice": (put("method", ["sft", "wise", {"name": "wise", "alpha": 0.3}]), "{C}:7: method: 'wise' is listed twice; keep one.", 3),
    "a weighting of nothing": (put("method", [{"name": "dae", "expert": "x"}, "dft"]), "{C}:7: method: 'dae+dft' weighs the tokens of the cross-entropy, but there is none: …", 3),
    "labels chosen for nothing": (put("method", [{"name": "dae", "expert": "x"}, {"name": "stm", "percentile": 80}]), "{C}:7: method: 'dae+stm' chooses the labels of the cross-entropy, but there is none: …", 3),
    "two anchors on the domain": (put("method", ["asft", {"name": "dae", "expert": "x"}]), "{C}:7: method: 'dae' wants forward_kl on domain, another … on domain; … use one of them.", 3),
    "another version": (put("version", 2), "{C}:36: version: this file is of version 2; this acclimate reads version 1.", 3),
    "bad name": (put("name", "a/b"),
        """{C}:1: name: 'a/b' is not accepted; accepted: letters, digits, '.', '_' and '-'.""", 3,
    ),
    "best of nothing": (
        put("training.final", "best"), "{C}:30: training: final: best needs eval_steps, …", 3,
    ),
    "missing data": (put("sources.domain.path", "no/such.jsonl"),
        """sources.domain.path: 'no/such.jsonl' matches no file or folder (looked from {CWD}); if it is a hub id, name its sources.domain.split.""", 1,
    ),
    "bad json": (domain_file("bad.jsonl", GOOD + '{"text": "x"\n'),
        "{F}/bad.jsonl:13: this is not JSON: Expecting ',' delimiter (column 13); a .jsonl file holds one JSON object a line; sources.domain.on_bad_row: skip …", 1,
    ),
    "no known field": (domain_file("odd.jsonl", GOOD + '{"body": "x"}\n'),
        "{F}/odd.jsonl:13: this record has no field to learn from: it has 'body'; accepted: 'text', 'messages', or 'prompt' and 'completion'; other names go into sources.domain.fields, like {{text: body}}; sources.domain.on_bad_row: skip …", 1,
    ),
    "wrong type": (domain_file("type.jsonl", GOOD + '{"text": 5}\n'),
        "{F}/type.jsonl:13: 'text' must be a string, not a number; sources.domain.on_bad_row: skip …", 1,
    ),
    "not utf-8": (domain_file("latin.txt", "caf\xe9".encode("latin-1")),
        "{F}/latin.txt:1: byte 3 (0xe9) is not UTF-8; … UTF-8 text; sources.domain.on_bad_row: skip …", 1,
    ),
    "unknown extension": (domain_file("data.jsom", b"[]"),
        """sources.domain.path: '{F}/data.jsom' is a file of type '.jsom'; accepted: .txt, .md, .jsonl, .json, .csv, .tsv, .parquet, .html, .htm, .pdf or .docx, all but .parquet also with .gz or .zst. Did you mean '.json'?""", 1,
    ),
    "a broken array": (domain_file("data.json", b'[{"text": "a"},\n {"text" "b"}]'),
        "{F}/data.json:2: this is not JSON: expecting ':' delimiter; mend the file.", 1,
    ),
    "pairs without one": (put("sources.domain.pairs", "chat"),
        "{C}:13: sources.domain.pairs is 'chat', but no document is a pair of a prompt and a completion …; leave it out.", 3,
    ),
    "fields of a kind there is not": (put("sources.domain.fields", {"csv": {"text": "body"}}),
        "{C}:14: sources.domain.fields.csv has no effect on …, which has no .csv file; leave it out.", 3,
    ),
    "fields and kinds": (put("sources.domain.fields", {"csv": {"text": "body"}, "prompt": "q"}),
        "{C}:9: sources.domain: fields names the kind 'csv' beside the field 'prompt'; give every kind a mapping …", 3,
    ),
    "everything held out": (put("sources.domain.heldout", 500),
        "sources.domain.heldout: 500 holds out 500 of 40 documents, which leaves none …; … heldout: 0 …", 1,
    ),
    "half a document": (put("sources.domain.heldout", 2.5),
        """{C}:12: sources.domain.heldout: 2.5 is neither a share (below 1) nor a whole count of documents.""", 3,
    ),
    "thinking without a template for it": (
        put("sources.chat.thinking", "on"),
        "{C}:22: sources.chat.thinking: … never reads enable_thinking, … leave it out.", 3,
    ),
    "unknown chat role": (both(drop("sources.chat.route"), put("sources.chat.routes", {"asistant": "general"})),
        """sources.chat.routes names the role 'asistant', which no document has; roles found: assistant, user. Did you mean 'assistant'?""", 1,
    ),
    "a boolean for a number": (
        put("optimizer.learning_rate", True), "{C}:26: optimizer.learning_rate: true is no number.", 3,
    ),
    "infinity": (
        put("lora", {"alpha": float("inf")}),
        "{C}:37: lora.alpha: inf should be a finite number. (the product is scaled by alpha / rank)", 3,
    ),
    "a word for a section": (
        put("model", "pico"), "{C}:3: model: 'pico' is not a section: write its keys below it, indented.", 3,
    ),
    "an empty path": (
        put("sources.domain.path", ""),
        "{C}:10: sources.domain.path: is empty. (file, folder, glob or URL of .txt, .md, .jsonl, .json, .csv, .tsv, .parquet, and with the extra `documents` .html, .pdf, .docx; a folder written by save_to_disk; a hub id; or a list of them; self: …)", 3,
    ),
    "routes and route": (
        put("sources.chat.routes", {"assistant": "general"}),
        "{C}:17: sources.chat: 'routes' … 'route' would have no effect; keep one …", 3,
    ),
    "a method twice": (put("method", ["mol", {"name": "mol", "kl_weight": 3}]), "{C}:7: method: 'mol' is listed twice; keep one.", 3),
    "a method without a name": (put("method", {"name": ["mol"]}), "{C}:7: method: needs a name; " + KNOWN, 3),
    "longer than the model": (
        put("data.sequence_length", 4096),
        "{C}:28: data.sequence_length: 4096 is more than the 512 positions this model was made for; lower it.", 3,
    ),
    "logits dtype without effect": (
        put("objective.logits_dtype", "bfloat16"),
        "{C}:37: objective.logits_dtype: bfloat16 has no effect on a float32 model, whose logits are float32; leave it out.", 3,
    ),
    "schedule setting without effect": (
        put("schedule.decay_ratio", 0.5), "{C}:36: schedule: decay_ratio has no effect on type cosine; it belongs to wsd.", 3,
    ),
    "a source name that is a path": (
        put("sources", {"../evil": {"path": "x"}}),
        "{C}:8: sources: '../evil' is no name for a source: letters, digits, '.', '_' and '-', and not 'all'.", 3,
    ),
    "best without held-out domain text": (
        both(
            put("training", {"final": "best", "eval_steps": 2}), put("sources.domain.heldout", 0),
            put("evaluation.validation_documents", 2),
        ),
        "{C}:37: evaluation.validation_documents: a choice is judged by held-out text of the domain, but no source of role domain "
        "holds any out; set sources.NAME.heldout, or role: domain.", 3,
    ),
    "best by reported documents": (
        put("training", {"final": "best", "eval_steps": 2}),
        "{C}:31: training.final: best … set evaluation.validation_documents, or final: last.", 3,
    ),
    "shares leave nothing": (
        both(put("sources.domain.share", 1.0), put("sources.general.share", 0.5), drop("sources.chat.share")),
        "{C}:8: sources: … shares sum to 1.5, … nothing for sources.chat.share; …", 3,
    ),
    "missing model folder": (
        put("model.path", "./no-model"),
        "model.path: './no-model' is no model folder or .gguf file; … a .gguf file, or a hub id such as 'HuggingFaceTB/SmolLM2-135M-Instruct'.", 1,
    ),
    "device that is not here": (put("model.device", "cuda:7"),
        """model.device: 'cuda:7' is not usable here (Torch not compiled with CUDA enabled); accepted: auto, cpu.""", 1,
    ),
    "lora target that matches nothing": (
        put("lora", {"target_modules": ["qq"]}),
        f"lora.target_modules: 'qq' matches no layer; {LAYERS}.", 1,
    ),
    "a number that is too long": (
        put("seed", 10**200), "{C}:36: a value of 201 characters; no setting is that long.", 3,
    ),
    "a setting without a value": (put("method", None), "{C}:7: method: has no value. …", 3),
    "a method in capitals": (
        put("method", "MOL"), "{C}:7: method: there is no method 'MOL'; " + KNOWN + " Did you mean 'mol'?", 3,
    ),
    "a revision of a local model": (
        put("model.revision", "v9"), "{C}:7: model.revision: has no effect on a local model; leave it out.", 3,
    ),
    "a quantised base that is to learn": (
        put("model.quantization", "nf4"),
        "{C}:7: model.quantization: 'nf4' freezes the base, so only an adapter can learn; add lora.", 3,
    ),
    "a quantised base that is to be spread": (
        both(put("model.quantization", "nf4"), put("lora", {"rank": 4}), put("parallel", {"strategy": "fsdp"})),
        "{C}:40: parallel.strategy: fsdp does not spread quantised weights; use ddp.", 3,
    ),
    "a quantised gguf": (
        both(put("model.quantization", "nf4"), put("lora", {"rank": 4}), put("model.path", "m.gguf")),
        "{C}:7: model.quantization: 'nf4' … 'm.gguf' is a quantised GGUF file; … folder or hub id …", 3,
    ),
    "offloading to the CPU from the CPU": (
        put("parallel", {"strategy": "fsdp", "cpu_offload": True}),
        "{C}:38: parallel.cpu_offload: has no effect on a CPU, whose memory the weights are in; leave it out.", 3,
    ),
    "an option of fsdp under ddp": (
        put("parallel", {"cpu_offload": True}),
        "{C}:36: parallel: cpu_offload has no effect with strategy: ddp; set strategy: fsdp or leave it out.", 3,
    ),
    "a float16 model": (
        put("model.dtype", "float16"),
        "{C}:5: model.dtype: 'float16' is not accepted; accepted: auto, float32 or bfloat16. Did you mean 'bfloat16'?", 3,
    ),
    "a learning rate of 5": (
        put("optimizer.learning_rate", 5),
        "{C}:26: optimizer.learning_rate: 5 should be less than or equal to 1. …", 3,
    ),
    "a setting of the second method": (
        put("method", ["mol", {"name": "l2", "weight": "x"}]),
        "{C}:10: method.1.weight: 'x' is not a number. …", 3,
    ),
    "lora targets that all but one match": (
        put("lora", {"target_modules": ["q_proj", "v_prj"]}), f"lora.target_modules: 'v_prj' matches no layer; {LAYERS}. Did you mean 'v_proj'?", 1,
    ),
    "lora target that is no linear layer": (
        put("lora", {"target_modules": ["input_layernorm"]}),
        f"lora.target_modules: 'input_layernorm' is a LlamaRMSNorm, which LoRA does not adapt; {LAYERS}.", 1,
    ),
    "lora target without its brackets": (
        put("lora", {"target_modules": "q_proj"}),
        "lora.target_modules: 'q_proj' alone is a regular expression … matches none; … [q_proj].", 1,
    ),
    "lora target that is no regular expression": (
        put("lora", {"target_modules": "(["}),
        "lora.target_modules: '([' is no regular expression (unterminated character set at position 1); accepted: all-linear, a regular "
        "expression over whole module names, or a list of down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj or v_proj.", 1,
    ),
    "no lora target": (put("lora", {"target_modules": []}), "{C}:37: lora.target_modules: is empty. (names of layers, or a regular expression; all-linear: attention, MLP, shared experts, state space)", 3),
    "lora on the head": (
        put("lora", {"target_modules": ["lm_head"]}),
        "lora.target_modules … the output head, … 'all-linear' or …", 1,
    ),
    "weights cut short": (
        broken_model(cut("model.safetensors", 0.5)),
        "model.path: '{F}/model/model.safetensors' is damaged or cut short (Error while deserializing header: incomplete metadata, file not fully covered); …", 1,
    ),
    "weights that are something else": (
        broken_model(file("model.safetensors", "x" * 99)),
        "model.path: '{F}/model/model.safetensors' is damaged or cut short (Error while deserializing header: header too large); …", 1,
    ),
    "no weights": (broken_model(remove("model.safetensors")), "model.path: the folder '{F}/model' holds no weights (model.safetensors).", 1),
    "an adapter for a model": (
        broken_model(remove("model.safetensors"), file("adapter_config.json", "{}")),
        "model.path: the folder '{F}/model' holds no weights (model.safetensors). It is an adapter: merge it into its base first (`acclimate export --merge`, or PEFT).", 1,
    ),
    "pickles": (
        broken_model(pickles),
        "model.path: the weights in '{F}/model' are pickles (pytorch_model.bin), which can run code when they are loaded, so acclimate never does; "
        "convert them to safetensors where you trust them: AutoModelForCausalLM.from_pretrained(...).save_pretrained(...).", 1,
    ),
    "a missing shard": (
        broken_model(shards),
        "model.path: '{F}/model/model-00002-of-00006.safetensors' is missing, 1 of 6 weight files named in model.safetensors.index.json; …", 1,
    ),
    "an index that is no index": (
        broken_model(remove("model.safetensors"), file("model.safetensors.index.json", "{}")),
        "model.path: '{F}/model/model.safetensors.index.json' is damaged: it has no weight_map of tensor names to file names.", 1,
    ),
    "a config.json that is not JSON": (
        broken_model(file("config.json", "{model_type")),
        "model.path: '{F}/model/config.json' is not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1)); it is damaged or cut short: download or copy it again.", 1,
    ),
    "a config.json of another thing": (
        broken_model(file("config.json", "[]")), "model.path: '{F}/model/config.json' is not a JSON object; …", 1,
    ),
    "a tokenizer cut short": (
        broken_model(cut("tokenizer.json", 0.0)),
        "model.path: '{F}/model/tokenizer.json' is not JSON (Expecting value: line 1 column 1 (char 0)); it is damaged or cut short: download or copy it again.", 1,
    ),
    "no tokenizer": (
        broken_model(remove("tokenizer.json", "tokenizer_config.json")),
        "model.path: the folder '{F}/model' holds no tokenizer; copy tokenizer.json and tokenizer_config.json …", 1,
    ),
    "a quantised model": (
        broken_model(config_json(quantization_config={"quant_method": "gptq", "bits": 4})),
        "model.path: '{F}/model' is quantised (gptq, in quantization_config of its config.json); acclimate trains weights of float32 or bfloat16. Set model.dequantize: true to have them multiplied out while they are loaded.", 1,
    ),
    "an encoder-decoder": (
        broken_model(config_json(model_type="t5", architectures=["T5ForConditionalGeneration"], is_encoder_decoder=True)),
        "model.path: '{F}/model' is a T5ForConditionalGeneration; … (LlamaForCausalLM, Qwen3ForCausalLM ...).", 1,
    ),
    "an embedding model": (
        broken_model(config_json(architectures=["LlamaModel"])),
        "model.path: '{F}/model' is a LlamaModel; … (LlamaForCausalLM, Qwen3ForCausalLM ...).", 1,
    ),
    "a vision model": (
        broken_model(config_json(model_type="vit", architectures=["ViTModel"])),
        "model.path: '{F}/model' is a ViTModel; … (LlamaForCausalLM, Qwen3ForCausalLM ...).", 1,
    ),
    "a family without sdpa": (
        both(broken_model(config_json(model_type="gemma2", architectures=["Gemma2ForCausalLM"])), put("model.attention", "sdpa")),
        "model.attention: transformers has no 'sdpa' for this family of models; leave it out, and the fastest that is right is taken.", 1,
    ),
    "a model with its own code": (
        broken_model(config_json(model_type="own", auto_map={"AutoConfig": "c.C", "AutoModelForCausalLM": "m.M"})),
        "model.path: '{F}/model' … code … not run … set model.trust_remote_code: true.", 1,
    ),
    "tokens without an embedding": (
        both(broken_model(added_tokens), domain_file("new.jsonl", GOOD + '{"text": "One <new> word, <newer> than <new>."}\n'), put("sources.domain.heldout", 2)),
        "sources.domain: 3 tokens have no embedding in this model, '<new>' (id 259) in {F}/new.jsonl:13 first: it has 259 embeddings, its tokenizer 261 tokens. … the model, or resize it first: model.resize_token_embeddings(261), then save_pretrained.", 1,
    ),
    "chats for a model without a template": (
        broken_model(remove("chat_template.jinja")),
        "{D}/chat.jsonl:1: this is a chat, but the model's tokenizer has no chat template. … 'text' or 'prompt' and 'completion'.", 1,
    ),
    "a file that is no GGUF": (
        gguf(b"no model at all"), "model.path: '{F}/m.gguf' could not be loaded: {F}/m.gguf does not start with the GGUF … not a GGUF file.", 1,
    ),
    "a GGUF cut short": (
        gguf(b"GGUF\x03\0\0\0" + bytes(8)),
        "model.path: '{F}/m.gguf' is no whole GGUF file (unpack_from requires … 24 bytes … (actual buffer size is 16)); …", 1,
    ),
    "a secret in a URL": (put("sources.domain.path", "s3://AKIA:hush@bucket/a.jsonl"), SECRET, 3),
    "a secret with a slash": (put("sources.domain.path", "s3://AKIA:hu/sh@bucket/a.jsonl"), SECRET, 3),
    "an escaped secret": (put("sources.domain.path", "s3://AKIA%3Ahush%20%40bucket/a.jsonl"), SECRET, 3),
    "a user in a URL": (put("sources.domain.path", ["https://hush@host/a.jsonl"]), SECRET, 3),
    "a token in a query": (put("sources.domain.path", "https://host/a.jsonl?token=hush"), SECRET, 3),
    "a secret in a chained URL": (
        put("sources.domain.path", "zip://a.jsonl::s3://AKIA:hush@bucket/a.zip"), SECRET, 3,
    ),
    "a secret in a word for a section": (
        put("sources.domain", "s3://AKIA:hush@bucket/a.jsonl"),
        "{C}:9: sources.domain: 's3://***@bucket/a.jsonl' is not a section: write its keys below it, indented.", 3,
    ),
    "a secret in a mapping": (
        put("sources.domain.path", {"url": "https://host/a.jsonl?sig=hush"}),
        "{C}:10: sources.domain.path: {{'url': 'https://host/a.jsonl?sig=***'}} is not text; …\n{C}:10: sources.domain.path: {{'url': 'https://host/a.jsonl?sig=***'}} is not a list. …", 3,
    ),
    "a URL of an unknown kind": (put("sources.domain.path", "s4://bucket/a.jsonl"),
        "sources.domain.path: 's4://bucket/a.jsonl' cannot be reached: Protocol not known: s4.", 1,
    ),
    "nothing at a URL": (put("sources.domain.path", "memory://empty/a.jsonl"),
        "sources.domain.path: there is nothing at 'memory://empty/a.jsonl'.", 1,
    ),
    "a field there is not": (
        put("sources.domain.fields", {"txt": "body"}),
        "{C}:14: sources.domain.fields.txt: 'txt' is not accepted; accepted: text, messages, prompt, completion, csv, json, jsonl, parquet or tsv. Did you mean 'text'?", 3,
    ),
    "another trainer's name for fields": (
        put("sources.domain.dataset_text_field", "body"),
        "{C}:13: sources.domain.dataset_text_field: there is no such key. Here it is called 'fields'.", 3,
    ),
    "fields of two formats": (
        put("sources.domain.fields", {"text": "body", "messages": "talk"}),
        "{C}:9: sources.domain: fields names fields of messages and text; a source has records of one format.", 3,
    ),
    "fields against format": (
        both(put("sources.domain.fields", {"text": "body"}), put("sources.domain.format", "messages")),
        "{C}:9: sources.domain: fields names fields of text, but format is messages; keep one.", 3,
    ),
    "a field that no record has": (
        both(domain_file("body.jsonl", GOOD), put("sources.domain.fields", {"text": "body"})),
        "{F}/body.jsonl:1: sources.domain.fields needs 'body' in this record; it has 'text'; sources.domain.on_bad_row: skip …", 1,
    ),
    "a column that no row has": (
        both(domain_file("body.csv", "id,title\n1,x\n"), put("sources.domain.fields", {"text": "body"})),
        "{F}/body.csv:1: sources.domain.fields needs 'body' in this file; it has 'id', 'title'.", 1,
    ),
    "a limit without effect": (
        put("sources.domain.max_bad_rows", 5),
        "{C}:9: sources.domain: max_bad_rows has no effect on on_bad_row: fail; it belongs to skip.", 3,
    ),
    "too many bad rows": (
        both(domain_file("bad.jsonl", GOOD + "1\n" * 2), put("sources.domain.on_bad_row", "skip"), put("sources.domain.max_bad_rows", 1)),
        "sources.domain.max_bad_rows: there are more than 1 bad rows; the first are: {F}/bad.jsonl:13: … a number | {F}/bad.jsonl:14: … a number.", 1,
    ),
    "NUL bytes": (domain_file("nul.jsonl", GOOD.encode() + b"\0\0\n"),
        "{F}/nul.jsonl:13: byte 410 is NUL, so this is no UTF-8 text (UTF-16, or damaged); sources.domain.on_bad_row: skip …", 1,
    ),
    "UTF-16": (domain_file("wide.jsonl", GOOD.encode("utf-16")),
        "{F}/wide.jsonl … byte order mark of UTF-16; … UTF-8 …", 1,
    ),
    "a compressed file that is cut off": (domain_file("cut.jsonl.gz", gzip.compress(GOOD.encode())[:-4]),
        "{F}/cut.jsonl.gz cannot be read: Truncated compressed stream.", 1,
    ),
    "a damaged parquet file": (domain_file("bad.parquet", b"PAR1"),
        "{F}/bad.parquet cannot be read as a .parquet file: … 4 bytes, …", 1,
    ),
    "an uneven row": (domain_file("uneven.csv", "text,id\na,1\nb\n"),
        "{F}/uneven.csv:3: this row has 1 cell, but the header names 2; sources.domain.on_bad_row: skip …", 1,
    ),
    "a column twice": (domain_file("twice.tsv", "text\ttext\na\tb\n"),
        "{F}/twice.tsv:1: there are 2 columns named 'text'; rename all but one.", 1,
    ),
    "no header": (domain_file("bare.csv", "A sentence.\nAnother.\n"),
        "{F}/bare.csv:1: this file has no field to learn from: it has 'A sentence.'; accepted: 'text', 'messages', or 'prompt' and "
        "'completion'; other names go into sources.domain.fields, like {{text: body}}.", 1,
    ),
    "a split of a file": (
        put("sources.general.split", "train"),
        "{C}:17: sources.general.split has no effect on '{D}/general.jsonl'; leave it out.", 3,
    ),
    "a named pipe": (pipe, "sources.domain.path: '{F}/pipe.jsonl' is a named pipe; a source is read again, so give a file.", 1),
    "a broken link": (link, "sources.domain.path: '{F}/link.jsonl' is a link to 'nowhere', which does not exist.", 1),
    "epochs of a stream": (
        both(put("sources.domain.streaming", True), drop("budget.steps"), put("budget.epochs", 2)),
        "{C}:25: budget.epochs: … 'domain' … is streamed; give budget.tokens or budget.steps.", 3,
    ),
    "epochs of all, one of them a stream": (
        both(put("sources.chat.streaming", True), drop("budget.steps"), put("budget", {"epochs": 2, "count": "all"})),
        "{C}:24: budget.epochs: … 'chat' … is streamed; give budget.tokens or budget.steps.", 3,
    ),
    "validation of a stream": (
        both(put("sources.domain.streaming", True), put("data.split", "validation")),
        "{C}:31: data.split: validation … 'domain', which is streamed; use split: test.", 3,
    ),
    "a buffer that shuffles nothing": (
        put("sources.domain.shuffle_buffer", 50),
        "{C}:9: sources.domain: shuffle_buffer has no effect without streaming: true.", 3,
    ),
    "an empty stream": (
        both(domain_file("empty.jsonl", "\n"), put("sources.domain.streaming", True)),
        "sources.domain.path: there is no document in '{F}/empty.jsonl' (1 file read, dropped: nothing).", 1,
    ),
    "a stream that is all held out": (
        both(put("sources.domain.streaming", True), put("sources.domain.heldout", 40)),
        "sources.domain.heldout: 40 holds out all of the first 40 documents of the stream, … none to train on; … heldout: 0 …", 1,
    ),
    "a stream with less than is held out": (
        both(put("sources.domain.streaming", True), put("sources.domain.heldout", 50)),
        "sources.domain.heldout: 50 cannot be met: the first 40 documents of the stream hold 40 …; give another count …, or 0 …", 1,
    ),
    "fewer documents than none": (
        put("evaluation.memorisation_documents", -1),
        "{C}:35: evaluation.memorisation_documents: -1 should be greater than or equal to 0. (after training, measure so many "
        "documents of each domain source that were trained on, against the base; 0 measures none)", 3,
    ),
    "a role that the beginning of a stream does not have": (
        both(drop("sources.chat.route"), put("sources.chat.streaming", True), put("sources.chat.routes", {"tool": "general"})),
        "sources.chat.routes names the role 'tool', which none of the first 40 documents of the stream has; roles found: "
        "assistant, user.", 1,
    ),
}  # fmt: skip


def run_cli(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["acclimate", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err


@pytest.mark.parametrize("case", TABLE)
def test_wrong_input(
    case: str, pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    edit, sentence, code = TABLE[case]
    data = settings(pico_folder, corpora, tmp_path / "runs")
    edit(data, tmp_path)
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    found, _, err = run_cli(["validate", str(path)], monkeypatch, capsys)
    assert says(err, f"Error: {sentence.format(C=path, F=tmp_path, D=corpora, M=pico_folder, CWD=Path.cwd())}\n")
    assert found == code
    assert "Traceback" not in err
    assert "hush" not in err
    assert not list((tmp_path / "runs").glob("run*"))  # nothing was begun


VERBS: dict[str, tuple[list[str], str, int]] = {
    "chat without a run": (
        ["chat", "{F}/none"], "'{F}/none' is no run folder: it has no config.yaml. `acclimate train` makes one.", 3,
    ),
    "a setting of a source that is not there": (
        ["doctor", "{F}/begun/config.yaml", "--set", "sources.domian.share=0.5"],
        "--set sources.domian.share=0.5: there is no source 'domian'; accepted: chat, domain or general. Did you mean 'domain'?", 3,
    ),
    "a new source without a path": (
        ["doctor", "{F}/begun/config.yaml", "--set", "sources.poems.share=0.5"],
        "--set sources.poems.share=0.5: there is no source 'poems'; accepted: chat, domain or general. A new one begins with --set "
        "sources.poems.path=FILE.", 3,
    ),
    "chat with an unfinished run": (
        ["chat", "{F}/begun"],
        "'{F}/begun' has no model/ yet: the run is not finished; use acclimate train --resume.", 1,
    ),
    "chat with a checkpoint that was not kept": (
        ["chat", "{F}/begun", "--checkpoint", "best"],
        "--checkpoint: '{F}/begun' has no checkpoint 'best'; it kept none.", 3,
    ),
    "eval of nothing": (["eval"],
        "acclimate eval measures a run, or a --panel; … acclimate eval --help.", 3),
    "eval of a model without a panel": (["eval", "--base", "x"],
        "--base: has no effect without --panel; a run is measured on its own held-out sets.", 3),
    "a panel that is not there": (["eval", "{F}/begun", "--panel", "{F}/no.yaml"], "There is no panel file '{F}/no.yaml'.", 3),
    "a panel without a place": (["eval", "--base", "x", "--model", "y", "--panel", "{F}/sets-of-items.yaml"],
        "--output: is required where no run folder is named; …", 3),
    "a panel on nothing": (["eval", "--base", "x", "--panel", "{F}/sets-of-items.yaml", "--output", "{F}/o"],
        "A panel needs … --base and one of --model and --adapter.", 3),
    "a panel on a run and a model": (["eval", "{F}/begun", "--model", "x", "--panel", "{F}/sets-of-items.yaml"],
        "--model: has no effect beside the run '{F}/begun', which knows its own; leave one out.", 3),
    "an adapter that is none": (["eval", "--adapter", "{F}/begun", "--base", "{M}", "--panel", "{F}/sets-of-items.yaml", "--output", "{F}/o"],
        "--adapter: '{F}/begun' is no adapter: it has no adapter_config.json; … --model.", 3),
    "a matrix of a run": (["matrix", "{F}/begun"],
        "'{F}/begun' holds no panel: it has no panel.json. `acclimate eval --panel` makes one.", 1),
    "a report on a run that is not trained": (["report", "{F}/begun"],
        "The run in '{F}/begun' has not been trained: it has no provenance.json. Run `acclimate train "
        "{F}/begun/config.yaml`.", 1),
    "a report that is no page": (["report", "{F}/begun", "--output", "{F}/r.pdf"],
        "--output: '{F}/r.pdf' does not end in .html; a report is one HTML file.", 3),
    "doctor without its file": (
        ["doctor", "{F}/no.yaml"],
        "There is no configuration file '{F}/no.yaml'. `acclimate init` writes one to start from.", 3,
    ),
    "doctor of an unknown key": (
        ["doctor", "{F}/begun/config.yaml", "--set", "model.dtyp=auto"],
        "--set model.dtyp=auto: model.dtyp: there is no such key. Did you mean 'dtype'?", 3,
    ),
    "doctor with an override of nothing": (
        ["doctor", "--set", "seed=1"], "--set: changes a configuration; name its file too.", 3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", VERBS)
def test_wrong_use_of_a_verb(
    case: str, pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    arguments, sentence, code = VERBS[case]
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.yaml").write_text(yaml.safe_dump(settings(pico_folder, corpora, tmp_path)))
    (tmp_path / "sets-of-items.yaml").write_text("sets: {x: {kind: text, path: x.jsonl}}\n")
    found, _, err = run_cli([word.format(F=tmp_path, M=pico_folder) for word in arguments], monkeypatch, capsys)
    assert says(err, f"Error: {sentence.format(F=tmp_path)}\n")
    assert found == code


def edit_file(name: str, change: Callable[[str], str | None]) -> Callable[[Path], None]:
    """Changes a file of the run folder; None takes it away."""

    def edit(run: Path) -> None:
        changed = change((run / name).read_text())
        (run / name).unlink() if changed is None else (run / name).write_text(changed)

    return edit


def untouched(run: Path) -> None:
    pass


def panel(base: str = RUN_BASE, cut: tuple[str, Callable[[str], str]] | None = None) -> Callable[[Path], None]:
    """The run measured on a panel 'exams', one file of which may then be changed."""

    def edit(run: Path) -> None:
        random = np.random.default_rng(0)
        sets = {
            "boolq": ("choice", answers(random, 30)),
            "few": ("choice", answers(random, 5)),
            "news": ("text", texts(random, 30)),
        }
        folder = write_panel(run / "panels" / "exams", sets, base=base)
        if cut is not None:
            (folder / cut[0]).write_text(cut[1]((folder / cut[0]).read_text()))

    return edit


def signed(*edits: Callable[[Path], None]) -> Callable[[Path], None]:
    """Edits by somebody who writes the digests anew."""

    def edit(run: Path) -> None:
        for one in edits:
            one(run)
        sign(run)

    return edit


GATES: dict[str, tuple[str | None, Callable[[Path], None], str, int]] = {
    "gate without a policy": (
        None, untouched, "There is no policy file '{P}'. docs/howto/gate.md has one to start from. Did you mean 'gates.yaml'?", 3,
    ),
    "an empty policy": ("", untouched, "{P}: a policy is a mapping of sections; this file holds nothing.", 3),
    "a policy of a list": ("- a\n", untouched, "{P}: a policy is a mapping of sections; this file holds a list.", 3),
    "a policy without rules": (
        "confidence: 0.9\n", untouched, "{P}: holds no rule; write one at default, roles.ROLE, sets.NAME or panels.NAME.SET.", 3,
    ),
    "a rule without a margin": (
        "confidence: 0.9\ndefault:\n  max_drop: {}\n", untouched,
        "{P}:2: default: holds no margin; give it max_drop or min_gain.", 3,
    ),
    "an unknown key of a policy": (
        "allow_inconclusiv: true\n", untouched,
        "{P}:1: allow_inconclusiv: there is no such key. Did you mean 'allow_inconclusive'?", 3,
    ),
    "an unknown metric of a policy": (
        "sets:\n  chat:\n    max_drop:\n      kl_base_tune: 0.2 nats/token\n", untouched,
        "{P}:4: sets.chat.max_drop.kl_base_tune: there is no such key. Did you mean 'kl_base_tuned'?", 3,
    ),
    "an unknown role of a policy": (
        "roles:\n  chats: {max_drop: {bits_per_byte: 2 %}}\n", untouched,
        "{P}:2: roles.chats: there is no such key. Did you mean 'chat'?", 3,
    ),
    "a margin without a unit": (
        "default:\n  max_drop:\n    bits_per_byte: 0.02\n", untouched,
        "{P}:3: default.max_drop.bits_per_byte: 0.02 has no unit; write it as '0.02 bits/byte' or '2 %'.", 3,
    ),
    "a margin of another unit": (
        "default:\n  max_drop:\n    kl_base_tuned: 2 %\n", untouched,
        "{P}:3: default.max_drop.kl_base_tuned: '%' is no unit of kl_base_tuned; write it as '0.02 nats/token'.", 3,
    ),
    "a margin that is no number": (
        "default:\n  max_drop:\n    bits_per_byte: little\n", untouched,
        "{P}:3: default.max_drop.bits_per_byte: 'little' is no margin; a margin is a number and its unit, like "
        "'0.02 bits/byte' or '2 %'.", 3,
    ),
    "a negative margin": (
        "default:\n  max_drop:\n    bits_per_byte: -2 %\n", untouched,
        "{P}:3: default.max_drop.bits_per_byte: '-2 %' is negative; a margin is 0 or more (min_gain asks for an "
        "improvement).", 3,
    ),
    "a confidence above 1": (
        "confidence: 95\ndefault: {max_drop: {bits_per_byte: 2 %}}\n", untouched,
        "{P}:1: confidence: 95 should be less than or equal to 0.995. …", 3,
    ),
    "a policy of another version": (
        "version: 2\ndefault: {max_drop: {bits_per_byte: 2 %}}\n", untouched,
        "{P}:1: version: this policy is of version 2; this acclimate reads version 1.", 3,
    ),
    "a set that the run does not have": (
        "sets:\n  chta: {max_drop: {bits_per_byte: 2 %}}\n", untouched,
        "{P}:2: sets.chta: the run '{R}' measured no set 'chta'; it measured domain, general or chat. Did you mean 'chat'?", 3,
    ),
    "a role that no set has": (
        "roles:\n  chat: {max_drop: {bits_per_byte: 2 %}}\n",
        signed(*(edit_file(name, lambda text: text.replace('"role": "chat"', '"role": "general"'))
                 for name in ("summary.json", "data.json"))),
        "{P}:2: roles.chat: no set of the run '{R}' has the role 'chat'; it measured domain (domain), general (general) or chat (general).", 3,
    ),
    "a gate on a run without scores": (
        "default: {max_drop: {bits_per_byte: 2 %}}\n", edit_file("eval/domain.jsonl", lambda text: None),
        "'{R}/eval/domain.jsonl' is missing, … `acclimate eval {R}`.", 1,
    ),
    "a gate on a run that was not evaluated": (
        "default: {max_drop: {bits_per_byte: 2 %}}\n", edit_file("summary.json", lambda text: None),
        "The run in '{R}' has not been evaluated: it has no summary.json. Run `acclimate eval {R}`.", 1,
    ),
    "a gate on damaged scores": (
        "default: {max_drop: {bits_per_byte: 2 %}}\n", signed(edit_file("eval/domain.jsonl", lambda text: re.sub("\n.*\n", "\n{}\n", text, count=1))),
        "{R}/eval/domain.jsonl:2: this is not the scores of a document (KeyError: 'nats'); expected nats, base_nats, bytes, tokens, kl_base_tuned, agree. "
        "Run `acclimate eval {R}` again.", 1,
    ),
    "a gate on scores that are not finite": (
        "default: {max_drop: {bits_per_byte: 2 %}}\n",
        signed(edit_file("eval/domain.jsonl", lambda text: re.sub('"nats": [0-9.]+', '"nats": NaN', text, count=1))),
        "{R}/eval/domain.jsonl:2: this is not the scores of a document (a number is not finite); expected nats, base_nats, "
        "bytes, tokens, kl_base_tuned, agree. Run `acclimate eval {R}` again.", 1,
    ),
    "a gate on a handful of documents": (
        "roles:\n  chat: {max_drop: {bits_per_byte: 2 %}}\n",
        signed(edit_file("eval/chat.jsonl", lambda text: "".join(text.splitlines(keepends=True)[:13]))),
        "{P}:2: roles.chat: 'chat' was measured on 12 documents, and an interval over fewer than 20 does not keep what it "
        "says; hold out more (sources.chat.heldout, evaluation.documents), or leave the set out of the policy.", 3,
    ),
    "a held-out set's accuracy": (
        "sets:\n  chat:\n    max_drop:\n      accuracy: 2 points\n", untouched,
        "{P}:4: sets.chat.max_drop.accuracy: 'chat' is not measured by accuracy; it has bits_per_byte, kl_base_tuned or "
        "top1_agreement.", 3,
    ),
    "a panel without rules": ("panels:\n  exams: {}\n", panel(), "{P}:2: panels.exams: is empty.", 3),
    "an accuracy in percent": (
        "panels:\n  exams:\n    boolq:\n      max_drop:\n        accuracy: 2 %\n", panel(),
        "{P}:5: panels.exams.boolq.max_drop.accuracy: '%' is no unit of accuracy; write it as '2 points'.", 3,
    ),
    "a run without panels": (
        "panels:\n  exams:\n    boolq: {max_drop: {accuracy: 2 points}}\n", untouched,
        "{P}:2: panels.exams: the run '{R}' was not measured on a panel 'exams'. `acclimate eval {R} --panel FILE` measures one.", 3,
    ),
    "a panel that the run has not": (
        "panels:\n  exam:\n    boolq: {max_drop: {accuracy: 2 points}}\n", panel(),
        "{P}:2: panels.exam: the run '{R}' was not measured on a panel 'exam'; it was measured on exams. Did you mean 'exams'? "
        "`acclimate eval {R} --panel FILE` measures one.", 3,
    ),
    "a set that the panel has not": (
        "panels:\n  exams:\n    bolq: {max_drop: {accuracy: 2 points}}\n", panel(),
        "{P}:3: panels.exams.bolq: the panel has no set 'bolq'; it has boolq, few or news. Did you mean 'boolq'?", 3,
    ),
    "a metric that the panel's set has not": (
        "panels:\n  exams:\n    news: {max_drop: {accuracy: 2 points}}\n", panel(),
        "{P}:3: panels.exams.news.max_drop.accuracy: 'exams/news' is not measured by accuracy; it has bits_per_byte, "
        "kl_base_tuned or top1_agreement.", 3,
    ),
    "a panel's set of a handful": (
        "panels:\n  exams:\n    few: {max_drop: {accuracy: 2 points}}\n", panel(),
        "{P}:3: panels.exams.few: 'few' has 5 items, and an interval over fewer than 20 does not keep what it says; give the "
        "panel more, or leave the set out.", 3,
    ),
    "a panel on another base": (
        "panels:\n  exams:\n    boolq: {max_drop: {accuracy: 2 points}}\n", panel(base="sha256:other"),
        "'{R}/panels/exams' was measured against another base … `acclimate eval {R} --panel FILE`, …", 1,
    ),
    "a panel's set that lost items": (
        "panels:\n  exams:\n    boolq: {max_drop: {accuracy: 2 points}}\n",
        panel(cut=("boolq.jsonl", lambda text: "".join(text.splitlines(keepends=True)[:-1]))),
        "'{R}/panels/exams/boolq.jsonl' is not the file that was written … `acclimate eval {R} --panel FILE`, …", 1,
    ),
    "a panel's set that is damaged": (
        "panels:\n  exams:\n    boolq: {max_drop: {accuracy: 2 points}}\n", panel(cut=("boolq.jsonl", lambda text: "{}\n" + text)),
        "'{R}/panels/exams/boolq.jsonl' is not the file that was written … `acclimate eval {R} --panel FILE`, …", 1,
    ),
    "a panel.json that is damaged": (
        "panels:\n  exams:\n    boolq: {max_drop: {accuracy: 2 points}}\n", panel(cut=("panel.json", lambda text: "{}")),
        "'{R}/panels/exams/panel.json' is no result of a panel (KeyError: 'panel'). … `acclimate eval RUN --panel`, …", 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", GATES)
def test_wrong_gate(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy, edit, sentence, code = GATES[case]
    run, path = scored_run(tmp_path / "run"), tmp_path / "gate.yaml"
    edit(run)
    if policy is None:
        (tmp_path / "gates.yaml").write_text("")
    else:
        path.write_text(policy)
    found, out, err = run_cli(["gate", str(run), "--policy", str(path)], monkeypatch, capsys)
    assert says(err, f"Error: {sentence.format(P=path, R=run)}\n")
    assert (found, out) == (code, "")


REPORTS: dict[str, tuple[Callable[[Path], None], str, int]] = {
    "a policy that is not there": (
        untouched, "There is no policy file '{P}'. docs/howto/gate.md has one to start from.", 3,
    ),
    "a damaged line of scores": (
        signed(edit_file("eval/chat.jsonl", lambda text: text.replace('"bytes"', '"byte"', 1))),
        "{R}/eval/chat.jsonl:2: this is not the scores of a document (KeyError: 'bytes'). Run `acclimate eval {R}` again.", 1,
    ),
    "a damaged panel": (
        edit_file("panels/exam/panel.json", lambda text: text[:50]),
        "'{R}/panels/exam/panel.json' is no result of a panel (JSONDecodeError: Unterminated string starting at: line 5 column 3 (char 47)). … `acclimate eval RUN --panel`, …", 1,
    ),
    "a damaged memorisation check": (
        edit_file("memorisation/check.json", lambda text: text.replace("-0.3,", "NaN,")),
        "'{R}/memorisation/check.json' is no memorisation check (ValueError: training_change is not finite). Run "
        "`acclimate eval {R}`.", 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REPORTS)
def test_wrong_report(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    edit, sentence, code = REPORTS[case]
    run, path = scored_run(tmp_path / "run"), tmp_path / "gate.yaml"
    add_panel(run)
    add_memorisation(run)
    edit(run)
    policy = ["--policy", str(path)] if edit is untouched else []
    found, out, err = run_cli(["report", str(run), *policy], monkeypatch, capsys)
    assert says(err, f"Error: {sentence.format(P=path, R=run)}\n")
    assert (found, out) == (code, "")
    assert not (run / "report.html").exists()


ITEM = {"question": "Q", "choices": ["a", "b"], "answer": 1}
PANEL_SET = {"kind": "choice", "path": "x.jsonl"}


def put_set(key: str, value: Any) -> dict[str, Any]:
    return {"sets": {"x": PANEL_SET | {key: value}}}


PANELS: dict[str, tuple[dict[str, Any], str, int]] = {
    "a kind of set that is none": (put_set("kind", "choise"),
        "{P}:3: sets.x.kind: 'choise' is not accepted; accepted: choice, cloze, text or lm_eval. Did you mean 'choice'?", 3),
    "a panel's unknown key": ({"sets": {"x": PANEL_SET}, "templat": "chat"},
        "{P}:5: templat: there is no such key. Did you mean 'template'?", 3),
    "a set's unknown key": (put_set("max_item", 3), "{P}:5: sets.x.max_item: there is no such key. Did you mean 'max_items'?", 3),
    "a panel without sets": ({"sets": {}}, "{P}:1: sets: is empty.", 3),
    "an unknown mapping": (put_set("mapping", "openbook"),
        "{P}:2: sets.x: mapping 'openbook' is not known; accepted: openbookqa, siqa, logiqa, mmlu, medqa, medmcqa, commonsenseqa, "
        "piqa, boolq or pubmedqa. Did you mean 'openbookqa'?", 3),
    "a mapping of texts": ({"sets": {"x": {"kind": "text", "path": "x.jsonl", "mapping": "piqa"}}},
        "{P}:2: sets.x: mapping has no effect on kind text; it belongs to choice.", 3),
    "a field that a cloze has not": ({"sets": {"x": {"kind": "cloze", "path": "x.jsonl", "fields": {"answer": "a"}}}},
        "{P}:2: sets.x: fields names 'answer', which kind cloze does not read; it reads text.", 3),
    "a prompt without a question": (put_set("prompt", "Hm?"), "{P}:5: sets.x.prompt: needs {{question}}.", 3),
    "a prompt of something else": (put_set("prompt", "{question} {pasage}"),
        "{P}:5: sets.x.prompt: {{pasage}} is nothing of an item; accepted: {{question}}, {{passage}} or {{options}}. Did you mean 'passage'?", 3),
    "letters that nothing explains": (put_set("answers", "letters"),
        "{P}:2: sets.x: answers: letters needs {{options}} in the prompt, …", 3),
    "thinking without a template": ({"sets": {"x": PANEL_SET}, "thinking": "on"},
        "{P}:5: thinking has no effect on template: plain; it belongs to chat.", 3),
    "thinking that the template has not": ({"sets": {"x": PANEL_SET}, "thinking": "on", "template": "chat"},
        "{P}:5: thinking: … never reads enable_thinking; leave it out.", 3),
    "a set's name that is a path": ({"sets": {"../x": PANEL_SET}},
        "{P}:1: sets: '../x' is no name of a set, which becomes a file; use letters, digits, . _ -.", 3),
    "a set without its file": (put_set("path", "y.jsonl"), "{P}:4: sets.x.path: there is no file '{F}/y.jsonl'. Did you mean 'x.jsonl'?", 3),
    "a set of another format": (put_set("path", "x.csv"),
        "{P}:4: sets.x.path: '{F}/x.csv' does not end in .jsonl; items are one JSON object a line.", 3),
    "a line that is not JSON": (put_set("path", "bad.jsonl"),
        "{F}/bad.jsonl:1: this is not JSON: Expecting value (column 1); a .jsonl file holds one JSON object a line; sets.x.on_bad_item: skip …", 1),
    "equal choices": (put_set("path", "equal.jsonl"),
        "{F}/equal.jsonl:1: choices 1 and 2 are equal: 'a'; sets.x.on_bad_item: skip …", 1),
    "a set without a path": ({"sets": {"x": {"kind": "choice"}}}, "{P}:2: sets.x: path is missing, which kind choice needs.", 3),
    "a task without a name": ({"sets": {"x": {"kind": "lm_eval"}}}, "{P}:2: sets.x: task is missing, which kind lm_eval needs.", 3),
    "a task with a path": ({"sets": {"x": {"kind": "lm_eval", "task": "t", "path": "x.jsonl"}}},
        "{P}:2: sets.x: path has no effect on kind lm_eval, whose task says what is asked.", 3),
    "a task that skips": ({"sets": {"x": {"kind": "lm_eval", "task": "t", "on_bad_item": "skip"}}},
        "{P}:2: sets.x: on_bad_item has no effect on kind lm_eval, whose task says what is asked.", 3),
    "a task's name for a file": (put_set("task", "arc_easy"),
        "{P}:2: sets.x: task has no effect on kind choice; it belongs to lm_eval.", 3),
    "a task that is not in its folder": ({"sets": {"x": {"kind": "lm_eval", "task": "arc", "include_path": "."}}},
        "{P}:4: sets.x.task: there is no task 'arc' in '{F}'.", 3),
    "a panel of another version": ({"version": 7, "sets": {"x": PANEL_SET}},
        "{P}:1: version: this panel is of version 7; this acclimate reads version 1.", 3),
}  # fmt: skip


@pytest.mark.parametrize("case", PANELS)
def test_wrong_panel(
    case: str, pico_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, sentence, code = PANELS[case]
    (tmp_path / "x.jsonl").write_text(json.dumps(ITEM))
    (tmp_path / "x.csv").write_text("question\n")
    (tmp_path / "bad.jsonl").write_text("No.\n")
    (tmp_path / "equal.jsonl").write_text(json.dumps(ITEM | {"choices": ["a", "a"]}))
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    models = ["--model", str(pico_folder), "--base", str(pico_folder)]
    found, _, err = run_cli(
        ["eval", *models, "--panel", str(path), "--output", str(tmp_path / "o")], monkeypatch, capsys
    )
    assert says(err, f"Error: {sentence.format(P=path, F=tmp_path)}\n")
    assert found == code
    assert not (tmp_path / "o").exists()


def test_a_base_with_another_tokenizer(
    pico_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(pico_folder, other)
    tokenizer = pico_tokenizer()
    tokenizer.add_tokens(["kidney"])
    tokenizer.save_pretrained(other)
    (tmp_path / "p.yaml").write_text(yaml.safe_dump({"sets": {"x": PANEL_SET}}))
    arguments = ["eval", "--model", str(other), "--base", str(pico_folder), "--panel", str(tmp_path / "p.yaml")]
    found, _, err = run_cli([*arguments, "--output", str(tmp_path / "o")], monkeypatch, capsys)
    assert says(err, f"Error: --base: '{pico_folder}' has another tokenizer than '{other}', …; give the base …\n")
    assert found == 1


def fake_store(folder: Path, model: Path, kind: str, lora: dict[str, Any] | None, **changes: Any) -> None:
    """A store of this base whose tensors are all ones: over all weights, or over an adapter's matrices."""
    network = pico_model()
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    end, scaling = {name: torch.ones(shape) for name, shape in shapes.items()}, {}
    if lora is not None:
        targets = lora["target_modules"]
        shapes = {name: shape for name, shape in shapes.items() if name.split(".")[-2] in targets}
        scaling = {name.removesuffix(".weight"): lora["alpha"] / lora["rank"] for name in shapes}
        end = {f"{m}.lora_A.default.weight": torch.ones(lora["rank"], shapes[f"{m}.weight"][1]) for m in scaling}
        end |= {f"{m}.lora_B.default.weight": torch.ones(shapes[f"{m}.weight"][0], lora["rank"]) for m in scaling}
    manifest = {
        "kind": kind, "lora": lora, "lora_scaling": scaling, "facts": {"norms": dict.fromkeys(shapes, 1.0)},
        "base": {"path": "pico", "digest": f"sha256:{sha256_of([model / 'model.safetensors'])}"},
    }  # fmt: skip
    ones = {name: torch.ones(shape) for name, shape in shapes.items()}
    write_store(folder, ones, end if kind == "path-integral" else {}, shapes, manifest | changes)


QV = {"rank": 4, "alpha": 32.0, "target_modules": ["q_proj", "v_proj"]}
OTHER_BASE = {"base": {"path": "SmolLM2-135M", "digest": f"sha256:{'0' * 64}"}}

# (the method, lora of the run, the store: kind, lora and what else its manifest says, the sentence, exit code)
STORES: dict[str, tuple[dict[str, Any], Any, tuple[str, Any, dict[str, Any]], str, int]] = {
    "no store": ({"name": "ewc"}, None, ("fisher", None, {}),
        "{C}:7: method.store: is required and missing. …", 3),
    "a store that is not there": ({"name": "ewc", "store": "{F}/none"}, None, ("fisher", None, {}),
        "{C}:9: method.store: '{F}/none' does not exist; `acclimate stats fisher CONFIG --output FOLDER` makes one.", 3),
    "a folder that is no store": ({"name": "hlr", "store": "{F}"}, None, ("fisher", None, {}),
        "{C}:9: method.store: '{F}' is no statistics store: it has no manifest.json; `acclimate stats path-integral CONFIG --output FOLDER` makes one.", 3),
    "a store of another kind": ({"name": "dba", "store": "{S}"}, None, ("fisher", None, {}),
        "{C}:9: method.store: '{S}' holds a fisher, … reads a mean-gradient; `acclimate stats mean-gradient CONFIG --output FOLDER` makes one.", 3),
    "a store of another base": ({"name": "ewc", "store": "{S}"}, None, ("fisher", None, OTHER_BASE),
        "{C}:9: method.store: '{S}' was taken on another base (SmolLM2-135M, sha256:000000000000) than this run's ({B}); give model.path that base, or … `acclimate stats fisher` with this configuration.", 3),
    "a store of an adapter's matrices in full tuning": ({"name": "ewc", "store": "{S}"}, None, ("fisher", QV, {}),
        "{C}:9: method.store: '{S}' … matrices of an adapter … lacks 16 of the 20 weights … 'model.embed_tokens.weight' first; take it again: `acclimate stats fisher` with this configuration.", 3),
    "a store of other adapted modules": ({"name": "dba", "store": "{S}"}, QV | {"target_modules": ["q_proj", "k_proj"]},
        ("mean-gradient", QV, {}),
        "{C}:9: method.store: '{S}' … matrices of an adapter … lacks 2 of the 4 weights … 'model.layers.0.self_attn.k_proj.weight' first; take it again: `acclimate stats mean-gradient` with this configuration.", 3),
    "the end of a path under full tuning, under LoRA": ({"name": "hlr", "store": "{S}"}, QV, ("path-integral", None, {}),
        "{C}:9: method.store: '{S}' … a path under full tuning, … under LoRA cannot start; … `acclimate stats path-integral` with this configuration.", 3),
    "the end of a path of another adapter": ({"name": "hlr", "store": "{S}"}, QV | {"rank": 8}, ("path-integral", QV, {}),
        "{C}:9: method.store: '{S}' … a path of another adapter (rank 4, alpha 32, target_modules ['q_proj', 'v_proj']), … cannot start; give lora: the same, or … `acclimate stats path-integral` with this configuration.", 3),
    "the end of a path of another scaling": ({"name": "hlr", "store": "{S}"}, QV | {"alpha": 8.0}, ("path-integral", QV, {}),
        "{C}:9: method.store: '{S}' … a path of another adapter (rank 4, alpha 32, target_modules ['q_proj', 'v_proj']), … cannot start; give lora: the same, or … `acclimate stats path-integral` with this configuration.", 3),
    "a negative weight of a penalty": ({"name": "ewc", "store": "{S}", "weight": -1}, None, ("fisher", None, {}),
        "{C}:10: method.weight: -1 should be greater than or equal to 0. (lambda; 0 is sft bitwise)", 3),
    "a negative phi": ({"name": "hlr", "store": "{S}", "phi": -1}, None, ("path-integral", None, {}),
        "{C}:10: method.phi: -1 should be greater than or equal to 0. (e^-3, or 1e-3: the source is ambiguous; 0 is sft from theta*)", 3),
    "a limit of nothing": ({"name": "dba", "store": "{S}", "k0": 0.2, "k_max": 0.5}, None, ("mean-gradient", None, {}),
        "{C}:7: method: k_max limits 200/T, so it has no effect beside k0; keep one.", 3),
    "a method twice": ([{"name": "dba", "store": "{S}", "correction": True}, {"name": "dba", "store": "{S}"}],
        None, ("mean-gradient", None, {}), "{C}:7: method: 'dba' is listed twice; keep one.", 3),
}  # fmt: skip


@pytest.mark.parametrize("case", STORES)
def test_wrong_store(
    case: str, pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    method, lora, (kind, own, changes), sentence, code = STORES[case]
    folder, path = tmp_path / "store", tmp_path / "c.yaml"
    fake_store(folder, pico_folder, kind, own, **changes)
    method = json.loads(json.dumps(method).replace("{S}", str(folder)).replace("{F}", str(tmp_path)))
    data = settings(pico_folder, corpora, tmp_path / "runs", method=method) | ({"lora": lora} if lora else {})
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    base = f"sha256:{sha256_of([pico_folder / 'model.safetensors'])[:12]}"
    names = {"F": tmp_path, "S": folder, "C": path, "B": base}
    found, _, err = run_cli(["validate", str(path)], monkeypatch, capsys)
    assert says(err, f"Error: {sentence.format(**names)}\n")
    assert found == code


def only_domain(data: dict[str, Any], folder: Path) -> None:
    data["sources"] = {"domain": data["sources"]["domain"]}
    data["budget"]["count"] = "domain"


def begun(data: dict[str, Any], folder: Path) -> None:
    (folder / "o.recording" / "fisher").mkdir(parents=True)
    (folder / "o.recording" / "fisher" / "config.yaml").write_text("")


# (the kind, what else is on the command line, a change of the configuration, the sentence, exit code)
STATS: dict[str, tuple[str, list[str], Edit, str, int]] = {
    "an unknown source": ("fisher", ["--source", "generl"], put("seed", 0),
        "--source: there is no source 'generl'; the configuration has domain, general or chat. Did you mean 'general'?", 3),
    "a statistic without general text": ("mean-gradient", [], only_domain,
        "{C}:8: sources: none of domain has the route general, over which the statistic is taken; give one route: general, or name one with --source.", 3),
    "a rank of 0": ("mean-gradient", ["--rank", "0"], put("seed", 0),
        "--rank: 0 should be 1 or more; leave it out to keep matrices dense.", 3),
    "an xi of 0": ("path-integral", ["--xi", "0"], put("seed", 0),
        "--xi: 0 should be above 0; …", 3),
    "no tokens": ("fisher", ["--tokens", "0"], put("seed", 0), "--tokens: 0 should be 1 or more.", 3),
    "an output that is not empty": ("fisher", ["--output", "{F}"], put("seed", 0),
        "--output: '{F}' holds something already; …", 3),
    "a recording that was begun": ("fisher", [], begun,
        "--output: a fisher for '{F}/o' was begun before; continue it with --resume, or remove '{F}/o.recording/fisher'.", 3),
    "a path with dropout": ("path-integral", [], put("lora", {"rank": 4, "dropout": 0.1}),
        "{C}:38: lora.dropout: … set it to 0 for acclimate stats path-integral.", 3),
    "quantised weights": ("fisher", [], both(put("lora", {"rank": 4}), put("model.quantization", "nf4")),
        "{C}:7: model.quantization: quantised weights have no gradient …; leave it out here. …", 3),
    "a path on which nothing moves": ("path-integral", [], put("optimizer.learning_rate", 1e-45),
        "The weights did not move, … raise optimizer.learning_rate or --tokens.", 1),
}  # fmt: skip


@pytest.mark.parametrize("case", STATS)
def test_wrong_statistic(
    case: str, pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    kind, arguments, edit, sentence, code = STATS[case]
    data, path = settings(pico_folder, corpora, tmp_path / "runs"), tmp_path / "c.yaml"
    edit(data, tmp_path)
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    given = [word.format(F=tmp_path) for word in arguments]
    output = [] if "--output" in given else ["--output", str(tmp_path / "o")]
    tokens = [] if "--tokens" in given else ["--tokens", "200"]
    found, _, err = run_cli(["stats", kind, str(path), *given, *output, *tokens], monkeypatch, capsys)
    assert says(err, f"Error: {sentence.format(C=path, F=tmp_path)}\n")
    assert found == code
    assert not (tmp_path / "o").exists()


def test_a_statistic_in_several_processes(
    pico_folder: Path,
    corpora: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(settings(pico_folder, corpora, tmp_path)))
    monkeypatch.setattr(os, "_exit", sys.exit)
    arguments = ["stats", "fisher", str(tmp_path / "c.yaml"), "--output", str(tmp_path / "o")]
    found, _, err = run_cli(arguments, monkeypatch, capsys)
    assert says(err, "Error: acclimate stats … in one process, … one of 2; … without torchrun. …\n")
    assert found == 3


def test_the_table_is_long_enough() -> None:
    assert len(TABLE) >= 80
