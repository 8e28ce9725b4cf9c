"""Whole runs in the corners: what a user can meet, from seeds to moved folders."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from acclimate.build import build_objective, heldout_prompts, mix, resolve
from acclimate.build.plan import compose
from acclimate.config.load import load_config, parse_config
from acclimate.data.corpus import load_corpora
from acclimate.measurement.generate import chat_prompt
from acclimate.model.load import load_tokenizer
from acclimate.reports import collect, write_report
from acclimate.runs.layout import read_json
from acclimate.runs.scores import read_lines
from acclimate.types.errors import ConfigError, RunError, UsageError
from acclimate.verbs import run as run_module
from acclimate.verbs.export import export
from acclimate.verbs.run import evaluate_run, train
from acclimate.verbs.validate import validate
from tests.data.tables import write as write_table
from tests.fixtures.pico import pico_tokenizer
from tests.fixtures.runs import config, settings
from tests.fixtures.sentences import says

SHORT = {"steps": 2, "batch_tokens": 128}


def test_seeds_of_a_comparison_share_their_base(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    runs = [
        train(config(pico_folder, corpora, tmp_path, name=f"{m}-{s}", method=m, seed=s, budget=SHORT)).run_dir
        for m in ("sft", "mol")
        for s in (0, 1)
    ]
    data = collect(runs)
    assert [(run.label, len(run.seeds)) for run in data.runs] == [("sft", 2), ("mol", 2)]
    write_report(runs, tmp_path / "r.html")
    first, second = ((run / "model" / "model.safetensors").read_bytes() for run in runs[:2])
    assert first != second  # a seed does change the run


def test_a_streamed_run_says_what_it_does_not_know(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    sources = {
        "domain": {"path": str(corpora / "domain.jsonl"), "heldout": 4, "streaming": True, "share": 0.5},
        "general": {"path": str(corpora / "general.jsonl"), "heldout": 4, "share": 0.5},
    }
    settings = config(pico_folder, corpora, tmp_path, budget=SHORT)
    settings = parse_config(settings.model_dump(mode="json") | {"sources": sources})
    plan = validate(settings)
    (streamed,) = [warning for warning in plan.warnings if warning.startswith("source 'domain' is streamed:")]
    assert says(streamed, "source 'domain' is streamed: … 40 documents …")
    run_dir = train(settings).run_dir
    ours = [
        path for path in run_dir.rglob("*.json*") if path.relative_to(run_dir).parts[0] not in ("model", "checkpoints")
    ]
    assert len(ours) >= 8
    assert [path for path in ours if '"version": 1' not in path.read_text()[:20]] == []
    data = read_json(run_dir / "data.json")
    assert plan.data == {
        key: value for key, value in data.items() if key not in ("parameters", "attention", "memorisation", "turn_ends")
    }
    streamed, prepared = data["sources"]["domain"], data["sources"]["general"]
    unknown = {"documents", "train_documents", "tokens", "trained_tokens", "epochs", "dropped"}
    unknown |= {"cut_documents", "cut_labels", "cut_prompts", "control_documents", "control_bytes"}
    assert {key for key, value in streamed.items() if value is None} == unknown
    assert streamed["streamed"]
    assert (streamed["heldout_documents"], streamed["share"]) == (4, 0.5)
    assert None not in prepared.values()
    assert [row["ngrams_hit"] for row in data["overlap"] if row["train_source"] == "domain"] == [None, None]
    assert [row["ngrams_hit"] for row in data["overlap"] if row["train_source"] == "general"] == [0, 0]
    page = write_report([run_dir], tmp_path / "r.html").read_text()
    assert page.count("not counted") == 4 + 1 + 2 * 2  # numbers of the source, its dropped rows, two rows of overlap
    assert "| not counted |" in (run_dir / "model" / "README.md").read_text()
    lines = read_lines(run_dir / "metrics.jsonl")
    assert all(line["data_seconds"] >= 0 and line["epochs/domain"] == 0 for line in lines)
    again = evaluate_run(run_dir)
    assert len(again.summary) > 0


def test_a_model_with_dropout_is_anchored_exactly(corpora: Path, tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    shape = GPT2Config(vocab_size=259, n_embd=32, n_layer=2, n_head=4, n_positions=512, initializer_range=0.2)
    assert shape.resid_pdrop > 0
    GPT2LMHeadModel(shape).save_pretrained(tmp_path / "gpt2")
    pico_tokenizer().save_pretrained(tmp_path / "gpt2")
    result = train(config(tmp_path / "gpt2", corpora, tmp_path / "runs", budget=SHORT))
    first, second = read_lines(result.run_dir / "metrics.jsonl")
    assert first["loss/general/reverse_kl"] == 0
    assert second["loss/general/reverse_kl"] > 0


def test_expected_counts_are_of_tokens_or_pieces(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    sources = {
        "domain": {"path": str(corpora / "domain.jsonl"), "share": 0.95},
        "general": {"path": str(corpora / "general.jsonl"), "share": 0.05},
    }
    for average in ("token", "sequence"):
        settings = resolve(
            config(pico_folder, corpora, tmp_path, sources=sources, objective={"average": average})
        ).config
        settings = settings.model_copy(update={"sources": {n: settings.sources[n] for n in sources}})
        loaded = load_corpora(settings, load_tokenizer(settings.model))
        general = loaded.sources["general"].train
        expected = 128 * 0.05 / 0.95 * (1 if average == "token" else len(general) / general.labels.sum())
        found = mix(settings, loaded, build_objective(settings, compose(settings).terms, loaded)).expected
        assert found == [None, pytest.approx(expected)]


def test_a_source_of_share_0_is_measured_and_not_trained_on(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    sources = settings(pico_folder, corpora, tmp_path)["sources"]
    sources["chat"]["share"] = 0
    result = train(config(pico_folder, corpora, tmp_path, sources=sources, budget=SHORT, method="mol"))
    assert {record["set"] for record in result.summary} == {"domain", "general", "chat"}
    lines = read_lines(result.run_dir / "metrics.jsonl")
    assert all(line["trained_tokens/general"] > 0 for line in lines)
    assert not any("trained_tokens/chat" in line or "loss/chat/reverse_kl" in line for line in lines)
    sources["general"]["share"] = 0
    with pytest.raises(ConfigError, match=r"no token is on it; the sources are .* 'chat' \(route general, share 0\)"):
        train(config(pico_folder, corpora, tmp_path, sources=sources, budget=SHORT, method="mol", name="none"))


def test_validation_measures_other_documents(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    places: dict[str, set[str]] = {}
    for split in ("test", "validation"):
        run = config(pico_folder, corpora, tmp_path, name=split, budget=SHORT, method="sft", data={"split": split})
        lines = read_lines(train(run).run_dir / "eval" / "domain.jsonl")
        places[split] = {line["where"] for line in lines}
    assert len(places["test"]) == len(places["validation"]) == 4
    assert not places["test"] & places["validation"]


def test_trajectories_route_by_role_and_by_message(pico_folder: Path, tmp_path: Path) -> None:
    """The MoL-RL case: one source whose tool output gets CE and whose own text gets KL."""
    by_role, by_message = [], []
    for i in range(20):
        turns = [
            ("user", f"Ask {i}"),
            ("assistant", f"call {i}"),
            ("tool", f"result is {i * 7}"),
            ("assistant", "done"),
        ]
        by_role.append({"messages": [{"role": role, "content": text} for role, text in turns]})
        routes = {"assistant": "general", "tool": "domain"}
        marked = [{"role": r, "content": t} | ({"route": routes[r]} if r in routes else {}) for r, t in turns]
        by_message.append({"messages": marked})
    losses = []
    for name, rows, routed in (("role", by_role, True), ("message", by_message, False)):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)))
        source = {"path": str(path), "heldout": 0} | (
            {"routes": {"tool": "domain", "assistant": "general"}} if routed else {}
        )
        settings = config(
            pico_folder,
            tmp_path,
            tmp_path / "runs",
            name=name,
            budget={"steps": 3, "count": "domain", "batch_tokens": 128},
        )
        settings = settings.model_copy(update={"sources": {"domain": type(settings.sources["domain"])(**source)}})
        result = train(settings)
        lines = read_lines(result.run_dir / "metrics.jsonl")
        losses.append([(line["loss/domain/cross_entropy"], line["loss/domain/reverse_kl"]) for line in lines])
        assert lines[0]["loss/domain/reverse_kl"] == 0 < lines[-1]["loss/domain/reverse_kl"]
    assert losses[0] == losses[1]


def test_chats_without_a_question_and_empty_prompts(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd.jsonl"
    rows: list[dict[str, Any]] = [
        {"messages": [{"role": "assistant", "content": f"Hello number {i}."}]} for i in range(6)
    ]
    rows += [{"prompt": "" if i % 2 else f"What is {i}? " * 9, "completion": f"It is {i}."} for i in range(6)]
    odd.write_text("\n".join(map(json.dumps, rows)))
    joined = {"path": str(odd), "heldout": 8, "pairs": "joined"}
    settings = config(pico_folder, corpora, tmp_path, budget=SHORT, evaluation={"generations": 12})
    sources = settings.sources | {"chat": settings.sources["chat"].model_copy(update=joined)}
    result = train(settings.model_copy(update={"sources": sources}))
    shown = [
        a["prompt"]
        for a in json.loads((result.run_dir / "generations.json").read_text())["answers"]
        if a["set"] == "chat"
    ]
    assert all(prompt.endswith("? ") for prompt in shown)  # whole questions, and nothing else
    assert chat_prompt(pico_tokenizer(), [{"role": "assistant", "content": "x"}], None) == ("", [])


def test_prompts_that_leave_no_room_for_an_answer_are_passed_over(
    pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    path = tmp_path / "long.jsonl"
    rows = [{"prompt": "What is it? " * (60 if i % 2 else 2), "completion": f"It is {i}."} for i in range(12)]
    path.write_text("\n".join(map(json.dumps, rows)))
    settings = config(pico_folder, corpora, tmp_path, budget=SHORT, evaluation={"generations": 8})
    long = settings.sources["chat"].model_copy(update={"path": str(path), "heldout": 8})
    settings = settings.model_copy(update={"sources": settings.sources | {"chat": long}})
    found = load_corpora(settings, pico_tokenizer())
    asked = [len(ids) for name, _, ids in heldout_prompts(settings, found, pico_tokenizer(), 200) if name == "chat"]
    every = [len(ids) for name, _, ids in heldout_prompts(settings, found, pico_tokenizer(), 2**20) if name == "chat"]
    assert max(asked) + settings.evaluation.max_new_tokens <= 200 < max(every)
    assert len(asked) >= 1


def test_nothing_held_out(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    settings = config(pico_folder, corpora, tmp_path, budget=SHORT)
    sources = {name: section.model_copy(update={"heldout": 0}) for name, section in settings.sources.items()}
    result = train(settings.model_copy(update={"sources": sources}))
    assert result.summary == []
    export(result.run_dir, tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_a_failure_after_training_costs_no_training(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(pico_folder, corpora, tmp_path, budget=SHORT)

    def fails(*arguments: Any) -> Any:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "side_by_side", fails)
        with pytest.raises(OSError, match="No space"):
            train(settings)
    spent = json.loads((settings.run_dir / "provenance.json").read_text())
    assert spent["forward_tokens"] > spent["apart_forward_tokens"] == 0
    assert spent["train_seconds"] > 0 < spent["train_peak_memory_mib"]
    assert "finished" not in spent
    trained = (settings.run_dir / "model" / "model.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(run_module, "run_loop", fails)  # nothing is trained again
    result = train(settings, resume=True)
    assert result.summary
    record = json.loads((settings.run_dir / "provenance.json").read_text())
    assert {key: record[key] for key in spent if key != "sessions"} == {
        k: v for k, v in spent.items() if k != "sessions"
    }
    assert record["sessions"][:1] == spent["sessions"]
    assert record["finished"] >= record["started"]  # in seconds
    assert (settings.run_dir / "model" / "model.safetensors").stat().st_mtime_ns == trained
    assert (settings.run_dir / "model" / "README.md").is_file()


def test_a_run_is_used_from_anywhere(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative paths in the configuration; the run folder moved; another working folder."""
    shutil.copytree(pico_folder, tmp_path / "pico")
    shutil.copytree(corpora, tmp_path / "text")
    monkeypatch.chdir(tmp_path)
    result = train(config(Path("pico"), Path("text"), Path("runs"), budget=SHORT, lora={"rank": 2}))
    adapter = json.loads((result.run_dir / "model" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == str(tmp_path / "pico")
    assert load_config(result.run_dir / "config.yaml").model.path == str(tmp_path / "pico")
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "runs" / "run", tmp_path / "elsewhere" / "moved")
    monkeypatch.chdir("/")
    assert evaluate_run(tmp_path / "elsewhere" / "moved").summary == result.summary


def test_a_run_finds_what_validate_indexed(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the configuration names its files from the working folder."""
    monkeypatch.chdir(corpora)
    sources = {name: {"path": f"{name}.jsonl", "share": 0.5, "heldout": 4} for name in ("domain", "general")}
    named = settings(pico_folder, corpora, tmp_path, data={"cache_dir": str(tmp_path / "cache")}) | {"sources": sources}
    validate(parse_config(named))
    cached = sorted((tmp_path / "cache").rglob("*"))
    train(parse_config(named))
    assert sorted((tmp_path / "cache").rglob("*")) == cached


def test_sources_of_other_formats_are_trained_on_and_continued(
    pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    rows = {name: [json.loads(line) for line in (corpora / f"{name}.jsonl").open()] for name in ("domain", "chat")}
    body = [{"body": row["text"]} for row in rows["domain"]]
    write_table(tmp_path / "domain.parquet", [*body, {"body": None}])
    general = tmp_path / "general.jsonl.gz"
    general.write_bytes(gzip.compress((corpora / "general.jsonl").read_bytes()))
    changed = config(pico_folder, corpora, tmp_path, budget=SHORT).model_dump()
    changed["sources"]["domain"] |= {
        "path": str(tmp_path / "domain.parquet"), "fields": {"text": "body"}, "on_bad_row": "skip",
    }  # fmt: skip
    changed["sources"]["general"]["path"] = str(general)
    changed["sources"]["chat"]["path"] = str(write_table(tmp_path / "saved", rows["chat"]))
    run = parse_config(changed)
    other = train(config(pico_folder, corpora, tmp_path, name="jsonl", budget=SHORT))
    result = train(run)
    assert [record["value"] for record in result.summary] == [record["value"] for record in other.summary]
    dropped = json.loads((result.run_dir / "data.json").read_text())["sources"]["domain"]["dropped"]
    assert dropped == {"bad row: wrong type (first: domain.parquet:row 41)": 1}
    assert evaluate_run(result.run_dir).summary == result.summary


def test_changed_documents_are_not_continued_with(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    text = shutil.copytree(corpora, tmp_path / "text")
    result = train(config(pico_folder, text, tmp_path, budget=SHORT))
    provenance = (result.run_dir / "provenance.json").read_text()
    (text / "domain.jsonl").write_text((text / "domain.jsonl").read_text().replace("kidney", "liver"))
    with pytest.raises(RunError, match="other contents of source 'domain'"):
        evaluate_run(result.run_dir)
    assert (result.run_dir / "provenance.json").read_text() == provenance


def test_another_tokenizer_or_configuration_is_not_continued_with(
    pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    base = shutil.copytree(pico_folder, tmp_path / "base")
    run = train(config(base, corpora, tmp_path, budget=SHORT)).run_dir
    file = base / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"rope_theta": 77.0}))
    with pytest.raises(RunError, match=r"other contents of the base model's config\.json or tokenizer"):
        evaluate_run(run)


def test_an_output_folder_that_cannot_be(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match=r"output_dir: '.*file/runs' cannot be written to; choose another folder."):
        train(config(pico_folder, corpora, tmp_path / "file" / "runs"))
    below_proc = config(pico_folder, corpora, Path("/proc/no/runs"))
    with pytest.raises(ConfigError, match=r"output_dir: '/proc/no/runs' cannot be written to"):
        validate(below_proc)


def test_disk_full_leaves_nothing_half(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import SafetensorError

    from acclimate.parallel import saved

    settings = config(pico_folder, corpora, tmp_path, training={"save_steps": 2})
    written = []

    def full(tensors: Any, path: Path) -> None:
        if written:
            raise SafetensorError("No space left on device")
        written.append(path)
        original(tensors, path)

    original = saved.save_file
    monkeypatch.setattr(saved, "save_file", full)
    with pytest.raises(RunError, match=r"step-00000004' could not be written .*; checkpoints .* are unharmed"):
        train(settings)
    assert [path.name for path in (settings.run_dir / "checkpoints").iterdir()] == ["step-00000002"]
    monkeypatch.setattr(saved, "save_file", original)
    assert train(settings, resume=True).summary


def test_a_run_from_before_groups_keeps_its_split(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    settings = config(pico_folder, corpora, tmp_path, budget=SHORT)
    alone = {name: section.model_copy(update={"group": "none"}) for name, section in settings.sources.items()}
    result = train(settings.model_copy(update={"sources": alone}))
    tokenizer = load_tokenizer(settings.model)
    split, today = (
        {name: list(corpus.heldout.where) for name, corpus in load_corpora(found, tokenizer).sources.items()}
        for found in (settings.model_copy(update={"sources": alone}), settings)
    )
    assert split != today  # or nothing is tested
    path = result.run_dir / "config.yaml"
    data = yaml.safe_load(path.read_text())
    for section in data["sources"].values():
        del section["group"]
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    record = json.loads((result.run_dir / "provenance.json").read_text())
    del record["held_out"]
    (result.run_dir / "provenance.json").write_text(json.dumps(record))
    assert evaluate_run(result.run_dir).summary == result.summary
    record["held_out"] = dict.fromkeys(settings.sources, "another part")
    (result.run_dir / "provenance.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match="began with other contents of the held-out part of 'domain'"):
        evaluate_run(result.run_dir)
