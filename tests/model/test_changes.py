"""model.add_tokens: a change of network and tokenizer that is recorded, and done again wherever the model is opened."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import PeftModel
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer

from acclimate.build import build_training, load_model, open_run, resolve
from acclimate.build.pairs import adapter_pair, model_pair, run_pair
from acclimate.build.plan import compose
from acclimate.config.load import load_config
from acclimate.config.schema import LoraSection, ModelSection
from acclimate.data.corpus import load_corpora
from acclimate.model.causal import CausalModel
from acclimate.model.changes import AddTokens, read_changes, replay, write_changes
from acclimate.model.export import merged
from acclimate.model.identity import model_digest
from acclimate.model.load import load_network, load_tokenizer
from acclimate.model.lora.adapter import attach_lora
from acclimate.model.reference import AdapterOff
from acclimate.reports import model_card
from acclimate.runs.folder import read_summary
from acclimate.runs.layout import Layout
from acclimate.runs.measured import base_of
from acclimate.types.errors import ConfigError, ModelError, RunError
from acclimate.verbs.chat import open_chat
from acclimate.verbs.export import export
from acclimate.verbs.panel import PanelConfig, evaluate_panel
from acclimate.verbs.run import RunResult, evaluate_run, train
from acclimate.verbs.validate import validate
from tests.fixtures.pico import pico_model, pico_tokenizer
from tests.fixtures.runs import config, killed_after, lines, weights

TOKENS = ["kidney", " river", "<|tool|>"]
IDS = [259, 260, 261]
CPU = torch.device("cpu")
BRIEF: dict[str, Any] = {"budget": {"steps": 3}, "evaluation": {"generations": 0, "memorisation_documents": 0}}
LORA = {"rank": 4}
KINDS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"lora": LORA},
    "untied padded lora": {"lora": LORA, "tie": False, "rows": 320},
}


def start(folder: Path, tie: bool = True, rows: int = 259) -> Path:
    pico_model(tie=tie, vocab_size=rows).save_pretrained(folder)
    pico_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=KINDS)
def run(
    request: pytest.FixtureRequest, corpora: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, RunResult]:
    """The model it started from, and the run."""
    kind, output = dict(KINDS[request.param]), tmp_path_factory.mktemp("tokens")
    lora = kind.pop("lora", None)
    base = start(output / "base", **kind)
    return base, train(config(base, corpora, output, lora=lora, model={"add_tokens": TOKENS}, **BRIEF))


def is_lora(result: RunResult) -> bool:
    return (result.run_dir / "model" / "adapter_config.json").is_file()


def logits(network: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = network.eval()(input_ids=ids).logits
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("rows", [259, 261, 320])
def test_new_rows_are_the_mean_of_old_pieces(tie: bool, rows: int, dtype: torch.dtype) -> None:
    network, tokenizer = pico_model(tie=tie, vocab_size=rows, dtype=dtype), pico_tokenizer()
    before = [table.weight.detach().clone() for table in (network.get_input_embeddings(), network.lm_head)]
    pieces = [tokenizer(token, add_special_tokens=False)["input_ids"] for token in TOKENS]
    random = torch.get_rng_state()
    change = AddTokens.to(tokenizer, TOKENS)
    change.change_network(network)
    assert torch.equal(torch.get_rng_state(), random)
    assert list(change.ids) == IDS
    assert network.config.vocab_size == max(rows, 262)
    assert (network.get_input_embeddings().weight is network.lm_head.weight) == tie
    for old, table in zip(before, (network.get_input_embeddings(), network.lm_head), strict=True):
        assert table.weight.shape[0] == max(rows, 262)
        assert torch.equal(table.weight[:259], old[:259])
        for number, read in zip(IDS, pieces, strict=True):
            assert torch.equal(table.weight[number], old[read].float().mean(0).to(dtype))
    assert tokenizer("a kidney by the river")["input_ids"].count(259) == 1
    assert tokenizer.decode(tokenizer("a kidney by the river")["input_ids"]) == "a kidney by the river"


def test_a_head_with_a_bias_and_ids_that_no_row_has() -> None:
    """A tokenizer may know more ids than the network has rows; those between get the mean of all."""
    network, tokenizer = pico_model(tie=False), pico_tokenizer()
    network.lm_head = torch.nn.Linear(32, 259)
    tokenizer.add_tokens(["<spare>"])
    bias, old = network.lm_head.bias.detach().clone(), network.lm_head.weight.detach().clone()
    change = AddTokens.to(tokenizer, ["kidney"])
    change.change_network(network)
    assert change.ids == (260,)
    assert torch.equal(network.lm_head.bias[260], bias[list(change.pieces[0])].mean())
    assert torch.allclose(network.lm_head.weight[259], old.mean(0))
    with pytest.raises(ModelError, match=r"model\.add_tokens: .* bias"):
        attach_lora(network, LoraSection(rank=2), change.ids)


def test_what_is_recorded_is_done_once_and_only_to_such_a_model(tmp_path: Path) -> None:
    network, tokenizer = pico_model(), pico_tokenizer()
    change = AddTokens.to(tokenizer, TOKENS)
    change.change_network(network)
    write_changes(tmp_path, [change])
    assert json.loads((tmp_path / "changes.json").read_text())["version"] == 1
    assert read_changes(tmp_path) == [change]
    assert read_changes(tmp_path / "none") == []
    again, other = pico_model(), pico_tokenizer()
    replay(read_changes(tmp_path), other, again)
    assert other.get_vocab() == tokenizer.get_vocab()
    assert torch.equal(again.lm_head.weight, network.lm_head.weight)
    torch.nn.init.zeros_(again.lm_head.weight)
    replay(read_changes(tmp_path), other, again)  # it has gone through them
    assert not again.lm_head.weight.any()
    stranger = pico_tokenizer()
    stranger.add_tokens(["<own>"])
    with pytest.raises(ModelError, match=r"changes\.json: 'kidney' was added as token 259, and would be 260"):
        replay([change], stranger)
    for text, said in (
        ('{"version": 2, "changes": []}', "is of version 2; this acclimate reads version 1"),
        ('{"version": 1}', "is damaged"),
        ('{"version": 1, "changes": [{"kind": "prune"}]}', "there is no change called 'prune'"),
        ("[1]", "is damaged"),
    ):
        (tmp_path / "changes.json").write_text(text)
        with pytest.raises(ModelError, match=said):
            read_changes(tmp_path)


def test_what_cannot_be_added(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(config(pico_folder, corpora, tmp_path).model_dump(mode="json")))
    for given, said in (
        ('["kidney", "kidney"]', r"model\.add_tokens: 'kidney' stands there twice"),
        ('["kidney", ""]', r"model\.add_tokens\.1: is empty"),
        ("kidney", r"model\.add_tokens: 'kidney' is not a list"),
        ("[1]", r"model\.add_tokens\.0: 1 is not text"),
    ):
        with pytest.raises(ConfigError, match=said):
            load_config(path, [f"model.add_tokens={given}"])
    with pytest.raises(ConfigError, match=r"no such key\. Did you mean 'add_tokens'"):
        load_config(path, ['model.add_token=["kidney"]'])
    for verb in (validate, train):
        for given, said in (('"k"', "'k' is one token .*id 77"), ('"<|im_end|>"', "'<|im_end|>' is one token .*id 2")):
            with pytest.raises(
                ConfigError, match=rf"--set model.add_tokens.*: model\.add_tokens: {said}".replace("|", r"\|")
            ):
                verb(load_config(path, [f'model.add_tokens=["kidney", {given}]']))  # type: ignore[operator]
    assert not (tmp_path / "run" / "model").exists()


def test_a_tokenizer_that_reads_it_otherwise() -> None:
    from tokenizers import normalizers

    tokenizer = pico_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("~", "")
    with pytest.raises(ConfigError, match="'~~' is no text to this model's tokenizer"):
        AddTokens.to(tokenizer, ["kidney", "~~"])


def test_the_base_reads_the_new_tokens_and_nothing_has_moved_at_step_0(run: tuple[Path, RunResult]) -> None:
    base, result = run
    assert {value for name, value in lines(result.run_dir)[0].items() if name.endswith("/reverse_kl")} == {0.0}
    pair = run_pair(result.run_dir)
    known = load_network(ModelSection(path=str(base), add_tokens=TOKENS), torch.float32, CPU)
    with pair.base.generator() as frozen:
        ids = torch.tensor([[70, *IDS, 75]])
        assert torch.equal(logits(frozen.network, ids), logits(known, ids))
    assert pair.model.tokenizer.convert_tokens_to_ids(TOKENS) == IDS
    assert pair.base.tokenizer.get_vocab() == pair.model.tokenizer.get_vocab()
    assert pair.model.vocabulary == pair.base.model.vocabulary == known.lm_head.weight.shape[0]


def test_the_untouched_checkpoint_is_measured_in_its_own_tokens(run: tuple[Path, RunResult]) -> None:
    """Its nats are those of a plain forward of each document alone, over bytes that both read."""
    base, result = run
    found = read_summary(Layout(result.run_dir).untouched)
    assert {(r["run"], r["metric"]) for r in found} == {
        ("untouched", "bits_per_byte"), ("mol", "bits_per_byte"), ("mol", "bits_per_byte_change"),
    }  # fmt: skip
    config, pair = open_run(result.run_dir)
    tokenizer, network = pico_tokenizer(), AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    nats, size = 0.0, 0
    corpus = load_corpora(config, pair.model.tokenizer).sources["domain"]
    for document in corpus.read_heldout():
        ids = torch.tensor([tokenizer(document.text)["input_ids"]])
        skip = len(document.text[: 6 if document.text.startswith("kidney") else 1])
        logs = logits(network, ids)[0, :-1].double().log_softmax(-1).gather(1, ids[0, 1:, None])
        nats, size = nats - float(logs[skip - 1 :].sum()), size + len(document.text.encode()) - skip
    (value,) = [r["value"] for r in found if r["run"] == "untouched" and r["set"] == "domain"]
    assert value == pytest.approx(nats / math.log(2) / size, rel=1e-5)


def test_new_rows_learn_and_under_lora_no_old_one(run: tuple[Path, RunResult]) -> None:
    base, result = run
    began = load_network(ModelSection(path=str(base), add_tokens=TOKENS), torch.float32, CPU)
    network = open_run(result.run_dir)[1].model.network
    tables = (began.get_input_embeddings(), network.get_input_embeddings()), (began.lm_head, network.lm_head)
    for old, new in tables:
        moved = (old.weight != new.weight).any(1)
        assert moved[259]  # of a word that is in the text
        assert not is_lora(result) or not moved[[i for i in range(len(moved)) if i not in IDS]].any()


def test_resume_is_bitwise(run: tuple[Path, RunResult], corpora: Path, tmp_path: Path) -> None:
    base, result = run
    settings = config(
        base, corpora, tmp_path, lora=LORA if is_lora(result) else None, model={"add_tokens": TOKENS},
        training={"save_steps": 1}, **BRIEF,
    )  # fmt: skip
    killed_after(2, settings)
    resumed = train(settings, resume=True)
    one, two = weights(result.run_dir), weights(resumed.run_dir)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert resumed.summary == result.summary == evaluate_run(result.run_dir).summary


def test_what_is_exported_opens_in_plain_transformers_and_peft(run: tuple[Path, RunResult], tmp_path: Path) -> None:
    base, result = run
    model = open_run(result.run_dir)[1].model
    ids = torch.tensor([[70, *IDS, 75, 80]])
    expected = logits(model.network, ids)
    export(result.run_dir, tmp_path / "whole", merge=True)
    folders = [tmp_path / "whole"]
    opened = [AutoModelForCausalLM.from_pretrained(folders[0], dtype=torch.float32)]
    if is_lora(result):
        export(result.run_dir, tmp_path / "adapter")
        folders.append(tmp_path / "adapter")
        plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        plain.resize_token_embeddings(model.vocabulary, mean_resizing=False)
        opened.append(PeftModel.from_pretrained(plain, folders[1]))
        assert f"resize_token_embeddings({model.vocabulary}, " in model_card(result.run_dir)
    for folder, network in zip(folders, opened, strict=True):
        assert AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids(TOKENS) == IDS
        assert torch.allclose(logits(network, ids), expected, atol=2e-5)
        assert [change.tokens for change in read_changes(folder)] == [tuple(TOKENS)]  # type: ignore[attr-defined]
    card = model_card(result.run_dir)
    assert "tokens were added (model.add_tokens): 'kidney', ' river', " in card
    assert "Against the untouched checkpoint, each in its own tokens over the same bytes" in card


def test_a_model_or_an_adapter_beside_the_untouched_base(run: tuple[Path, RunResult], tmp_path: Path) -> None:
    """The recorded changes are done to it too, so it is the base that the run was trained against."""
    base, result = run
    (tmp_path / "text.jsonl").write_text(
        "\n".join(json.dumps({"text": f"a kidney by the river {i}"}) for i in range(9))
    )
    panel = PanelConfig.model_validate({"sets": {"text": {"kind": "text", "path": str(tmp_path / "text.jsonl")}}})
    pairs = [run_pair(result.run_dir)]
    if is_lora(result):
        pairs += [adapter_pair(result.run_dir / "model", str(base))]
        assert isinstance(pairs[1].base, AdapterOff)
    else:
        pairs += [model_pair(str(result.run_dir / "model"), str(base))]
    assert (
        pairs[0].identity["base"]["digest"]
        == pairs[1].identity["base"]["digest"]
        != model_digest(ModelSection(path=str(base)))
    )
    assert "changes.json" in pairs[1].notes[0]
    one, two = (evaluate_panel(pair.model, pair.base, panel).records for pair in pairs)
    assert one == two
    assert next(record["value"] for record in one if record["metric"] == "kl_base_tuned") > 0
    copy = shutil.copytree(result.run_dir / "model", tmp_path / "without")
    (copy / "changes.json").unlink()
    with pytest.raises((ModelError, RunError), match=r"tokens"):
        adapter_pair(copy, str(base)) if is_lora(result) else model_pair(str(copy), str(base))


def test_a_second_stage_holds_on_to_the_original(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """Both stages have one base: the original with the new rows as they were before training."""
    brief = BRIEF | {"budget": {"steps": 1}, "lora": LORA}
    one = train(config(pico_folder, corpora, tmp_path, name="one", model={"add_tokens": ["kidney"]}, **brief))
    export(one.run_dir, tmp_path / "first", merge=True)
    model = {"path": str(tmp_path / "first"), "base": str(pico_folder), "add_tokens": ["renal"]}
    two = train(config(pico_folder, corpora, tmp_path, name="two", model=model, **brief))
    pair = run_pair(two.run_dir)
    assert pair.base.model.tokenizer.convert_tokens_to_ids(["kidney", "renal"]) == [259, 260]
    table = pair.base.model.network.lm_head.weight
    for number, word in ((259, "kidney"), (260, "renal")):
        assert torch.equal(table[number], table[pico_tokenizer()(word)["input_ids"]].mean(0))
    export(two.run_dir, tmp_path / "second", merge=True)
    assert [change.identity[1:] for change in read_changes(tmp_path / "second")] == [["kidney"], ["renal"]]
    plain = {"path": str(tmp_path / "first"), "base": str(pico_folder)}
    three = train(config(pico_folder, corpora, tmp_path, name="three", model=plain, **brief))
    bases = [base_of(json.loads((r.run_dir / "provenance.json").read_text()))["digest"] for r in (one, two, three)]
    assert bases[0] == bases[2] != bases[1]


def test_wise_takes_new_rows_back(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    method = ["mol", {"name": "wise", "alpha": 0.0}]
    model = {"add_tokens": TOKENS}
    found = train(config(pico_folder, corpora, tmp_path, lora=LORA, method=method, model=model, **BRIEF))
    assert max(r["value"] for r in found.summary if r["metric"] == "kl_base_tuned") < 1e-9


def test_an_adapter_of_tokens_keeps_no_head(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """PEFT puts a whole head together for each micro-batch: what is kept of them would be a head a step."""
    job = resolve(config(pico_folder, corpora, tmp_path, lora=LORA, method="asft", model={"add_tokens": TOKENS}))
    corpus = load_corpora(job.config, load_tokenizer(job.config.model))
    model = load_model(job.config, job.device)
    training, _, _ = build_training(job, compose(job.config), model, corpus, Console(quiet=True))
    batches = training.data.next_step()
    training.data.close()
    sizes = []
    for _ in range(3):
        step = training.objective.step(batches)
        step.observe(model)
        for batch in batches:
            step.loss(model, batch).backward()
        sizes.append((len(training.objective.projections), len(step._trained_heads)))
    assert sizes == [sizes[0]] * 3
    assert sizes[0][1] == 0


def test_merging_in_bfloat16_keeps_the_rows() -> None:
    network, tokenizer = pico_model(dtype=torch.bfloat16), pico_tokenizer()
    change = AddTokens.to(tokenizer, TOKENS)
    change.change_network(network)
    peft = attach_lora(network, LoraSection(rank=2), change.ids)
    rows = network.get_input_embeddings().token_adapter.trainable_tokens_delta["default"]
    with torch.no_grad():
        rows.normal_()
    whole = merged(peft)
    assert torch.equal(whole.lm_head.weight[IDS], rows)
    assert whole.lm_head.weight is whole.get_input_embeddings().weight
    assert CausalModel(network, tokenizer, peft).dtype == torch.bfloat16


def test_validate_counts_them_and_names_what_no_text_has(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    plain, more = (
        validate(config(pico_folder, corpora, tmp_path, lora=LORA, model={"add_tokens": tokens}))
        for tokens in ([], TOKENS)
    )
    assert more.trained_parameters - plain.trained_parameters == 3 * 32
    assert any(
        "model.add_tokens: no document" in note and note.count("'") == 2 and "<|tool|>" in note
        for note in more.warnings
    )
    assert more.data["sources"]["domain"]["tokens"] < plain.data["sources"]["domain"]["tokens"]


def test_both_sides_of_a_chat_know_the_tokens(run: tuple[Path, RunResult]) -> None:
    for conversation in open_chat(run[1].run_dir, base=True, max_new_tokens=2):
        assert conversation.tokenizer.convert_tokens_to_ids(TOKENS) == IDS
        conversation.ask("a kidney")
