"""What machines read of the command line: JSON, schemas, completion; and what it imports from other tools."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from acclimate.cli.document import json_schema
from acclimate.cli.main import VERBS, app
from acclimate.cli.options import plain
from acclimate.config.elsewhere import CALLED, INSTEAD
from acclimate.config.explain import section_paths
from acclimate.config.load import RunConfig, load_config, parse_config
from acclimate.config.schemas import KINDS, schema_file, write_with_schema
from acclimate.config.template import write_template
from acclimate.methods.registry import METHODS
from acclimate.types.errors import ConfigError
from tests.compare.tables import comparison_file
from tests.gates.runs import scored_run
from tests.panel.test_matrix import three
from tests.test_wrong_inputs import run_cli

ROOT = Path(__file__).parents[1]
NO_TABLE = {"init", "import", "schema", "export", "chat"}


def read(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """What is printed, which is one document that the strictest reader takes."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    code, out, err = run_cli([*arguments, "--json"], monkeypatch, capsys)
    assert code == 0, err
    return json.loads(out, parse_constant=refuse)


def test_help_loads_little() -> None:
    """It takes 0.25 CPU seconds, most of them for typer and rich; each of these would take as long again."""
    heavy = {"torch", "transformers", "numpy", "scipy", "pydantic", "matplotlib", "jinja2"}
    program = f"import sys, acclimate.cli; print(*({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "\n"


def test_every_verb_with_a_table_has_json() -> None:
    for name, verb in VERBS.items():
        assert name in NO_TABLE or "json_" in verb.__annotations__, name
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    commands = [command.callback for command in groups["stats"].registered_commands] if groups["stats"] else []
    assert len(commands) == 3
    assert all(verb is not None and "json_" in verb.__annotations__ for verb in commands)


def test_documents(
    pico_folder: Path,
    corpora: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Those of verbs that need no training."""
    run = scored_run(tmp_path / "run")
    found = read(["report", str(run)], monkeypatch, capsys)
    assert found["report"] == str(run / "report.html")
    assert {record["set"] for record in found["runs"][0]["summary"]} == {"domain", "general", "chat"}
    assert (run / "report.html").is_file()
    panels = three(tmp_path / "panels")
    found = read(["matrix", *map(str, panels)], monkeypatch, capsys)
    assert len(found["rows"][0]["cells"]) == len(found["columns"])
    assert isinstance(found["rows"][0]["cells"][0]["value"], float)
    comparison = comparison_file(tmp_path, pico_folder, corpora)
    found = read(["compare", str(comparison), "--dry-run"], monkeypatch, capsys)
    assert found["rows"] == 0
    assert found["left"][0].startswith("trial ")
    found = read(["validate", str(tmp_path / "run.yaml")], monkeypatch, capsys)
    assert found["sources"]["domain"]["trained_tokens"] > 0
    assert found["memory_bytes"] > 0
    assert isinstance(found["notes"], list)
    assert read(["methods"], monkeypatch, capsys).keys() == METHODS.keys()


def test_numbers_that_are_none() -> None:
    found = {"a": float("inf"), "b": [np.float64("nan"), np.int64(2)], "c": (Path("x"), True, None)}
    assert plain(found) == {"a": None, "b": [None, 2], "c": ["x", True, None]}


@pytest.mark.parametrize("kind", KINDS)
def test_schemas_are_those_of_the_code(kind: str) -> None:
    """`python -m acclimate.cli.document --schemas` writes them."""
    assert schema_file(kind).read_text(encoding="utf-8") == json_schema(kind)


def test_the_schema_knows_every_key_and_short_form() -> None:
    schema = json.loads(schema_file("run").read_text())
    for path, section in section_paths(RunConfig).items():
        properties = schema["properties"] if not path else schema["$defs"][section.__name__]["properties"]
        assert properties.keys() == section.model_fields.keys(), path
    for name in METHODS:
        assert schema["$defs"][f"method_{name}"]["properties"]["name"] == {"const": name}
    assert {"const": "self"} in schema["properties"]["sources"]["additionalProperties"]["anyOf"]


def test_schema_is_printed_and_named_in_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run_cli(["schema", "policy"], monkeypatch, capsys)
    assert code == 0
    assert json.loads(out)["title"] == "acclimate policy"
    code, _, err = run_cli(["schema", "plicy"], monkeypatch, capsys)
    assert code == 3
    assert "accepted: run, panel, comparison or policy. Did you mean 'policy'?" in " ".join(err.split())
    write_template(tmp_path / "a.yaml", domain="d", general="g", model="m")
    assert (tmp_path / "a.yaml").read_text().startswith("# yaml-language-server: $schema=acclimate.schema.json\n")
    assert json.loads((tmp_path / "acclimate.schema.json").read_text())["title"] == "acclimate run"
    (tmp_path / "acclimate.schema.json").write_text("{}")
    write_with_schema(tmp_path / "b.yaml", "name: a\n")  # another's file is left alone
    assert (tmp_path / "b.yaml").read_text() == "name: a\n"
    assert (tmp_path / "acclimate.schema.json").read_text() == "{}"


def test_completion_completes() -> None:
    words = {"_ACCLIMATE_COMPLETE": "complete_bash", "COMP_WORDS": "acclimate va", "COMP_CWORD": "1"}
    command = [sys.executable, "-c", "import sys; sys.argv[0] = 'acclimate'; from acclimate.cli import main; main()"]
    process = subprocess.run(command, env=os.environ | words, capture_output=True, text=True, check=False)
    assert process.stdout.split() == ["validate"], process.stderr


def test_names_of_other_tools_lead_somewhere() -> None:
    """What errors call a key is one; a name has one answer."""
    assert not CALLED.keys() & INSTEAD.keys()
    keys = {
        f"{path}.{name}".lstrip(".")
        for path, section in section_paths(RunConfig).items()
        for name in section.model_fields
    }
    assert not {found for found in CALLED.values() if found not in keys and f"sources.*.{found}" not in keys}
    mentioned = {word for said in INSTEAD.values() for word in re.findall(r"\b[a-z]+\.[a-z_]+\b", said)}
    assert not {word for word in mentioned if word not in keys and not word.endswith((".jsonl", ".yaml"))}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"deepspeed": "z.json"}, "deepspeed: there is no such key. There is no DeepSpeed here; parallel.strategy"),
        ({"lora_r": 8}, "lora_r: there is no such key. Here it is called 'lora.rank'."),
        ({"beta": 1}, "method: {name: mol, kl_weight: 1}"),
        ({"gradient_accumulation_steps": 8}, "per_device_train_batch_size x gradient_accumulation_steps x processes"),
        ({"dataset_text_field": "t"}, "Here it is called 'sources.NAME.fields'."),
        ({"optimizer": {"name": "adam"}}, "optimizer.name: there is no optimizer 'adam'; accepted: adamw, adamw_8bit"),
        ({"sources": {"domain": {"path": "a", "type": "alpaca"}}}, "Its format is found by its fields"),
        ({"lora": {"r": 8}}, "lora.r: there is no such key. Here it is called 'lora.rank'."),
    ],
)
def test_a_name_of_another_tool_has_a_sentence(change: dict[str, Any], said: str) -> None:
    plain_run = {"model": {"path": "x"}, "sources": {"domain": {"path": "a"}}, "budget": {"epochs": 1}}
    with pytest.raises(ConfigError) as caught:
        parse_config(plain_run | change)
    assert said in str(caught.value)


TRL = {
    "model_name_or_path": "org/model", "dataset_name": "org/data", "dataset_config": "en", "learning_rate": "2e-4",
    "per_device_train_batch_size": 2, "gradient_accumulation_steps": 8, "max_length": 2048, "use_peft": True,
    "lora_r": 32, "lora_alpha": 16, "warmup_steps": 0.1, "output_dir": "out/my run", "packing": True,
    "optim": "adafactor", "deepspeed": "z.json", "lr_scheduler_type": "constant_with_warmup",
}  # fmt: skip
AXOLOTL = {
    "base_model": "org/model", "adapter": "qlora", "load_in_4bit": True, "lora_r": 16, "lora_alpha": 32,
    "lora_target_linear": True, "sequence_len": 1024, "micro_batch_size": 4, "gradient_accumulation_steps": 2,
    "num_epochs": 2, "learning_rate": 1e-4, "optimizer": "adamw_torch_fused", "val_set_size": 0.1, "bf16": True,
    "datasets": [
        {"path": "org/alpaca", "type": "alpaca"}, {"path": "texts/a.jsonl", "type": "completion", "field": "body"}
    ],
    "special_tokens": {"pad_token": "x"}, "evals_per_epoch": 4,
}  # fmt: skip
FACTORY = {
    "model_name_or_path": "org/model", "stage": "sft", "finetuning_type": "lora", "dataset": "one,two",
    "template": "llama3", "cutoff_len": 512, "interleave_probs": "0.75,0.25", "mix_strategy": "interleave_over",
    "learning_rate": 1e-4, "num_train_epochs": 1.0, "warmup_ratio": 0.1, "bf16": True, "val_size": 30,
    "lora_target": "q_proj",
}  # fmt: skip


def imported(data: dict[str, Any], tmp_path: Path, *more: str) -> list[str]:
    (tmp_path / "theirs.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return ["import", str(tmp_path / "theirs.yaml"), "--output", str(tmp_path / "ours.yaml"), *more]


def test_a_file_of_trl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = read(imported(TRL, tmp_path), monkeypatch, capsys)
    config = load_config(tmp_path / "ours.yaml")
    assert (config.name, config.output_dir, config.model.path) == ("my-run", "out", "org/model")
    assert config.lora is not None
    assert (config.lora.rank, config.lora.alpha, config.lora.dropout) == (32, 16, 0.05)  # TRL's own default
    assert (config.sources["domain"].split, config.sources["domain"].subset) == ("train", "en")
    assert config.sources["general"].is_self
    assert config.optimizer.learning_rate == 2e-4
    assert (config.schedule.type, config.schedule.warmup_ratio) == ("constant", 0.1)
    assert (config.budget.epochs, config.budget.batch_tokens) == (3, 2 * 8 * 2048)
    assert [one["key"] for one in found["left_out"]] == ["optim", "deepspeed"]
    assert found["left_out"][1]["place"].endswith("theirs.yaml:15")
    assert found["needs_nothing"] == ["use_peft", "packing"]
    text = (tmp_path / "ours.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=acclimate.schema.json\n# Carried over from ")
    assert "#   deepspeed: There is no DeepSpeed here" in text
    code, _, err = run_cli(imported(TRL, tmp_path), monkeypatch, capsys)
    assert code == 3
    assert "exists and is left alone" in err


def test_a_file_of_axolotl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = read(imported(AXOLOTL, tmp_path, "--processes", "2"), monkeypatch, capsys)
    config = load_config(tmp_path / "ours.yaml")
    assert (config.model.quantization, config.model.dtype) == ("nf4", "bfloat16")
    assert list(config.sources) == ["alpaca", "a", "general"]
    assert (config.sources["a"].format, config.sources["a"].fields) == ("text", {"text": "body"})
    assert config.sources["a"].split is None  # a file, though it is not here
    assert [config.sources[name].share for name in config.sources] == [0.25, 0.25, 0.5]
    assert (config.sources["a"].route, config.sources["a"].heldout) == ("domain", 0.1)
    assert (config.budget.count, config.budget.batch_tokens) == ("alpaca", 4 * 2 * 2 * 1024 // 2)
    assert (config.budget.epochs, config.schedule.warmup_ratio) == (2, 0.03)
    assert [one["key"] for one in found["left_out"]] == ["special_tokens", "evals_per_epoch"]


def test_a_file_of_llama_factory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run_cli(imported(FACTORY, tmp_path), monkeypatch, capsys)
    assert code == 3
    assert "dataset_info.json explains" in err
    (tmp_path / "data").mkdir()
    info: dict[str, Any] = {"one": {"file_name": "one.json"}, "two": {"hf_hub_url": "org/two", "subset": "de"}}
    info["two"] |= {"formatting": "sharegpt", "columns": {"messages": "turns"}}
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps(info))
    found = read(imported(FACTORY, tmp_path), monkeypatch, capsys)
    config = load_config(tmp_path / "ours.yaml")
    assert config.sources["one"].path == str(tmp_path / "data" / "one.json")
    assert (config.sources["two"].fields, config.sources["two"].subset) == ({"messages": "turns"}, "de")
    assert (config.sources["one"].share, config.sources["one"].heldout) == (0.375, 30)
    assert config.lora is not None
    assert (config.lora.rank, config.lora.alpha, config.lora.target_modules) == (8, 16, ["q_proj"])
    assert (config.schedule.type, config.schedule.warmup_ratio) == ("linear", 0.1)
    assert [one["key"] for one in found["left_out"]] == ["template", "mix_strategy"]


@pytest.mark.parametrize(
    ("data", "more", "said"),
    [
        ({"a": 1}, (), "none of its keys tells whose configuration it is: a. Known are TRL"),
        ({"sources": {}, "budget": {}}, (), "this is a configuration of acclimate already"),
        (FACTORY | {"stage": "dpo"}, (), "theirs.yaml:2: stage: dpo learns from preferences or rewards"),
        ({"model_name_or_path": "m"}, (), "names no text to learn; give it by --domain."),
        (TRL | {"learning_rate": "much"}, (), "learning_rate: 'much' is no number."),
        (AXOLOTL | {"datasets": [{"type": "alpaca"}]}, (), "datasets.0: names no path"),
    ],
)
def test_what_cannot_be_imported(
    data: dict[str, Any], more: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    code, _, err = run_cli(imported(data, tmp_path, *more), monkeypatch, capsys)
    assert code == 3
    assert said in err
    assert not (tmp_path / "ours.yaml").exists()
