"""What docs/explanation/safety.md promises, each promise with the test that holds it."""

# ruff: noqa: E501 (hostile text stands on one line)

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from acclimate.config.load import parse_config
from acclimate.config.schema import ModelSection
from acclimate.model.load import load_network
from acclimate.reports import model_card, write_report
from acclimate.runs import provenance
from acclimate.types.errors import ConfigError, DataError, RunError, UsageError
from acclimate.verbs.export import export
from acclimate.verbs.run import evaluate_run, train
from tests.fixtures.pico import pico_model, pico_tokenizer
from tests.fixtures.runs import config, settings
from tests.reports.runs import write_run
from tests.reports.test_html import Page, assert_self_contained
from tests.test_wrong_inputs import run_cli

SOURCE = Path(__file__).parents[1] / "src" / "acclimate"
SHORT = {"steps": 2, "batch_tokens": 128}
SECRET = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"
PASSWORD = "correct-horse-battery"

# A socket that is opened ends the process at once: no library can catch that and go on.
GUARDED = """
import json, os, socket, sys, traceback

def stop(*arguments, **options):
    traceback.print_stack()
    sys.stderr.flush()
    os._exit(97)

socket.socket.connect = socket.socket.connect_ex = socket.socket.sendto = stop
socket.getaddrinfo = socket.gethostbyname = socket.create_connection = stop
from acclimate.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["acclimate", *arguments]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (arguments, end.code)
    print("done:", arguments[0], flush=True)
"""


def test_the_network_is_used_for_a_hub_id_only(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """Every verb on local files, full and LoRA, without the offline switches of the other tests; a hub id at the end
    shows that the guard works."""
    commands = []
    for name, lora in (("full", None), ("lora", {"rank": 2})):
        path, run = tmp_path / f"{name}.yaml", str(tmp_path / name)
        path.write_text(yaml.safe_dump(settings(pico_folder, corpora, tmp_path, name=name, budget=SHORT, lora=lora)))
        commands += [
            ["validate", str(path)],
            ["train", str(path)],
            ["eval", run],
            ["report", run],
            ["export", run, "--output", f"{run}-merged", "--merge"],
            ["export", run, "--output", f"{run}-plain"],
        ]
    hub = tmp_path / "hub.yaml"
    hub.write_text(yaml.safe_dump(settings(Path("nobody/nothing"), corpora, tmp_path)))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    found = subprocess.run(
        [sys.executable, "-c", GUARDED, json.dumps([*commands, ["validate", str(hub)]])],
        capture_output=True, text=True, check=False, env=kept,
    )  # fmt: skip
    assert found.stdout.count("done:") == len(commands), found.stderr[-3000:]
    assert found.returncode == 97
    assert "huggingface_hub" in found.stderr


def hidden_in(folder: Path, *secrets: str) -> list[str]:
    """Files below ``folder`` that hold one of the secrets."""
    return [
        str(path)
        for path in folder.rglob("*")
        if path.is_file() and any(secret.encode() in path.read_bytes() for secret in secrets)
    ]


def test_secrets_of_the_surroundings_are_not_written(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Tokens in the environment, a password in the address of the git remote; a marker shows that git was looked at."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, SECRET)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    for command in (
        ["init", "-q"],
        ["remote", "add", "origin", f"https://ada:{PASSWORD}@example.org/x.git"],
        ["-c", "user.name=ada", "-c", "user.email=ada@example.org", "commit", "-q", "--allow-empty", "-m", "begin"],
    ):
        subprocess.run(["git", *command], check=True)
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(settings(pico_folder, corpora, tmp_path / "runs", budget=SHORT)))
    assert run_cli(["train", str(path)], monkeypatch, capsys)[0] == 0
    run_dir = tmp_path / "runs" / "run"
    assert run_cli(["export", str(run_dir), "--output", str(tmp_path / "out")], monkeypatch, capsys)[0] == 0
    assert len(json.loads((run_dir / "provenance.json").read_text())["commit"]) == 40
    assert not hidden_in(tmp_path / "runs", SECRET, PASSWORD)
    assert not hidden_in(tmp_path / "out", SECRET, PASSWORD)


@pytest.mark.parametrize(
    "path", ["model.path", "sources.domain.path", "sources.general.path", "data.cache_dir", "name"]
)
@pytest.mark.parametrize(
    "address", [f"https://ada:{PASSWORD}@example.org/x", f"https://example.org/x?token={PASSWORD}", SECRET + "/x"]
)
def test_secrets_in_addresses_are_not_repeated(
    path: str, address: str, pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if path == "data.cache_dir":
        (tmp_path / "file").touch()
        address = str(tmp_path / "file" / address)
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(settings(pico_folder, corpora, tmp_path / "runs")))
    code, out, err = run_cli(["train", str(file), "--set", f"{path}={address}"], monkeypatch, capsys)
    assert code in (1, 3)
    assert "***" in err
    assert PASSWORD not in out + err
    assert SECRET not in out + err
    assert not hidden_in(tmp_path / "runs", SECRET, PASSWORD)


def test_a_folder_of_the_user_runs_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """git runs core.fsmonitor of whatever folder it is asked about."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    subprocess.run(["git", "-C", str(tmp_path), "config", "core.fsmonitor", str(hook)], check=True)
    monkeypatch.chdir(tmp_path)
    author = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.fsmonitor=false"]
    subprocess.run(["git", *author, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    assert provenance._commit()
    assert not (tmp_path / "ran").exists()
    subprocess.run(["git", "status"], check=True, capture_output=True)
    assert (tmp_path / "ran").exists()  # it would have


def test_telemetry_is_off(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY", raising=False)
    run_cli(["--version"], monkeypatch, capsys)
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"


def test_nobody_is_asked_to_convert_pickles(pico_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers asks a service of the Hub to, for a model that has no safetensors, unless this is set."""
    monkeypatch.setenv("DISABLE_SAFETENSORS_CONVERSION", "0")
    load_network(ModelSection(path=str(pico_folder)), torch.float32, torch.device("cpu"))
    assert os.environ["DISABLE_SAFETENSORS_CONVERSION"] == "1"


def test_the_source_loads_no_pickle_and_runs_no_text() -> None:
    """By the names in the source: nothing loads a pickle, runs text as code or opens a shell."""
    modules = {"pickle", "marshal", "shelve", "joblib", "dill"}
    calls = {"eval", "exec", "__import__", "torch.load", "yaml.load", "yaml.unsafe_load", "os.system", "os.popen"}
    settings_met = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in calls, path
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert not modules & {alias.name for alias in node.names} | modules & {getattr(node, "module", None)}, (
                    path
                )
            if isinstance(node, ast.keyword):
                settings_met.add((node.arg, ast.unparse(node.value)))
    assert ("use_safetensors", "True") in settings_met
    assert ("trust_remote_code", "section.trust_remote_code") in settings_met
    assert not {("trust_remote_code", "True"), ("shell", "True"), ("use_safetensors", "False")} & settings_met


def test_a_chat_template_is_run_in_a_sandbox(corpora: Path, tmp_path: Path) -> None:
    pico_model().save_pretrained(tmp_path / "model")
    pico_tokenizer("{{ messages.__class__.__mro__[1].__subclasses__() }}").save_pretrained(tmp_path / "model")
    with pytest.raises(DataError, match=r"chat template refuses this chat: .* '__class__' .* is unsafe"):
        train(config(tmp_path / "model", corpora, tmp_path))


@pytest.mark.parametrize(
    "name", ["../x", "..", ".", "a/../b", "/abs", "a\\b", "a b", "-x", ".hidden", "x" * 101, "a\x00"]
)
@pytest.mark.parametrize("what", ["name", "source"])
def test_names_stay_in_their_folder(name: str, what: str, pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    data = settings(pico_folder, corpora, tmp_path / "runs")
    if what == "name":
        data["name"] = name
    else:
        data["sources"][name] = data["sources"]["domain"]
    with pytest.raises(ConfigError, match=r"letters, digits, '\.', '_' and '-'"):
        parse_config(data)


def test_nothing_is_written_through_links(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """A run folder from elsewhere may hold links in the place of its files and folders."""
    run_dir = train(config(pico_folder, corpora, tmp_path, budget=SHORT)).run_dir
    outside = tmp_path / "outside"
    outside.mkdir()
    linked = ["summary.json", "generations.json", "eval/domain.jsonl", "model/README.md", "report.html"]
    for name in linked:
        (outside / Path(name).name).write_text("mine")
        (run_dir / name).unlink(missing_ok=True)
        (run_dir / name).symlink_to(outside / Path(name).name)
    evaluate_run(run_dir)
    write_report([run_dir], run_dir / "report.html")
    assert all((outside / Path(name).name).read_text() == "mine" for name in linked)
    assert not any((run_dir / name).is_symlink() for name in linked)
    (run_dir / "eval").rename(tmp_path / "elsewhere")
    (run_dir / "eval").symlink_to(tmp_path / "elsewhere")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "elsewhere").iterdir()}
    with pytest.raises(RunError, match=r"eval' is a link that leads out of the run folder"):
        evaluate_run(run_dir)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "elsewhere").iterdir()} == before


def test_an_export_stays_in_its_folder(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    run_dir = train(config(pico_folder, corpora, tmp_path, budget=SHORT, training={"save_steps": 1})).run_dir
    for checkpoint in ("../../x", "/etc", "..", "step-00000002/..", ".step-00000002.partial"):
        with pytest.raises(
            UsageError, match=r"has no checkpoint '.*'; it has best, step-00000001 or step-00000002|it has"
        ):
            export(run_dir, tmp_path / "out", checkpoint=checkpoint)
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / ".out.partial").symlink_to(outside)  # where a guess would put the unfinished folder
    with pytest.raises(RunError, match="cannot be written"):
        export(run_dir, tmp_path / "out")
    assert not list(outside.iterdir())


HOSTILE = [
    "</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "' onmouseover='alert(1)", "--><svg onload=alert(1)>",
    "javascript:alert(1)", "{{ 7 * 7 }}", "{% include '/etc/passwd' %}", "]]><b>", "&lt;script&gt;", "\u202egnp.exe", "\u200b\u2066x",
    "`![x](http://evil.example/x.png)`", "| a | b |\n|---|---|", "\n# heading\n<b>", '")\nimport os; os.system("x")\n```\n', "\x1b[31m",
]  # fmt: skip


def everywhere(value: Any, text: str) -> Any:
    """Every word of nested JSON is hostile; what the report computes with stays."""
    if isinstance(value, dict):
        fixed = ("run", "role", "metric", "version", "step")
        return {k: v if k in fixed else everywhere(v, text) for k, v in value.items()}
    if isinstance(value, list):
        return [everywhere(item, text) for item in value]
    return f"{value}{text}" if isinstance(value, str) else value


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text_in_page_and_card(text: str, tmp_path: Path) -> None:
    names = {role: f"{role}{text}" for role in ("domain", "general", "chat")}
    run = write_run(tmp_path / "run", f"mol{text}", names=names, answer=text, config={"lora": {"rank": text}})
    for name in ("provenance.json", "data.json", "generations.json"):
        document = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps(everywhere(document, text)))
    document = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(everywhere(document, text)))
    page = write_report([run], tmp_path / "report.html", title=text).read_text(encoding="utf-8")
    harmless = page.replace("http://", "")  # as text
    assert_self_contained(harmless)
    tags = {tag for tag, _ in Page(page).elements}
    assert not tags & {"img", "script", "iframe"}
    assert page.count("<svg") == page.count('<svg role="img"')
    titles = re.findall(r"<(?:h1|title)[^>]*>(.*?)</(?:h1|title)>", page, re.S)
    assert len(titles) == 2
    assert not any("<" in title or "49" in title for title in titles)

    card = model_card(run)
    front = card.split("---\n", 2)[1]
    assert yaml.safe_load(front)["tags"][0] == "acclimate"
    body = card.split("\n---\n", 1)[1]
    outside_code = re.sub(r"```python\n.*?\n```\n", "", body, flags=re.S)
    assert "<" not in outside_code
    assert not re.search(r"(?<!\\)\]\(", outside_code)
    assert "\n# heading" not in card
    assert "\u202e" not in outside_code
    (program,) = re.findall(r"```python\n(.*?)\n```\n", body, re.S)
    ast.parse(program)  # the base's name is one string in it, whatever it holds
    assert not any(isinstance(node, ast.Import) for node in ast.walk(ast.parse(program)))
