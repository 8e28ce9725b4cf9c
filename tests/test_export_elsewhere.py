"""What an export writes for other programs: GGUF and Modelfile, and what it sends to the Hub."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from acclimate.config.schema import ModelSection
from acclimate.model import download
from acclimate.types.errors import RunError, UsageError
from acclimate.verbs.export import export
from acclimate.verbs.gguf import PINNED, check_gguf, pinned_converter
from acclimate.verbs.modelfile import modelfile
from acclimate.verbs.run import train
from tests.fixtures.runs import config
from tests.fixtures.sentences import refused
from tests.fixtures.templates import shaped

CONVERTER = """
import json, sys
folder, out, kind = sys.argv[1], sys.argv[3], sys.argv[5]
assert json.load(open(f"{folder}/config.json"))["rope_theta"]  # llama.cpp's reads this one, too
if kind == "f32":
    sys.exit("NotImplementedError: BPE pre-tokenizer was not recognized")
open(out, "wb").write(b"GGUF" + kind.encode())
"""


@pytest.fixture(scope="module")
def run(pico_folder: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    short = {"budget": {"steps": 1, "batch_tokens": 128}, "evaluation": {"generations": 0}, "lora": {"rank": 2}}
    return train(config(pico_folder, corpora, tmp_path_factory.mktemp("served"), **short)).run_dir


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Of a llama.cpp whose converter takes the same arguments."""
    (tmp_path / "llama.cpp").mkdir()
    (tmp_path / "llama.cpp" / "convert_hf_to_gguf.py").write_text(CONVERTER)
    return tmp_path / "llama.cpp"


def test_gguf_and_modelfile(run: Path, checkout: Path, tmp_path: Path) -> None:
    out = export(run, tmp_path / "out", merge=True, gguf="f16", converter=checkout)
    assert (out / "run-f16.gguf").read_bytes() == b"GGUFf16"
    lines = (out / "Modelfile").read_text().splitlines()
    assert lines[0] == "FROM ./run-f16.gguf"
    assert 'if eq .Role "user" }}<|im_start|>user' in (out / "Modelfile").read_text()
    assert lines[-1].startswith("PARAMETER stop ")


def test_what_the_converter_refuses_is_said(run: Path, checkout: Path, tmp_path: Path) -> None:
    with refused("…llama.cpp's converter refuses '…': NotImplementedError: BPE pre-tokenizer…", RunError):
        export(run, tmp_path / "out", merge=True, gguf="f32", converter=checkout / "convert_hf_to_gguf.py")
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert not list((tmp_path / "out").glob("*.gguf*"))


def test_options_that_do_not_go_together(run: Path, checkout: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for given, said in (
        ({"gguf": "q4_k_m"}, "--gguf: 'q4_k_m' is no type that the converter writes; accepted: f32, f16,"),
        ({"gguf": "q4"}, "Smaller ones, such as q4_k_m, llama-quantize makes of bf16"),
        ({"gguf": "fp16"}, "Did you mean 'f16'?"),
        ({"gguf": "f16", "converter": tmp_path / "x"}, "--converter: there is no convert_hf_to_gguf.py at '…'"),
        ({"gguf": "f16", "converter": checkout}, "a whole model, and this run has an adapter; add --merge"),
        ({"converter": checkout}, "--converter: has no effect without --gguf"),
        ({"public": True}, "--public: has no effect without --push-to-hub"),
    ):  # fmt: skip
        with refused(f"…{said}…", UsageError):
            export(run, out, **given)  # type: ignore[arg-type]
    assert not out.exists()


def test_the_converter_comes_from_an_archive_that_is_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip compares the digest before it looks into the archive."""
    asked: list[str] = []

    def run_pip(command: list[str], **_: Any) -> SimpleNamespace:
        asked.append(Path(command[-1]).read_text())
        return SimpleNamespace(returncode=1, stderr="ERROR: No matching distribution found\n")

    monkeypatch.setattr("acclimate.verbs.gguf.subprocess.run", run_pip)
    with refused("…pip could not get it: ERROR: No matching distribution found…", RunError):
        pinned_converter(tmp_path)
    assert asked == [f"llama-cpp-python==0.3.36 --hash=sha256:{PINNED}\n"]
    assert [path.name for path in tmp_path.rglob("*")] == ["converter"]
    monkeypatch.setattr("acclimate.verbs.gguf.importlib.util.find_spec", lambda name: None)  # as uv leaves it
    with refused("…needs sentencepiece; run `pip install 'acclimate[gguf]'`.", UsageError):
        check_gguf("f16", None)
    with refused("…has no pip. Install it with '…-m ensurepip', or give --converter…", RunError):
        pinned_converter(tmp_path)


def test_the_turns_of_a_template() -> None:
    text, note = modelfile("m.gguf", shaped("llama 3"), ["<|eot_id|>", "<|eot_id|>"])
    assert note == ""
    assert text == (
        'FROM ./m.gguf\nTEMPLATE """<|begin_of_text|>{{ range .Messages }}'
        '{{ if eq .Role "system" }}<|start_header_id|>system<|end_header_id|>\n\n{{ .Content }}<|eot_id|>'
        '{{ else if eq .Role "user" }}<|start_header_id|>user<|end_header_id|>\n\n{{ .Content }}<|eot_id|>'
        '{{ else if eq .Role "assistant" }}<|start_header_id|>assistant<|end_header_id|>\n\n{{ .Content }}<|eot_id|>'
        '{{ end }}{{ end }}<|start_header_id|>assistant<|end_header_id|>\n\n"""\n'
        'PARAMETER stop "<|eot_id|>"\n'
    )
    assert 'SYSTEM """You are helpful."""' in modelfile("m.gguf", shaped("smollm2"), [])[0]
    text, note = modelfile("m.gguf", shaped("gemma 2"), ["<end_of_turn>"])  # a system message is in the user's turn
    assert text == 'FROM ./m.gguf\nPARAMETER stop "<end_of_turn>"\n'
    assert "more than turn after turn" in note


class Hub:
    """Remembers what it is sent."""

    sent: dict[str, Any]

    def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> SimpleNamespace:
        huggingface_hub.utils.validate_repo_id(name)
        type(self).sent = {"private": private}
        return SimpleNamespace(repo_id=f"me/{name}")

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> SimpleNamespace:
        type(self).sent |= {"to": repo_id, "files": sorted(path.name for path in folder_path.iterdir())}
        return SimpleNamespace(commit_url=f"https://huggingface.co/{repo_id}/commit/1")


def test_push_to_hub(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    export(run, tmp_path / "out", push_to_hub="mine", base_id="org/pico", licence="mit")
    assert Hub.sent["private"]
    assert Hub.sent["to"] == "me/mine"
    assert {"README.md", "adapter_config.json", "adapter_model.safetensors"} <= set(Hub.sent["files"])
    assert "license: mit\nbase_model: org/pico" in (tmp_path / "out" / "README.md").read_text()
    with refused("…--push-to-hub: 'a b' is no name like me/model…", UsageError):
        export(run, tmp_path / "other", push_to_hub="a b")

    def closed(*_: Any, **__: Any) -> None:
        raise PermissionError("401 Client Error")

    monkeypatch.setattr(Hub, "create_repo", closed)
    with refused("…'mine' could not be made on the Hub (401 Client Error). Log in with `hf auth login`…", RunError):
        export(run, tmp_path / "other", push_to_hub="mine")
    assert not (tmp_path / "other").exists()


def test_a_download_is_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"model.safetensors": 8_040_000_000, "x.bin": 9}
    files = [SimpleNamespace(rfilename=name, size=size) for name, size in sizes.items()]
    hub = SimpleNamespace(model_info=lambda path, **_: SimpleNamespace(siblings=files))
    monkeypatch.setattr(download, "HfApi", lambda: hub)
    (said,) = download.downloads(ModelSection(path="org/large"))
    assert said.startswith("downloading 'org/large' from the Hub (8.0 GB) into ")
    assert download.downloads(ModelSection(path=str(tmp_path))) == []
    monkeypatch.setattr(download, "HfApi", SimpleNamespace)  # without a network
    assert download.downloads(ModelSection(path="org/large")) == []
