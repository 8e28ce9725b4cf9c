"""What every registered method must pass; nothing here names a method but through the registry."""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
import torch

from acclimate.build.plan import build_plan, compose
from acclimate.config.load import dump_config, load_config
from acclimate.methods.catalogue import describe
from acclimate.methods.registry import METHODS
from acclimate.runs.scores import read_lines
from acclimate.types.errors import ConfigError
from acclimate.types.plan import Evidence, PlanContext
from acclimate.verbs.run import train
from tests.fixtures.gradients import built, step_gradient
from tests.fixtures.methods import spec
from tests.fixtures.runs import config
from tests.fixtures.sentences import refused

ROOT = Path(__file__).parents[2]
LORA = {"rank": 4}
BaselineWeights = Callable[[object, dict[str, int] | None], bytes]


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("name", METHODS)
def test_accumulation_leaves_the_gradient_unchanged(
    name: str, lora: dict[str, int] | None, pico_folder: Path, corpora: Path, made: Path, tmp_path: Path
) -> None:
    found, layouts = [], []
    method = spec(name, pico_folder, corpora, made, lora)
    for size in (1, 8):
        training = built(
            config(
                pico_folder, corpora, tmp_path, name=f"b{size}", method=method, lora=lora,
                training={"micro_batch_size": size}, budget={"batch_tokens": 400}, optimizer={"max_grad_norm": None},
            )
        )  # fmt: skip
        state = training.data.state_dict()
        layouts.append(len(training.data.next_step()))
        training.data.load_state_dict(state)
        found.append(step_gradient(training))
    assert layouts[0] > layouts[1]
    assert max(g.abs().max() for g in found[0].values()) > 1e-3
    for parameter, gradient in found[0].items():
        torch.testing.assert_close(found[1][parameter], gradient, rtol=0, atol=1e-12)


@pytest.fixture(scope="module")
def baseline_weights(pico_folder: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> BaselineWeights:
    """What a baseline's run writes, by its method and tuning; one run serves all methods that are neutral as it is."""
    found: dict[str, bytes] = {}

    def tuned(method: object, lora: dict[str, int] | None) -> bytes:
        key = json.dumps([method, lora])
        if key not in found:
            folder = tmp_path_factory.mktemp("baseline")
            found[key] = written(train(config(pico_folder, corpora, folder, method=method, lora=lora)).run_dir)
        return found[key]

    return tuned


def written(run_dir: Path) -> bytes:
    (path,) = (run_dir / "model").glob("*.safetensors")
    return path.read_bytes()


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.neutral is not None])
def test_neutral_setting_is_bitwise_the_baseline(
    name: str, lora: dict[str, int] | None, pico_folder: Path, corpora: Path, made: Path, tmp_path: Path,
    baseline_weights: BaselineWeights,
) -> None:  # fmt: skip
    assert METHODS[name].neutral is not None
    setting, baseline = METHODS[name].neutral
    own = spec(name, pico_folder, corpora, made, lora)
    neutral, default = (
        written(train(config(pico_folder, corpora, tmp_path, name=run, method=method, lora=lora)).run_dir)
        for run, method in (("neutral", own | setting), ("default", own))
    )
    assert neutral == baseline_weights(baseline, lora)
    assert default != neutral  # and at its default it does something


@pytest.mark.parametrize("name", METHODS)
def test_runs_in_bfloat16_with_finite_metrics(
    name: str, pico_folder: Path, corpora: Path, made: Path, tmp_path: Path
) -> None:
    method = spec(name, pico_folder, corpora, made)
    settings = config(pico_folder, corpora, tmp_path, method=method, model={"dtype": "bfloat16"})
    result = train(settings)
    for line in read_lines(result.run_dir / "metrics.jsonl"):
        for key, value in line.items():
            assert math.isfinite(value), key
            units = r"step|loss(/.+/.+)?|penalty/.+|gradient_norm|learning_rate|tokens_per_second|trained_tokens/.+"
            units += r"|epochs/.+|data_seconds|weight/.+/.+|boost/gamma|boost/cosine"
            assert re.fullmatch(units, key), f"{key} has no unit that docs/reference/glossary.md knows"
    assert {r["run"] for r in result.summary} == {"base", name}


@pytest.mark.parametrize("name", METHODS)
def test_parameters_outside_the_adapter_are_untouched(
    name: str, pico_folder: Path, corpora: Path, made: Path, tmp_path: Path
) -> None:
    from acclimate.training.loop import run_loop

    method = spec(name, pico_folder, corpora, made, LORA)
    training = built(config(pico_folder, corpora, tmp_path, method=method, lora=LORA), torch.float32)
    before = {n: p.detach().clone() for n, p in training.model.network.named_parameters()}
    run_loop(training)
    changed = {n for n, p in training.model.network.named_parameters() if not torch.equal(p, before[n])}
    assert changed
    assert changed <= set(training.weights.masters)
    assert all("lora_" in n for n in changed)


@pytest.mark.parametrize("name", METHODS)
def test_configuration_round_trip_and_unknown_keys(
    name: str, pico_folder: Path, corpora: Path, made: Path, tmp_path: Path
) -> None:
    required = spec(name, pico_folder, corpora, made)
    settings = {f.name: getattr(f.default, "default", f.default) for f in fields(METHODS[name])} | required  # type: ignore[arg-type]
    first = config(pico_folder, corpora, tmp_path, method=settings)
    (tmp_path / "c.yaml").write_text(dump_config(first))
    assert load_config(tmp_path / "c.yaml") == first
    assert compose(first).terms == compose(config(pico_folder, corpora, tmp_path, method=required)).terms
    for key in settings.keys() - {"name"}:
        wrong = config(pico_folder, corpora, tmp_path, method=required | {key[:-1]: 1})
        with refused(f"configuration: method.{key[:-1]}: … Did you mean '{key}'?", ConfigError):
            compose(wrong)


@pytest.mark.parametrize("name", METHODS)
def test_documented(name: str) -> None:
    described, facts = describe(METHODS[name]), METHODS[name].facts
    assert all(described.values()), described
    assert re.search(r"arXiv \d{4}\.\d{4,5}", facts.reference)
    labels = re.findall(rf"\[({'|'.join(get_args(Evidence))})\b", inspect.getdoc(METHODS[name]) or "")
    assert set(facts.evidence) == set(labels)
    rows = (ROOT / "docs" / "reference" / "methods.md").read_text().splitlines()
    (row,) = [row for row in rows if row.startswith(f"| [{name}]")]
    assert f"src/acclimate/methods/{name}.py" in row
    assert f" | {facts.strength or 'nothing'} | {facts.stores} | " in row.replace("`", "")
    assert row.endswith(f" | {facts.stores} | {facts.costs} | {facts.needs} | {facts.reference} |")
    assert (ROOT / "src" / "acclimate" / "methods" / f"{name}.py").is_file()


def test_methods_compose_and_clash(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    both = compose(config(pico_folder, corpora, tmp_path, method=["mol", {"name": "l2", "weight": 0.5}]))
    assert [(t.name, t.routes) for t in both.terms] == [("cross_entropy", ("domain",)), ("reverse_kl", ("general",))]
    assert len(build_plan(both, PlanContext()).transforms) == 1
    with pytest.raises(ConfigError, match="these do not compose, use one of them"):
        compose(config(pico_folder, corpora, tmp_path, method=["mol", "replay"]))
