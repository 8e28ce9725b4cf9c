"""A panel from its file to its folder: a scripted model picks what it must, and a base is a base."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from acclimate.build.pairs import adapter_pair, model_pair
from acclimate.config.lora_schema import LoraSection
from acclimate.model.causal import CausalModel
from acclimate.model.export import save_model
from acclimate.model.lora.adapter import attach_lora
from acclimate.model.reference import FrozenCopy
from acclimate.paired.flips import Flips
from acclimate.paired.significance import holm, mcnemar
from acclimate.reports import write_report
from acclimate.runs.scores import read_lines
from acclimate.types.errors import ModelError, UsageError
from acclimate.verbs.panel import PanelConfig, evaluate_panel, load_panel, panel_digest
from acclimate.verbs.run import train
from tests.fixtures.pico import pico_model, pico_tokenizer, save_pico
from tests.fixtures.runs import config
from tests.fixtures.sentences import says
from tests.test_wrong_inputs import run_cli


def write_panel_file(folder: Path, **changes: Any) -> Path:
    """panel.yaml with a set of each kind, and its files."""
    choice = [{"question": f"Is it {i}?", "choices": ["ab", "cd", "e" * (i + 1)], "answer": i % 3} for i in range(6)]
    texts = [{"text": f"The river runs by the city number {i}."} for i in range(5)]
    for name, records in (("choice", choice), ("text", texts)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    sets = {
        "questions": {"kind": "choice", "path": "choice.jsonl"},
        "last": {"kind": "cloze", "path": "text.jsonl", "max_items": 4},
        "rivers": {"kind": "text", "path": "text.jsonl"},
        "cities": {"kind": "text", "path": "text.jsonl", "max_items": 2},
    }
    path = folder / "panel.yaml"
    path.write_text(yaml.safe_dump({"sets": sets} | changes))
    return path


def one_panel(folder: Path, choices: list[str], **changes: Any) -> PanelConfig:
    """A single question with these choices, the first of which is right."""
    (folder / "one.jsonl").write_text(json.dumps({"question": "Q", "choices": choices, "answer": 0}) + "\n")
    section = {"kind": "choice", "path": str(folder / "one.jsonl")}
    return PanelConfig.model_validate({"sets": {"one": section}} | changes)


def scripted(favourite: str, logit: float) -> CausalModel:
    """A model whose every next token is ``favourite`` with that logit, and 0 for all others."""
    network = pico_model(tie=False, attention_bias=False)
    with torch.no_grad():
        for layer in network.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        network.model.embed_tokens.weight.fill_(1.0)  # so that the final norm gives ones
        network.lm_head.weight.zero_()
        network.lm_head.weight[pico_tokenizer()(favourite)["input_ids"][0]] = logit / 32
    return CausalModel(network, pico_tokenizer())


def test_a_scripted_model_picks_its_favourite(tmp_path: Path) -> None:
    """Base and model want different letters; log-likelihoods are known in closed form."""
    model, base = scripted("b", 4.0), scripted("x", 4.0)
    result = evaluate_panel(model, FrozenCopy(base), one_panel(tmp_path, ["bbb", "xxx", "ccc"]))
    (line,) = result.sets["one"].items
    normaliser = math.log(math.exp(4) + 258)
    assert line["model"] == pytest.approx([3 * 4 - 4 * normaliser, -4 * normaliser, -4 * normaliser], abs=1e-4)
    assert line["base"] == pytest.approx([-4 * normaliser, 3 * 4 - 4 * normaliser, -4 * normaliser], abs=1e-4)
    assert (line["model_picked"], line["base_picked"], line["right"]) == (0, 1, 0)
    assert (line["context"], line["choices"]) == ("Question: Q\nAnswer:", ("bbb", "xxx", "ccc"))
    values = {(r["metric"], r["run"]): r["value"] for r in result.records}
    assert (values["accuracy", "model"], values["accuracy", "base"]) == (1, 0)
    p = [math.exp(4 - normaliser), math.exp(-normaliser)]  # of the favourite, and of any other
    kl = (p[0] - p[1]) * 4
    assert values["kl_base_tuned", "model"] == pytest.approx(kl, abs=1e-4)
    assert values["kl_tuned_base", "model"] == pytest.approx(kl, abs=1e-4)
    assert values["top1_agreement", "model"] == 0
    assert values["entropy_change", "model"] == pytest.approx(0, abs=1e-5)


def test_length_normalisation_flips_a_known_item(tmp_path: Path) -> None:
    """'bbbbbb' is likelier per character, 'x' in all."""
    model = scripted("b", 2.0)
    (line,) = evaluate_panel(model, FrozenCopy(model), one_panel(tmp_path, ["bbbbbb", "x"])).sets["one"].items
    normaliser = math.log(math.exp(2) + 258)
    assert line["model"] == pytest.approx([12 - 7 * normaliser, -2 * normaliser], abs=1e-4)
    assert line["characters"] == [6, 1]
    assert (line["model_picked"], line["model_picked_norm"]) == (1, 0)
    assert (line["model_correct"], line["model_correct_norm"]) == (False, True)


def test_a_cloze_is_right_when_every_token_is_the_likeliest(tmp_path: Path) -> None:
    model = scripted("b", 2.0)
    (tmp_path / "c.jsonl").write_text('{"text": "a bbb"}\n{"text": "a bbx"}\n')
    panel = PanelConfig.model_validate(
        {"template": "chat", "sets": {"c": {"kind": "cloze", "path": str(tmp_path / "c.jsonl")}}}
    )
    model.tokenizer.chat_template = "{{ messages[0]['content'] }}:"  # no blank before the word, which is no 'b'
    found = evaluate_panel(model, FrozenCopy(model), panel)
    assert [line["model_correct"] for line in found.sets["c"].items] == [True, False]
    values = {(r["metric"], r["run"]): r["value"] for r in found.records}
    normaliser = math.log(math.exp(2) + 258)
    assert values["word_nats", "model"] == pytest.approx(3 * normaliser - (3 * 2 + 2 * 2) / 2, abs=1e-4)
    assert values["accuracy", "base"] == 0.5


def test_a_panel_from_the_command_line(
    pico_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tuned = save_pico(tmp_path / "tuned", seed=3)
    path = write_panel_file(tmp_path)
    arguments = ["eval", "--model", str(tuned), "--base", str(pico_folder), "--panel", str(path)]
    code, out, err = run_cli([*arguments, "--output", str(tmp_path / "out")], monkeypatch, capsys)
    assert (code, err) == (0, "")
    assert "mean of" in out
    found = json.loads((tmp_path / "out" / "panel.json").read_text())
    assert found["panel"]["template"] == "plain"
    assert (found["name"], found["dtype"]) == ("tuned", "float32")
    assert found["model"]["digest"] != found["base"]["digest"]
    assert {name: entry["items"] for name, entry in found["sets"].items()} == {
        "questions": 6, "last": 4, "rivers": 5, "cities": 2,
    }  # fmt: skip
    bits = {(r["set"], r["run"]): r["value"] for r in found["records"] if r["metric"] == "bits_per_byte"}
    for side in ("model", "base"):
        mean = (bits["rivers", side] + bits["cities", side]) / 2
        assert found["averages"]["general"][side] == pytest.approx(mean)
    check_changes(found, tmp_path / "out")
    for word in ("MDE", "p by Holm's method", "by position", "16-63", "too few"):
        assert word in out, word
    assert "…" not in out  # no number is cut off, in a terminal of 80 columns
    lines = read_lines(tmp_path / "out" / "questions.jsonl")
    accuracy = next(
        r for r in found["records"] if (r["set"], r["metric"], r["run"]) == ("questions", "accuracy", "base")
    )
    assert accuracy["value"] == pytest.approx(sum(line["base_correct"] for line in lines) / 6)
    pair = model_pair(str(tuned), str(pico_folder))
    again = evaluate_panel(pair.model, pair.base, load_panel(path))
    assert again.digest == found["panel"]["digest"]
    assert again.records == found["records"]  # the same from Python, to the last bit
    chat = load_panel(write_panel_file(tmp_path, template="chat"))
    other = evaluate_panel(pair.model, pair.base, chat)
    assert other.digest != again.digest
    assert other.sets["questions"].items[0]["model"] != again.sets["questions"].items[0]["model"]
    # an earlier panel is measured again; anything else is left alone
    assert run_cli([*arguments, "--output", str(tmp_path / "out")], monkeypatch, capsys)[0] == 0
    code, _, err = run_cli([*arguments, "--output", str(tuned)], monkeypatch, capsys)
    assert code == 3
    assert says(err, f"Error: --output: '{tuned}' … no panel; … new folder.\n")


def test_other_logits_under_the_same_tokenizer_are_refused(pico_folder: Path, tmp_path: Path) -> None:
    network = AutoModelForCausalLM.from_pretrained(pico_folder)
    network.resize_token_embeddings(network.config.vocab_size, pad_to_multiple_of=64)
    network.save_pretrained(shutil.copytree(pico_folder, tmp_path / "padded"))
    with pytest.raises(ModelError, match=r"has \d+ logits and '.*padded' \d+, though they read the same tokens"):
        model_pair(str(tmp_path / "padded"), str(pico_folder))


def test_a_text_without_a_token_to_predict_has_no_line(pico_folder: Path, tmp_path: Path) -> None:
    base = model_pair(str(pico_folder), str(pico_folder))
    base.base.tokenizer.eos_token = None
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in ("abc", "x", "defg")))
    (tmp_path / "p.yaml").write_text(yaml.safe_dump({"sets": {"t": {"kind": "text", "path": "t.jsonl"}}}))
    lines = evaluate_panel(base.model, base.base, load_panel(tmp_path / "p.yaml")).sets["t"].items
    assert [(line["where"].rpartition(":")[2], line["bytes"]) for line in lines] == [("1", 2), ("3", 3)]


def check_changes(found: dict[str, Any], folder: Path) -> None:
    """Each change equals what its items say, and all are adjusted together."""
    lines = {name: read_lines(folder / f"{name}.jsonl") for name in found["sets"]}
    changes = {(r["set"], r["metric"]): r for r in found["records"] if r["metric"].endswith("_change") and "p" in r}
    assert set(changes) == {
        ("questions", "accuracy_change"), ("questions", "accuracy_norm_change"), ("last", "accuracy_change"),
        ("last", "word_nats_change"), ("rivers", "bits_per_byte_change"), ("cities", "bits_per_byte_change"),
    }  # fmt: skip
    right, base_right = ([line[f"{side}_correct"] for line in lines["questions"]] for side in ("model", "base"))
    lost = sum(b and not a for a, b in zip(right, base_right, strict=True))
    won = sum(a and not b for a, b in zip(right, base_right, strict=True))
    accuracy = changes["questions", "accuracy_change"]
    assert (accuracy["value"], accuracy["p"]) == (pytest.approx((won - lost) / 6), mcnemar(lost, won))
    assert (accuracy["low"], accuracy["high"]) == (Flips(won, lost, 6).low, Flips(won, lost, 6).high)
    assert (accuracy["unit"], accuracy["n"]) == ("share of items", 6)
    nats = changes["last", "word_nats_change"]
    assert nats["value"] == pytest.approx(sum(x["base"][0] - x["model"][0] for x in lines["last"]) / 4)
    bits = changes["rivers", "bits_per_byte_change"]
    total = sum(x["nats"] - x["base_nats"] for x in lines["rivers"]) / sum(x["bytes"] for x in lines["rivers"])
    assert bits["value"] == pytest.approx(total / math.log(2))
    assert bits["low"] <= bits["value"] <= bits["high"]
    assert changes["cities", "bits_per_byte_change"]["low"] is None  # of two documents nothing is claimed
    tested = [r for r in changes.values() if r["p"] is not None]
    assert [r["p_holm"] for r in tested] == pytest.approx(holm([r["p"] for r in tested]))
    assert len(tested) == 5
    assert found["averages"]["general"]["change"]["mde"] is None
    drift = [line["kl_base_tuned"] / line["right_tokens"] for line in lines["last"]]
    assert min(drift) > 0


def test_a_macro_average_has_a_paired_interval(tmp_path: Path) -> None:
    write_panel_file(tmp_path)
    sets = {f"s{i}": {"kind": "text", "path": str(tmp_path / "text.jsonl"), "max_items": i} for i in (3, 5)}
    model, base = (CausalModel(pico_model(seed), pico_tokenizer()) for seed in (1, 2))
    result = evaluate_panel(model, FrozenCopy(base), PanelConfig.model_validate({"sets": sets}))
    change = result.averages["general"]["change"]
    each = [r["value"] for r in result.records if r["metric"] == "bits_per_byte_change"]
    assert change["value"] == pytest.approx(sum(each) / 2)
    assert change["low"] < change["value"] < change["high"]
    assert (change["n"], change["mde"] > 0) == (8, True)


@pytest.mark.parametrize("lora", [None, {"rank": 2}], ids=["full", "lora"])
def test_a_panel_on_a_run(
    lora: dict[str, Any] | None,
    pico_folder: Path,
    corpora: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = train(config(pico_folder, corpora, tmp_path, lora=lora)).run_dir
    path = write_panel_file(tmp_path)
    assert run_cli(["eval", str(run), "--panel", str(path)], monkeypatch, capsys)[0] == 0
    found = json.loads((run / "panels" / "panel" / "panel.json").read_text())
    page = write_report([run], tmp_path / "r.html").read_text()
    section = page[page.index('id="panels"') :]
    assert all(f"<bdi>{name}</bdi></th>" in section for name in ("questions", "last", "rivers"))
    kl = {r["set"]: r["value"] for r in found["records"] if r["metric"] == "kl_base_tuned"}
    assert all(value > 0 for value in kl.values())
    # the same weights and the same base, named one by one
    option = "--model" if lora is None else "--adapter"
    named = ["eval", option, str(run / "model"), "--base", str(pico_folder), "--panel", str(path), "--output"]
    assert run_cli([*named, str(tmp_path / "o")], monkeypatch, capsys)[0] == 0
    other = json.loads((tmp_path / "o" / "panel.json").read_text())
    assert other["records"] == found["records"]
    assert other["base"]["digest"] == found["base"]["digest"]


def test_an_adapter_is_compared_with_its_own_base(pico_folder: Path, tmp_path: Path) -> None:
    network = pico_model()
    peft = attach_lora(network, LoraSection(rank=2))
    model = CausalModel(network, pico_tokenizer(), peft)
    save_model(model, tmp_path / "adapter", str(pico_folder))
    assert adapter_pair(tmp_path / "adapter", str(pico_folder)).identity["base_checked_by"] == "weights"
    moved = save_pico(tmp_path / "moved")  # equal weights at another place
    assert adapter_pair(tmp_path / "adapter", str(moved)).identity["base_checked_by"] == "weights"
    other = save_pico(tmp_path / "other", seed=5)
    with pytest.raises(UsageError) as caught:
        adapter_pair(tmp_path / "adapter", str(other))
    assert says(
        caught.value, f"--base: … '{tmp_path}/adapter' was trained on '{pico_folder}', … '{other}' has other weights; …"
    )
    save_model(model, tmp_path / "far", "someone/tiny-model")  # nowhere on this machine: its name is all there is
    with pytest.raises(UsageError, match=r"'someone/tiny-model', and .* has another name; give the base"):
        adapter_pair(tmp_path / "far", str(pico_folder))
    named = save_pico(tmp_path / "tiny-model")
    assert adapter_pair(tmp_path / "far", str(named)).identity["base_checked_by"] == "name"


def test_a_table_outlives_settings_that_came_later(tmp_path: Path) -> None:
    """The digest of a panel as tables of before these settings have it: a setting at its default asks nothing else."""
    (tmp_path / "t.jsonl").write_text('{"text": "abc"}\n')
    sets: dict[str, Any] = {"t": {"kind": "text", "path": "t.jsonl"}}

    def digest(sets: dict[str, Any], **changes: Any) -> str | None:
        (tmp_path / "p.yaml").write_text(yaml.safe_dump({"sets": sets} | changes))
        panel_digest.cache_clear()
        return panel_digest(tmp_path / "p.yaml")

    first = digest(sets)
    assert first == "e515b471ec45ac9d210a73b70921a39bd95e0e5eb5c26fdcd40a0b1085d1770b"
    assert digest(sets, overlap=0) == first
    assert digest(sets, overlap=8) != first
    assert digest({"t": sets["t"] | {"group": "author"}}) != first
