from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from acclimate.reports import model_card
from acclimate.reports.front_matter import Origin
from tests.reports.runs import add_change, drop_change, write_run


def front_matter(card: str) -> dict[str, Any]:
    assert card.startswith("---\n")
    front = yaml.safe_load(card.split("---\n")[1])
    assert isinstance(front, dict)
    return front


def test_front_matter(tmp_path: Path) -> None:
    drop_change(write_run(tmp_path / "run"))
    card = model_card(tmp_path / "run")
    front = front_matter(card)
    (results,) = front.pop("model-index")
    assert results["name"] == "run"
    assert {one["dataset"]["type"]: one["metrics"][0] for one in results["results"]}["domain"] == {
        "type": "bits_per_byte", "name": "bits per byte", "value": 0.82,
    }  # fmt: skip
    assert front == {
        "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "base_model_relation": "finetune",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["acclimate", "mol"],
    }
    assert "AutoModelForCausalLM.from_pretrained(" in card
    assert "PeftModel" not in card
    assert "| domain | domain | bits per byte | 1.050 | 0.820 (0.787 to 0.853) | – | – |" in card
    assert "| optimizer.learning_rate | 0.0005 |" in card
    assert "## Limitations" in card


def test_the_card_carries_the_paired_change_and_what_would_have_shown(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    add_change(run, -0.2301, half=0.0204, mde=0.0312)
    row = "| 1.050 | 0.820 (0.787 to 0.853) | −0.230 (−0.251 to −0.210) | 0.031 |"
    assert f"| domain | domain | bits per byte {row}" in model_card(run)


def test_an_adapter_is_loaded_with_peft(tmp_path: Path) -> None:
    card = model_card(write_run(tmp_path / "run", config={"lora": {"rank": 16, "alpha": 32.0}}))
    assert front_matter(card)["library_name"] == "peft"
    assert "PeftModel.from_pretrained(base" in card
    assert "| lora.rank | 16 |" in card


@pytest.mark.parametrize("path", ["/home/ada/models/tiny", "~/models/tiny/", r"C:\Users\ada\tiny", "../ada/x/tiny"])
def test_a_local_base_model_does_not_leak_its_folder(tmp_path: Path, path: str) -> None:
    card = model_card(write_run(tmp_path / "run", config={"model": {"path": path}}))
    assert "base_model" not in front_matter(card)  # it would be a link to nowhere
    assert "ada" not in card.replace("adapt", "")
    assert "models/" not in card
    assert "read from a local folder" in card


def test_hostile_names_stay_in_their_cell(tmp_path: Path) -> None:
    names = {"domain": "a|b <script>alert(1)</script>\n# heading", "chat": "---"}
    card = model_card(write_run(tmp_path / "run", "m: [x", names=names))
    assert front_matter(card)["tags"] == ["acclimate", "m: [x"]
    assert "<script" not in card
    assert "\n# heading" not in card
    rows = [line for line in card.splitlines() if line.startswith("| a")]
    assert rows
    assert all(r"a\|b &lt;script&gt;" in row for row in rows if "alert" in row)


def test_a_card_without_data_or_kept_text(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "data.json").unlink()
    assert "## Data" not in model_card(run)


def test_the_licence_and_the_base_as_the_hub_has_them(tmp_path: Path) -> None:
    """The licence is the base's, where its folder says one."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Base\n")
    sources = {"domain": {"path": "me/texts", "split": "train"}, "general": {"path": "my/own"}}
    settings = {"model": {"path": str(tmp_path / "base")}, "sources": sources}
    run = write_run(tmp_path / "run", config=settings)
    front = front_matter(model_card(run))
    assert front["license"] == "apache-2.0"
    assert front["datasets"] == ["me/texts"]
    card = model_card(run, origin=Origin("org/base", "cc-by-nc-4.0"))
    assert front_matter(card)["license"] == "cc-by-nc-4.0"
    assert front_matter(card)["base_model"] == "org/base"
    assert "read from a local folder" not in card
    assert "Licence: cc-by-nc-4.0" in card


def test_how_to_serve_it(tmp_path: Path) -> None:
    assert "vllm serve PATH_OR_HUB_ID_OF_THIS_MODEL\n" in model_card(write_run(tmp_path / "whole"))
    card = model_card(write_run(tmp_path / "lora", config={"lora": {"rank": 16, "alpha": 32.0}}))
    assert "--enable-lora --max-lora-rank 16 --lora-modules this=PATH_OR_HUB_ID_OF_THIS_MODEL" in card
