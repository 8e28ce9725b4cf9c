"""wise: both ends bitwise, the line between them, and a choice that no report sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from acclimate.build import open_run
from acclimate.data.corpus import load_corpora
from acclimate.model.load import load_tokenizer
from acclimate.reports.collect import collect
from acclimate.runs.scores import read_lines
from acclimate.training.interpolation import choose
from acclimate.verbs.run import evaluate_run, train
from tests.fixtures.runs import CHOICE, config, same_weights, weights


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("lora", [None, {"rank": 4}], ids=["full", "lora"])
def test_the_line_from_base_to_tuned(
    lora: dict[str, int] | None, dtype: str, pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    def tuned(method: Any) -> Path:
        name = str(method["alpha"]) if isinstance(method, dict) else "sft"
        return train(
            config(pico_folder, corpora, tmp_path, name=name, method=method, lora=lora, model={"dtype": dtype})
        ).run_dir

    ends = {alpha: tuned({"name": "wise", "alpha": alpha}) for alpha in (0.0, 0.25, 1.0)}
    end, middle, start = weights(tuned("sft")), weights(ends[0.25]), weights(ends[0.0])
    assert all(torch.equal(tensor, end[name]) for name, tensor in weights(ends[1.0]).items())
    if lora is None:
        base = load_file(pico_folder / "model.safetensors")
        assert all(torch.equal(tensor, base[name].to(tensor.dtype)) for name, tensor in start.items())
    else:
        base = {name: tensor * ("lora_B" not in name) for name, tensor in end.items()}
        ids = torch.arange(3, 40)[None]
        model = open_run(ends[0.0])[1].model.eval()
        with torch.no_grad(), model.peft.disable_adapter():  # type: ignore[union-attr]
            known = model.network(ids).logits
        with torch.no_grad():
            assert torch.equal(model.network(ids).logits, known)
    moved = 0.0
    for name, tensor in middle.items():
        step = end[name].double() - base[name].double()
        error = (tensor.double() - base[name].double() - 0.25 * step).abs().max()
        assert error <= (1e-6 if dtype == "float32" else 0.01) * max(1.0, float(end[name].abs().max()))
        moved = max(moved, float((0.25 * step).abs().max()))
    assert moved > 1e-3


def record(alpha: float, role: str, value: float, base: float) -> dict[str, Any]:
    return {"alpha": alpha, "metric": "bits_per_byte", "role": role, "value": value, "base": base}


@pytest.mark.parametrize(("bound", "expected"), [(0.5, (1.0, True)), (0.02, (0.6, True)), (0.005, (0.3, False))])
def test_the_rule(bound: float, expected: tuple[float, bool]) -> None:
    """Two general sets, of which the worse one counts; the domain is best at 1.0."""
    found = [
        record(alpha, role, value, 2.0)
        for alpha, domain, one, two in ((0.3, 1.5, 2.02, 1.9), (0.6, 1.2, 1.8, 2.03), (1.0, 1.1, 2.0, 2.2))
        for role, value in (("domain", domain), ("general", one), ("chat", two))
    ]
    assert choose([*found, found[0] | {"metric": "kl_base_tuned", "value": 9.0}], bound) == expected


@pytest.mark.parametrize("lora", [None, {"rank": 4}], ids=["full", "lora"])
def test_a_choice_is_made_on_documents_that_no_report_uses(
    lora: dict[str, int] | None, pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    method = [
        "mol",
        {"name": "wise", "alpha": [1.0, 0.0, 0.5], "max_general_rise": 10.0},
    ]  # the chosen one is not the last
    settings = config(
        pico_folder, corpora, tmp_path, name="wise", method=method, lora=lora,
        training={"eval_steps": 2, "final": "best"}, **CHOICE,
    )  # fmt: skip
    found = train(settings)
    written = json.loads((found.run_dir / "interpolation.json").read_text())
    assert (written["alpha"], written["within"]) == (1.0, True)
    answers = json.loads((found.run_dir / "generations.json").read_text())["answers"]
    loaded = load_corpora(settings, load_tokenizer(settings.model))
    unseen = [document.parts[0].text for document in loaded.sources["domain"].drawn()]
    first = settings.evaluation.validation_documents
    (shown,) = [answer["prompt"] for answer in answers if answer["set"] == "domain"][:1]
    assert unseen[first].startswith(shown)
    assert not any(text.startswith(shown) for text in unseen[:first])
    by = {(r["alpha"], r["set"], r["metric"]): r for r in written["records"]}
    assert {key[0] for key in by} == {0.0, 0.5, 1.0}
    assert {key[1] for key in by} == {"domain", "general", "chat"}
    assert by[0.0, "domain", "bits_per_byte"]["value"] == by[0.0, "domain", "bits_per_byte"]["base"]
    assert by[0.0, "chat", "kl_base_tuned"]["value"] == 0 < by[1.0, "chat", "kl_base_tuned"]["value"]
    assert by[1.0, "domain", "bits_per_byte"]["value"] < by[0.5, "domain", "bits_per_byte"]["value"]
    assert all(r["n"] == 2 for r in written["records"])
    plain = train(settings.model_copy(update={"name": "mol", "method": "mol"}))  # the same held-out text
    assert same_weights(plain.run_dir, found.run_dir)
    assert found.summary != plain.summary  # by name only
    values = [[(r["set"], r["metric"], r["value"]) for r in run.summary] for run in (found, plain)]
    assert values[0] == values[1]
    assert collect([found.run_dir, plain.run_dir])
    # the report's documents and the choice's are together those of a run without validation
    free = settings.model_copy(update={"name": "all", "method": "mol"})
    free = free.model_copy(update={
        "evaluation": free.evaluation.model_copy(update={"validation_documents": 0}),
        "training": free.training.model_copy(update={"final": "last"}),
    })  # fmt: skip
    every = places(train(free).run_dir)
    reported = places(found.run_dir)
    for set_name, corpus in loaded.sources.items():
        chosen = {loaded.document_name(corpus.first_heldout_id + int(place)) for place in corpus.heldout_order[:2]}
        assert len(every[set_name]) == 4
        assert reported[set_name] == [place for place in every[set_name] if place not in chosen]
        assert len(reported[set_name]) == 2
    assert evaluate_run(found.run_dir).summary == found.summary


def test_what_a_choice_costs_is_counted_alike(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """Of student and base, though sft has no reference: with an adapter they are one network, else two."""
    apart = []
    for name, lora in (("full", None), ("lora", {"rank": 4})):
        method = {"name": "wise", "alpha": [0.0, 1.0]}
        run = train(config(pico_folder, corpora, tmp_path, name=name, method=method, lora=lora, **CHOICE)).run_dir
        apart.append(json.loads((run / "provenance.json").read_text())["apart_forward_tokens"])
    assert apart[0] == apart[1] > 0


def places(run_dir: Path) -> dict[str, list[str]]:
    return {path.stem: [line["where"] for line in read_lines(path)] for path in (run_dir / "eval").glob("*.jsonl")}
