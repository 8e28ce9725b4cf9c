"""The verbs from init to export, and the documented exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from acclimate.build.models import load_tuned
from acclimate.config.load import load_config
from acclimate.runs.beginning import read_config
from acclimate.verbs import run as run_module
from tests.fixtures.runs import settings
from tests.test_wrong_inputs import run_cli


def write(tmp_path: Path, pico: Path, corpora: Path, **changes: object) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(settings(pico, corpora, tmp_path / "runs", **changes), sort_keys=False))
    return path


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore"),
        MemoryError(),
    ],
)
def test_out_of_memory_is_a_sentence(
    error: Exception,
    pico_folder: Path,
    corpora: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(run_module, "run_loop", fails)
    code, _, said = run_cli(["train", str(write(tmp_path, pico_folder, corpora))], monkeypatch, capsys)
    assert code == 1
    assert said.startswith("Error: Out of memory (")
    assert "lower training.micro_batch_size" in " ".join(said.split())
    assert "More" not in said


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--help"], 0, ["train", "validate", "export", "demo"]),
        (["--version"], 0, ["acclimate 0.2.0"]),
        (["methods"], 0, ["mol", "replay", "sft", "l2"]),
        (["trian"], 3, ["No such command 'trian'"]),
        (["train"], 3, ["Missing"]),
        (["train", "--nope", "x"], 3, ["No such option"]),
        (["demo", "--seeds", "0"], 3, ["Invalid value for '--seeds'"]),
        (
            ["validate", "missing.yaml"],
            3,
            ["There is no configuration file 'missing.yaml'. `acclimate init` writes one"],
        ),
        (["eval", "nothing"], 3, ["'nothing' is no run folder: it has no config.yaml."]),
        (["export", "nothing", "--output", "x"], 3, ["'nothing' is no run folder"]),
        (["report", "nothing"], 1, ["nothing"]),
    ],
)
def test_exit_codes(
    arguments: list[str],
    code: int,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found, out, err = run_cli(arguments, monkeypatch, capsys)
    assert found == code
    for word in words:
        assert word in out + err
    assert "Traceback" not in err


def test_a_run_that_diverges_has_its_own_exit_code(
    pico_folder: Path,
    corpora: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    optimizer = {"learning_rate": 1.0, "eps": 1e-30, "weight_decay": 1e30}
    path = write(tmp_path, pico_folder, corpora, optimizer=optimizer, schedule={"type": "constant"})
    code, _, err = run_cli(["train", str(path)], monkeypatch, capsys)
    assert code == 4
    assert "not finite" in err


def test_exit_code_of_the_installed_command() -> None:
    """The CLI library's own default for usage errors is 2, which a failed gate will mean; ours is 3."""
    process = subprocess.run([sys.executable, "-m", "acclimate", "trian"], capture_output=True, text=True, check=False)
    assert process.returncode == 3, process.stderr


def test_init_validates_and_is_never_overwritten(
    pico_folder: Path,
    corpora: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "new.yaml"
    arguments = [
        "init", str(path), "--domain", str(corpora / "domain.jsonl"), "--general", str(corpora / "general.jsonl"),
        "--model", str(pico_folder),
    ]  # fmt: skip
    assert run_cli(arguments, monkeypatch, capsys)[0] == 0
    overrides = ["--set", f"data.cache_dir={tmp_path}"]
    code, out, err = run_cli(["validate", str(path), *overrides], monkeypatch, capsys)
    assert code == 0, err
    for word in ("domain", "general", "LoRA rank 16", "optimizer steps", "GiB"):
        assert word in out
    text = path.read_text()
    assert load_config(path).optimizer.learning_rate == 2e-3  # of a model below 0.05B
    assert run_cli(["init", str(tmp_path / "small.yaml")], monkeypatch, capsys)[0] == 0
    assert load_config(tmp_path / "small.yaml").optimizer.learning_rate == 1e-3  # of the small default model
    code, _, err = run_cli(arguments, monkeypatch, capsys)
    assert code == 3
    assert "exists and is left alone" in err
    assert path.read_text() == text


def test_validate_prints_the_plan(
    pico_folder: Path,
    corpora: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    twice = tmp_path / "twice.jsonl"
    twice.write_text(
        (corpora / "domain.jsonl").read_text() + '\n{"text": "  "}\n' + (corpora / "domain.jsonl").read_text()
    )
    path = write(tmp_path, pico_folder, corpora, budget={"steps": 60, "batch_tokens": 128})
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = run_cli(["validate", str(path), "--set", f"sources.domain.path={twice}"], monkeypatch, capsys)
    assert code == 0
    assert "40 duplicate" in out
    assert "1 empty" in out
    assert "50%" in out
    assert "60 optimizer steps · full tuning" in out
    assert "is read" in out  # more than 4 epochs is said


def test_validate_prints_names_as_they_are(
    pico_folder: Path,
    corpora: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What looks like markup of the terminal is part of a file's name."""
    path = write(tmp_path, pico_folder, corpora)
    data = yaml.safe_load(path.read_text())
    (tmp_path / "data").mkdir()
    lines = (corpora / "domain.jsonl").read_text()
    (tmp_path / "data" / "[bold]a[b].jsonl").write_text("1\n" + lines)
    (tmp_path / "data" / "b.[bold]").write_text("")
    data["sources"]["domain"] |= {"path": str(tmp_path / "data"), "on_bad_row": "skip"}
    path.write_text(yaml.safe_dump(data))
    monkeypatch.setenv("COLUMNS", "400")
    code, out, err = run_cli(["validate", str(path), "--show", "1"], monkeypatch, capsys)
    assert (code, err) == (0, "")
    assert "[bold]a[b].jsonl:2 (" in out
    assert "⟧" in out
    printed = " ".join(out.split())  # the width of the terminal wraps cells
    assert "1 file of its path is not read: 1 .[bold]." in printed
    assert "bad row: not an object (first: [bold]a[b].jsonl:1)" in printed
    monkeypatch.setenv("COLUMNS", "60")
    assert "…" not in run_cli(["validate", str(path)], monkeypatch, capsys)[1]  # folded, not cut


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_train_eval_report_export(
    kind: str, pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = write(
        tmp_path, pico_folder, corpora, lora={"rank": 4} if kind == "lora" else None,
        training={"save_steps": 3, "eval_steps": 3},
    )  # fmt: skip
    code, _, err = run_cli(["train", str(path), "--set", "seed=3"], monkeypatch, capsys)
    assert code == 0, err
    run_dir = tmp_path / "runs" / "run"
    assert {entry.name for entry in run_dir.iterdir()} >= {
        "config.yaml", "provenance.json", "data.json", "metrics.jsonl", "checkpoints", "eval", "generations.json",
        "summary.json", "report.html", "model",
    }  # fmt: skip
    assert yaml.safe_load((run_dir / "config.yaml").read_text())["seed"] == 3
    summary = (run_dir / "summary.json").read_text()
    assert all(r["seed"] == 3 for r in json.loads(summary)["records"])
    assert run_cli(["train", str(path)], monkeypatch, capsys)[0] == 3  # exists
    assert (
        run_cli(["train", str(path), "--set", "seed=3", "--resume"], monkeypatch, capsys)[0] == 0
    )  # finished: as it is

    assert run_cli(["eval", str(run_dir)], monkeypatch, capsys)[0] == 0
    for before, after in zip(
        json.loads(summary)["records"], json.loads((run_dir / "summary.json").read_text())["records"], strict=True
    ):
        assert after["value"] == pytest.approx(before["value"], rel=1e-5, abs=1e-9)
    assert run_cli(["report", str(run_dir), "--output", str(tmp_path / "r.html")], monkeypatch, capsys)[0] == 0
    assert "<html" in (tmp_path / "r.html").read_text()

    # what is exported gives the run's own logits
    tuned = load_tuned(read_config(run_dir), run_dir / "model", torch.device("cpu"))
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        expected = tuned.network(input_ids=ids).logits
    outputs = {"plain": [], "merged": ["--merge"], "best": ["--checkpoint", "best", "--merge"]}
    for name, flags in outputs.items():
        code, _, err = run_cli(["export", str(run_dir), "--output", str(tmp_path / name), *flags], monkeypatch, capsys)
        assert code == 0, err
        assert (tmp_path / name / "README.md").read_text().startswith("---\n")
        assert AutoTokenizer.from_pretrained(tmp_path / name).chat_template
    with torch.no_grad():
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(input_ids=ids).logits
        torch.testing.assert_close(merged, expected, rtol=0, atol=0 if kind == "full" else 1e-4)
        if kind == "lora":
            from peft import PeftModel

            base = AutoModelForCausalLM.from_pretrained(pico_folder)
            assert (base(input_ids=ids).logits - expected).abs().max() > 1e-2
            adapted = PeftModel.from_pretrained(base, tmp_path / "plain")
            assert torch.equal(adapted(input_ids=ids).logits, expected)
    code, _, err = run_cli(["export", str(run_dir), "--output", str(tmp_path / "merged")], monkeypatch, capsys)
    assert code == 3
    assert "is not empty; export into a new folder." in err
    code, _, err = run_cli(
        ["export", str(run_dir), "--output", str(tmp_path / "n"), "--checkpoint", "bst"], monkeypatch, capsys
    )
    assert code == 3
    assert "has no checkpoint 'bst'; it has best, step-00000003 or step-00000006." in err


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.learning_rate", "an override reads dotted.path=value"),
        ("name.x=1", "'name' is 'run', not a section, so it has no 'x'."),
        ("optimizer.learnin_rate=1", "Did you mean 'learning_rate'?"),
        ("optimizer.betas=[1, 2]", "needs two numbers in [0, 1)"),
        ("sources.domain.path={", "is not YAML"),
    ],
)
def test_wrong_overrides(
    override: str, message: str, pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = write(tmp_path, pico_folder, corpora)
    code, _, err = run_cli(["validate", str(path), "--set", override], monkeypatch, capsys)
    assert code == 3
    assert message in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1,\n", "c.yaml:2: this is not YAML"),
        ("- 1\n", "a configuration is a mapping of sections; this file holds a list."),
        ("", "a configuration is a mapping of sections; this file holds nothing."),
        ("name: a\nname: b\n", "c.yaml:2: 'name' is given twice (first in line 1); keep one."),
        (b"name: \xff\n", "is not UTF-8 text (byte 6)"),
    ],
)
def test_files_that_are_no_configuration(
    text: str | bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    code, _, err = run_cli(["validate", str(path)], monkeypatch, capsys)
    assert code == 3
    assert message in err


@pytest.mark.parametrize(
    ("size", "sentence"),
    [
        (
            "2",
            "WORLD_SIZE is 2 in the environment, so this is one of 2 processes, but RANK, LOCAL_RANK, MASTER_ADDR or ",
        ),
        (
            "many",
            "WORLD_SIZE is 'many' in the environment; accepted: how many processes there are, as torchrun sets it.",
        ),
    ],
)
def test_half_a_launcher_s_environment(
    size: str, sentence: str, pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", size)
    monkeypatch.setattr(os, "_exit", sys.exit)
    code, _, err = run_cli(["train", str(write(tmp_path, pico_folder, corpora))], monkeypatch, capsys)
    assert code == 3
    assert sentence in err
