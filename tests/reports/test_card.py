from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from acclimate.reports import model_card
from tests.reports.runs import add_change, drop_change, write_run


def front_matter(card: str) -> dict[str, Any]:
    assert card.startswith("---\n")
    front = yaml.safe_load(card.split("---\n")[1])
    assert isinstance(front, dict)
    return front


def test_front_matter(tmp_path: Path) -> None:
    drop_change(write_run(tmp_path / "run"))
    card = model_card(tmp_path / "run")
    assert front_matter(card) == {
        "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "library_name": "transformers",
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
    assert front_matter(card)["base_model"] == "tiny"
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
