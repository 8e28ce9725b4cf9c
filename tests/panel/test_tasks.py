"""Tasks of lm-eval over local files: the same items asked as a set of one's own give the same numbers."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
import yaml

from acclimate.measurement.panel import tasks
from acclimate.model.causal import CausalModel
from acclimate.model.pair import Pair
from acclimate.model.reference import FrozenCopy
from acclimate.paired.flips import Flips
from acclimate.paired.metrics import METRICS, gated
from acclimate.runs.panel import read_panel
from acclimate.types.errors import ConfigError, DataError
from acclimate.verbs.panel import PanelConfig, PanelResult, evaluate_panel, load_panel
from acclimate.verbs.panel.page import panel_tables, write_panel
from tests.fixtures.pico import pico_model, pico_tokenizer
from tests.fixtures.sentences import says
from tests.panel.test_panel import scripted

CHOICES = {
    "output_type": "multiple_choice", "doc_to_text": "Question: {{question}}\nAnswer:", "doc_to_choice": "{{choices}}",
    "doc_to_target": "{{answer}}", "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
}  # fmt: skip
ANSWERS = {
    "output_type": "generate_until", "doc_to_text": "{{question}}", "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4, "do_sample": False},
    "metric_list": [{"metric": "exact_match"}],
}  # fmt: skip


def write_task(folder: Path, name: str, records: list[dict[str, Any]], **config: Any) -> None:
    """folder/NAME.yaml and its items."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    files = {"data_files": {"test": str(folder / f"{name}.jsonl")}, "cache_dir": str(folder / "cache")}
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": files,
        "test_split": "test",
        "metadata": {"version": 1},
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(task | config))


@pytest.fixture
def organs(tmp_path: Path) -> Path:
    records = [{"question": f"Is it {i}?", "choices": ["ab", "cd", "e" * (i + 1)], "answer": i % 3} for i in range(30)]
    write_task(tmp_path / "tasks", "organs", records, **CHOICES)
    return tmp_path


def section(folder: Path, **changes: Any) -> dict[str, Any]:
    return {"kind": "lm_eval", "task": "organs", "include_path": str(folder / "tasks")} | changes


def measured(folder: Path, **changes: Any) -> PanelResult:
    model, base = (CausalModel(pico_model(seed), pico_tokenizer()) for seed in (1, 2))
    panel = changes.pop("panel", {})
    sets = {"task": section(folder, **changes)}
    if not changes:
        sets["own"] = {"kind": "choice", "path": str(folder / "tasks" / "organs.jsonl")}
    return evaluate_panel(model, FrozenCopy(base), PanelConfig.model_validate({"sets": sets} | panel))


@pytest.mark.parametrize("template", ["plain", "chat"])
def test_a_task_is_a_set_of_the_same_items(organs: Path, template: str) -> None:
    result = measured(organs, panel={"template": template})
    task, own = result.sets["task"], result.sets["own"]
    for line, other in zip(task.items, own.items, strict=True):
        assert line["right"] == other["right"]
        for side in ("model", "base"):
            assert line[side] == pytest.approx(other[side], abs=1e-4)
            for key in ("correct", "correct_norm"):
                assert line[f"{side}_{key}"] == other[f"{side}_{key}"]
    records = {(r["set"], r["metric"], r["run"]): r for r in result.records}
    for metric in ("accuracy_change", "accuracy_norm_change"):
        found, other = (
            {k: v for k, v in records[name, metric, "model"].items() if k != "set"} for name in ("task", "own")
        )
        assert found == other
        assert found["low"] < found["value"] < found["high"]
        assert found["p_holm"] >= found["p"]
    assert task.task is not None
    assert (task.task["task"], task.task["version"], task.task["num_fewshot"]) == ("organs", 1, 0)
    assert panel_tables(result, "tuned")


def test_what_was_asked_is_the_identity(organs: Path) -> None:
    first = measured(organs, max_items=10)
    assert len(first.sets["task"].items) == 10
    assert [line["where"] for line in first.sets["task"].items] != [f"organs:{i}" for i in range(10)]
    assert measured(organs, max_items=10).digest == first.digest
    others = [measured(organs, max_items=10, panel={"seed": 1}), measured(organs, max_items=10, num_fewshot=2)]
    assert len({first.digest, *(other.digest for other in others)}) == 3
    config = yaml.safe_load((organs / "tasks" / "organs.yaml").read_text())
    (organs / "newer").mkdir()
    (organs / "newer" / "organs.yaml").write_text(yaml.safe_dump(config | {"metadata": {"version": 2}}))
    newer = measured(organs, max_items=10, include_path=str(organs / "newer"))
    assert newer.sets["task"].items == first.sets["task"].items
    assert newer.digest != first.digest


def test_examples_are_as_many_as_asked_for(organs: Path) -> None:
    config = yaml.safe_load((organs / "tasks" / "organs.yaml").read_text())
    (organs / "tasks" / "organs.yaml").write_text(yaml.safe_dump(config | {"num_fewshot": 1}))
    shots = {None: 1, 0: 0, 2: 2}
    found = {asked: measured(organs, max_items=4, num_fewshot=asked).sets["task"] for asked in shots}
    assert {asked: one.task and one.task["num_fewshot"] for asked, one in found.items()} == shots
    assert len({one.items[0]["item"] for one in found.values()}) == 3  # and the prompts differ


def test_greedy_answers_are_compared_by_the_task(tmp_path: Path) -> None:
    records = [{"question": f"Q{i}", "answer": "bbbb" if i % 2 else "cccc"} for i in range(8)]
    write_task(tmp_path / "tasks", "write", records, **ANSWERS)
    panel = PanelConfig.model_validate({"sets": {"w": section(tmp_path, task="write")}})
    result = evaluate_panel(scripted("b", 4.0), FrozenCopy(scripted("x", 4.0)), panel)
    assert [line["model"] for line in result.sets["w"].items] == [["bbbb"]] * 8
    assert [line["base"] for line in result.sets["w"].items] == [["xxxx"]] * 8
    change = next(r for r in result.records if r["metric"] == "exact_match_change")
    assert (change["value"], change["low"]) == (0.5, Flips(4, 0, 8).low)


def test_an_answer_ends_where_the_task_says(tmp_path: Path) -> None:
    stop = {"generation_kwargs": {"until": ["b"], "max_gen_toks": 4}}
    write_task(tmp_path / "tasks", "write", [{"question": "Q", "answer": ""}] * 3, **(ANSWERS | stop))
    panel = PanelConfig.model_validate({"sets": {"w": section(tmp_path, task="write")}})
    result = evaluate_panel(scripted("b", 4.0), FrozenCopy(scripted("x", 4.0)), panel)
    assert [(line["model"], line["base"]) for line in result.sets["w"].items] == [([""], ["xxxx"])] * 3


def test_a_gate_reads_a_task(organs: Path) -> None:
    result = measured(organs)
    (organs / "panel.yaml").write_text(yaml.safe_dump({"sets": {"task": section(organs, include_path="tasks")}}))
    assert load_panel(organs / "panel.yaml").sets["task"].include_path == str(organs / "tasks")
    model = CausalModel(pico_model(), pico_tokenizer())
    write_panel(
        organs / "out",
        Pair(model, lambda: FrozenCopy(model), identity={"name": "x", "base": {"path": "b", "digest": "d"}}),
        result,
    )
    panel = read_panel(organs / "out")
    assert panel.sets["task"]["task"]["lm_eval"]
    scores = panel.scores("task")
    assert gated(scores) == ["accuracy", "accuracy_norm"]
    found = METRICS["accuracy"].drop("max_drop", "points", scores, 0.95)
    own = METRICS["accuracy"].drop("max_drop", "points", panel.scores("own"), 0.95)
    assert (found.value, found.low, found.n) == (own.value, own.low, 30)


def refused(folder: Path, **changes: Any) -> str:
    with pytest.raises((ConfigError, DataError)) as caught:
        measured(folder, **changes)
    return str(caught.value)


def test_tasks_that_cannot_be_asked(organs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = organs / "tasks"
    assert says(
        refused(organs, task="organ"), f"sets.task.task: … no task 'organ' in '{tasks}'. Did you mean 'organs'?"
    )
    (tasks / "body.yaml").write_text(yaml.safe_dump({"group": "body", "task": ["organs"]}))
    write_task(
        tasks,
        "perplexity",
        [{"text": "a"}],
        output_type="loglikelihood_rolling",
        doc_to_text="",
        doc_to_target="{{text}}",
    )
    write_task(
        tasks, "draws", [{"question": "a", "answer": "b"}], **(ANSWERS | {"generation_kwargs": {"do_sample": True}})
    )
    write_task(tasks, "gone", [], **CHOICES)
    (tasks / "gone.jsonl").unlink()
    away = CHOICES | {"task": "away", "dataset_path": "someone/something", "test_split": "test"}
    (tasks / "away.yaml").write_text(yaml.safe_dump(away))
    moved = organs / "again"  # tasks of a folder are listed once
    tasks.rename(moved)
    folder = {"include_path": str(moved)}
    assert says(refused(organs, task="body", **folder), "sets.task.task: 'body' is a group of tasks; name one …")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    for name in ("gone", "away"):
        sentence = refused(organs, task=name, **folder)
        assert says(sentence, f"sets.task.task: the task '{name}' cannot be loaded (…); … network … include_path.")
        assert "\n" not in sentence


def test_what_fails_inside_a_task(organs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The task's own code is to blame for all but the lack of memory."""
    inverse = ANSWERS | {"doc_to_text": "{{1 / n}}", "doc_to_target": "a"}
    write_task(organs / "tasks", "inverse", [{"n": 1}, {"n": 0}], **inverse)
    said = refused(organs, task="inverse")
    assert says(said, "sets.task.task: lm-eval … 'inverse': ZeroDivisionError: division by zero.")

    def full(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr(tasks, "evaluate", full)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        measured(organs)


def test_other_kinds_of_requests_are_refused(tmp_path: Path) -> None:
    write_task(
        tmp_path / "tasks",
        "whole",
        [{"text": "a"}],
        output_type="loglikelihood_rolling",
        doc_to_text="",
        doc_to_target="{{text}}",
    )
    assert says(
        refused(tmp_path, task="whole"),
        "sets.task.task: 'whole' … loglikelihood_rolling; accepted: multiple_choice, loglikelihood or generate_until. "
        "… kind: text.",
    )


def test_answers_that_are_drawn_are_refused(tmp_path: Path) -> None:
    drawn = ANSWERS | {"generation_kwargs": {"do_sample": True, "temperature": 1.0}}
    write_task(tmp_path / "tasks", "draws", [{"question": "a", "answer": "b"}], **drawn)
    assert says(refused(tmp_path, task="draws"), "sets.task.task: … at random; only greedy …")


def test_a_chat_needs_a_template(organs: Path) -> None:
    model = CausalModel(pico_model(), pico_tokenizer(chat_template=None))
    panel = PanelConfig.model_validate({"sets": {"task": section(organs)}, "template": "chat"})
    with pytest.raises(ConfigError, match=r"^template: chat needs a chat template, and .* has none; use plain\.$"):
        evaluate_panel(model, FrozenCopy(model), panel)


def test_without_lm_eval_the_extra_is_named(organs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    said = refused(organs, task="organs")
    assert says(said, "sets.task.kind: 'lm_eval' needs lm-eval; … `pip install 'acclimate[lm-eval]'`.")


@pytest.mark.parametrize(
    ("chosen", "roles"),
    [
        (None, ["user", "assistant", "user", "assistant", "user"]),
        (True, ["user", "assistant"] * 2 + ["user"]),
        (False, ["user"]),
    ],
)
def test_examples_in_chat_form_are_turns(
    chosen: bool | None, roles: list[str], organs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """lm-eval 0.4.13's own default: each example is a question of the user and an answer of the assistant."""
    asked: list[list[str]] = []
    honest = tasks.chat_text

    def listening(messages: list[dict[str, str]], *rest: Any) -> str | None:
        asked.append([message["role"] for message in messages])
        return honest(messages, *rest)

    monkeypatch.setattr(tasks, "chat_text", listening)
    changes = {} if chosen is None else {"fewshot_as_multiturn": chosen}
    result = measured(organs, num_fewshot=2, max_items=2, panel={"template": "chat"}, **changes)
    assert asked
    assert all(found == roles for found in asked)
    assert result.sets["task"].task["fewshot_as_multiturn"] is (chosen is not False)


def test_turns_without_examples_or_chat_are_refused(organs: Path) -> None:
    with pytest.raises(ConfigError, match=r"sets\.task\.fewshot_as_multiturn: has no effect"):
        measured(organs, fewshot_as_multiturn=False, num_fewshot=0, panel={"template": "chat"})
    with pytest.raises(ValueError, match="fewshot_as_multiturn has no effect on template: plain"):
        measured(organs, fewshot_as_multiturn=False, num_fewshot=2)
