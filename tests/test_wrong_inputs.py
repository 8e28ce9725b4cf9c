"""Wrong inputs and the exact sentence each gets, through the command line."""

# ruff: noqa: E501 (sentences stand on one line)

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from acclimate.cli import main
from tests.fixtures.runs import settings

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


GOOD = "".join(json.dumps({"text": f"A good line number {i}."}) + "\n" for i in range(12))

# (edit, the sentence with {F} for the folder and {C} for the configuration file, exit code)
TABLE: dict[str, tuple[Edit, str, int]] = {
    "unknown section": (put("optimzer", {}), "{C}:35: optimzer: there is no such key. Did you mean 'optimizer'?", 3),
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
        "{C}:9: sources.domain.path: is required and missing. (file, folder or glob of .txt, .md, .jsonl; or a list of them)", 3,
    ),
    "no sources": (put("sources", {}), "{C}:8: sources: is empty.", 3),
    "wrong literal": (
        put("schedule", {"type": "cosin"}),
        "{C}:36: schedule.type: 'cosin' is not accepted; accepted: cosine, linear, constant or wsd. Did you mean 'cosine'?", 3,
    ),
    "share above 1": (
        put("sources.domain.share", 50),
        "{C}:11: sources.domain.share: 50 should be less than or equal to 1. "
        "(part of all trained tokens; shares are normalised over used sources)", 3,
    ),
    "text for a number": (
        put("optimizer.learning_rate", "fast"),
        "{C}:26: optimizer.learning_rate: 'fast' should be a valid number, unable to parse string as a number.", 3,
    ),
    "two budgets": (
        put("budget.tokens", 5), "{C}:22: budget: needs exactly one of tokens, steps or epochs, got tokens and steps.", 3,
    ),
    "budget counts nothing": (
        put("budget.count", "domian"),
        "{C}: budget.count is 'domian', which is no source; accepted: domain, general, chat or all. Did you mean 'domain'?", 3,
    ),
    "budget counts an unused source": (
        both(put("method", "sft"), put("budget.count", "general")),
        "budget.count: 'general' is not trained on by this method; count domain or all.", 3,
    ),
    "batch smaller than a row": (
        put("budget.batch_tokens", 50),
        "budget.batch_tokens is 50, but one packed row may hold 96 trained tokens; set it to at least "
        "data.sequence_length (96), or shorten the rows.", 3,
    ),
    "unknown method": (put("method", "moll"), "method: there is no method 'moll'; accepted: sft, replay, mol or l2. Did you mean 'mol'?", 3),
    "unknown method setting": (
        put("method", {"name": "mol", "kl_wieght": 2}), "method: kl_wieght: there is no such key. Did you mean 'kl_weight'?", 3,
    ),
    "wrong method setting": (
        put("method", {"name": "mol", "direction": "reversed"}),
        "method: direction: 'reversed' is not accepted; accepted: reverse, forward or js. Did you mean 'reverse'?", 3,
    ),
    "negative weight": (
        put("method", {"name": "l2", "weight": -1}),
        "method: weight: -1 should be greater than or equal to 0. (of the squared distance; 0 is sft bitwise [ours: default])", 3,
    ),
    "clashing methods": (
        put("method", ["sft", "replay"]),
        "method: 'replay' wants cross_entropy on domain or general, another method of the list wants it on domain; "
        "these do not compose, use one of them.", 3,
    ),
    "route that no term looks at": (
        put("sources.chat.route", "genral"),
        "sources.chat: its route is 'genral', which no loss term of 'mol' looks at; give it route: domain or general, "
        "or its own terms. Did you mean 'general'?", 3,
    ),
    "no general source": (
        both(drop("sources.general"), drop("sources.chat")),
        "method: 'mol' learns reverse_kl from route 'general', but no token is on it; the sources are 'domain' (route domain). "
        "Name a source 'general' or set its route: general.", 3,
    ),
    "unknown term": (
        both(drop("sources.chat"), put("sources.general.terms", {"kl": 1.0})),
        "sources.general.terms: there is no loss term 'kl'; accepted: cross_entropy, reverse_kl, forward_kl or js.", 3,
    ),
    "terms on a shared route": (
        put("sources.general.terms", {"js": 1.0}),
        "sources.general.terms: the route 'general' is shared with sources.chat; leave route out, so that the terms hold "
        "for this source alone.", 3,
    ),
    "another version": (put("version", 2), "{C}:35: version: this file is of version 2; this acclimate reads version 1.", 3),
    "bad name": (put("name", "a/b"),
        """{C}:1: name: 'a/b' is not accepted; accepted: letters, digits, '.', '_' and '-'.""", 3,
    ),
    "best of nothing": (
        put("training.final", "best"), "{C}:30: training: final: best needs eval_steps, which measures what best is.", 3,
    ),
    "missing data": (put("sources.domain.path", "no/such.jsonl"),
        """sources.domain.path: 'no/such.jsonl' matches no file or folder (looked from {CWD}).""", 1,
    ),
    "bad json": (domain_file("bad.jsonl", GOOD + '{"text": "x"\n'),
        """{F}/bad.jsonl:13: this is not JSON: Expecting ',' delimiter (column 13); a .jsonl file holds one JSON object a line.""", 1,
    ),
    "no known field": (domain_file("odd.jsonl", GOOD + '{"body": "x"}\n'),
        """{F}/odd.jsonl:13: this record has no field to learn from: it has 'body'; accepted: 'text', 'messages', or 'prompt' and 'completion'.""", 1,
    ),
    "wrong type": (domain_file("type.jsonl", GOOD + '{"text": 5}\n'),
        """{F}/type.jsonl:13: 'text' must be a string, not a number.""", 1,
    ),
    "not utf-8": (domain_file("latin.txt", "caf\xe9".encode("latin-1")),
        """{F}/latin.txt: byte 3 (0xe9) is not UTF-8; save the file as UTF-8 text.""", 1,
    ),
    "unknown extension": (domain_file("data.parquet", b"PAR1"),
        """sources.domain.path: '{F}/data.parquet' is a file of type '.parquet'; accepted: .txt, .md or .jsonl.""", 1,
    ),
    "everything held out": (put("sources.domain.heldout", 500),
        """sources.domain.heldout: 500 holds out 500 of 40 documents, which leaves none to train on; lower it, or set heldout: 0 and give more or shorter documents.""", 1,
    ),
    "half a document": (put("sources.domain.heldout", 2.5),
        """sources.domain.heldout: 2.5 is neither a share (below 1) nor a whole count of documents.""", 3,
    ),
    "thinking without a template for it": (
        put("sources.chat.thinking", "on"),
        """sources.chat.thinking: the model's chat template never reads enable_thinking, so the option would have no effect; leave it out.""", 3,
    ),
    "unknown chat role": (both(drop("sources.chat.route"), put("sources.chat.routes", {"asistant": "general"})),
        """sources.chat.routes names the role 'asistant', which no document has; roles found: assistant, user. Did you mean 'assistant'?""", 1,
    ),
    "a boolean for a number": (
        put("optimizer.learning_rate", True), "{C}:26: optimizer.learning_rate: true is no number.", 3,
    ),
    "infinity": (
        put("lora", {"alpha": float("inf")}), "{C}:36: lora.alpha: inf should be a finite number.", 3,
    ),
    "a word for a section": (
        put("model", "pico"), "{C}:3: model: 'pico' is not a section: write its keys below it, indented.", 3,
    ),
    "an empty path": (
        put("sources.domain.path", ""),
        "{C}:10: sources.domain.path: is empty. (file, folder or glob of .txt, .md, .jsonl; or a list of them)", 3,
    ),
    "routes and route": (
        put("sources.chat.routes", {"assistant": "general"}),
        "sources.chat: 'routes' gives every learned role its route, so 'route' would have no effect; keep one of them.", 3,
    ),
    "a method twice": (put("method", ["mol", {"name": "mol", "kl_weight": 3}]), "method: 'mol' is listed twice; keep one.", 3),
    "a method without a name": (put("method", {"name": ["mol"]}), "method: needs a name; accepted: sft, replay, mol or l2.", 3),
    "longer than the model": (
        put("data.sequence_length", 4096),
        "data.sequence_length: 4096 is more than the 512 positions this model was made for; lower it.", 3,
    ),
    "logits dtype without effect": (
        put("objective.logits_dtype", "bfloat16"),
        "objective.logits_dtype: bfloat16 has no effect on a float32 model, whose logits are float32; leave it out.", 3,
    ),
    "schedule setting without effect": (
        put("schedule.decay_ratio", 0.5), "{C}:35: schedule: decay_ratio has no effect on type cosine; it belongs to wsd.", 3,
    ),
    "a source name that is a path": (
        put("sources", {"../evil": {"path": "x"}}),
        "{C}:8: sources: '../evil' is no name for a source: letters, digits, '.', '_' and '-', and not 'all'.", 3,
    ),
    "best without held-out domain text": (
        both(put("training", {"final": "best", "eval_steps": 2}), put("sources.domain.heldout", 0)),
        "training.final: best is judged by held-out text of the domain, but no source of role domain holds any out; set "
        "sources.NAME.heldout, or role: domain, or final: last.", 3,
    ),
    "shares leave nothing": (
        both(put("sources.domain.share", 1.0), put("sources.general.share", 0.5), drop("sources.chat.share")),
        "The given shares sum to 1.5, which leaves nothing for sources.chat.share; lower the given ones or give every "
        "source a share.", 3,
    ),
    "missing model folder": (
        put("model.path", "./no-model"),
        "model.path: './no-model' is no model folder or .gguf file; give a folder written by save_pretrained, a .gguf file, "
        "or a hub id such as 'HuggingFaceTB/SmolLM2-135M-Instruct'.", 1,
    ),
    "device that is not here": (put("model.device", "cuda:7"),
        """model.device: 'cuda:7' is not usable here (Torch not compiled with CUDA enabled); accepted: auto, cpu.""", 1,
    ),
    "lora target that matches nothing": (
        put("lora", {"target_modules": ["qq"]}),
        """lora.target_modules: ['qq'] fits no part of this model that LoRA can adapt; its linear layers are called down_proj, gate_proj, k_proj, lm_head, o_proj, q_proj, up_proj, v_proj. (PEFT: Target modules {{'qq'}} not found in the base model. Please check the target modules and try again.)""", 1,
    ),
    "epochs of a stream": (
        both(put("sources.domain.streaming", True), drop("budget.steps"), put("budget.epochs", 2)),
        "{C}: budget.epochs: how long an epoch of 'domain' is cannot be known, since it is streamed; give budget.tokens or "
        "budget.steps.", 3,
    ),
    "epochs of all, one of them a stream": (
        both(put("sources.chat.streaming", True), drop("budget.steps"), put("budget", {"epochs": 2, "count": "all"})),
        "{C}: budget.epochs: how long an epoch of 'chat' is cannot be known, since it is streamed; give budget.tokens or "
        "budget.steps.", 3,
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
        "sources.domain.heldout: 40 holds out all of the first 40 documents of the stream, which leaves none to train on; "
        "lower it, or set heldout: 0 and give more or shorter documents.", 1,
    ),
    "a stream with less than is held out": (
        both(put("sources.domain.streaming", True), put("sources.domain.heldout", 50)),
        "sources.domain.heldout: 50 cannot be met: the first 40 documents of the stream hold 40 to hold out; give another "
        "count of documents, or 0 to measure nothing on this source.", 1,
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
    assert err == f"Error: {sentence.format(C=path, F=tmp_path, CWD=Path.cwd())}\n"
    assert found == code
    assert "Traceback" not in err
    assert not list((tmp_path / "runs").glob("run*"))  # nothing was begun


def test_the_table_is_long_enough() -> None:
    assert len(TABLE) >= 25
