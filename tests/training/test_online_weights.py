"""Runs whose shares a rule moves: planted sources, exactness, resuming, what is refused and what is said."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console

import acclimate as ac
from acclimate.build import build_training, load_model, resolve
from acclimate.build.plan import compose
from acclimate.config.load import RunConfig, load_config, parse_config
from acclimate.data.corpus import load_corpora
from acclimate.methods.registry import METHODS
from acclimate.model.load import load_tokenizer
from acclimate.training.control.online.alignment import Alignment
from acclimate.training.control.online.influence import Influence
from acclimate.training.loop import run_loop
from acclimate.training.training import Training
from acclimate.types.central import IGNORE, Batch, Callback
from acclimate.types.errors import AcclimateError, ConfigError, UsageError
from acclimate.verbs.compare import load_comparison
from acclimate.verbs.run import train
from acclimate.verbs.validate import validate
from tests.fixtures.runs import DOMAIN, GENERAL, config, killed_after, metric_lines, same_weights
from tests.fixtures.runs import settings as settings_of
from tests.training.test_moved_shares import Moving

SOURCES = ("known", "learnable", "noise")
EQUAL = dict.fromkeys(SOURCES, 1 / 3)
Lines = list[dict[str, float]]


class Kept(Callback):
    """The lines of the log."""

    def __init__(self) -> None:
        self.lines: Lines = []

    def on_step_end(self, state: Any, metrics: dict[str, float]) -> None:
        self.lines.append(dict(metrics))


def built(settings: RunConfig) -> tuple[Training, Kept]:
    job = resolve(settings)
    job.config.run_dir.mkdir(parents=True, exist_ok=True)
    corpora, model = load_corpora(job.config, load_tokenizer(job.config.model)), load_model(job.config, job.device)
    training, _, _ = build_training(job, compose(job.config), model, corpora, Console(quiet=True))
    kept = Kept()
    training.callbacks = [kept]
    return training, kept


class Planted:
    """Three sources of one route and a base that knows one of them by heart."""

    def __init__(self, folder: Path, pico: Path) -> None:
        self.folder = folder
        draw = random.Random(0)
        letters = "abcdefghijklmnopqrstuvwxyz0123456789"
        texts = {
            "known": [" ".join(draw.choices(GENERAL, k=10)) for _ in range(60)],
            "learnable": [" ".join(draw.choices(DOMAIN, k=10)) for _ in range(60)],
            "noise": ["".join(draw.choices(letters, k=60)) for _ in range(60)],
        }
        for name, documents in texts.items():
            lines = [json.dumps({"text": text}) for text in documents]
            (folder / f"{name}.jsonl").write_text("\n".join(lines))
        self.base = self.model("base", pico, {"known": 1.0}, 40, 1e-2)
        self.tuned = self.model("tuned", self.base, EQUAL, 40, 5e-3)

    def model(self, name: str, start: Path, shares: dict[str, float], steps: int, rate: float) -> Path:
        settings = self.settings(name, start, shares, steps=steps, optimizer={"learning_rate": rate})
        training, _ = built(settings)
        run_loop(training)
        training.model.network.save_pretrained(self.folder / name)
        load_tokenizer(settings.model).save_pretrained(self.folder / name)
        return self.folder / name

    def settings(self, name: str, start: Path, shares: dict[str, float], steps: int = 16, **changes: Any) -> RunConfig:
        data: dict[str, Any] = {
            "name": name,
            "output_dir": str(self.folder / "runs"),
            "model": {"path": str(start), "dtype": "float32", "device": "cpu"},
            "method": "sft",
            "sources": {
                n: {"path": str(self.folder / f"{n}.jsonl"), "route": "domain", "share": share, "heldout": 12}
                for n, share in shares.items()
            },
            "budget": {"steps": steps, "batch_tokens": 384, "count": "all"},
            "optimizer": {"learning_rate": 3e-3},
            "schedule": {"warmup_ratio": 0},
            "data": {"sequence_length": 96, "cache_dir": str(self.folder / "cache")},
            "training": {"micro_batch_size": 4},
            "evaluation": {"generations": 0, "memorisation_documents": 0, "validation_documents": 4},
        }
        return parse_config(data | changes)

    def moved(self, mixture: dict[str, Any], **changes: Any) -> Lines:
        """The log of a run of equal shares at first, which the rule moves."""
        training, kept = built(self.settings(next(iter(mixture)), self.base, EQUAL, mixture=mixture, **changes))
        run_loop(training)
        return kept.lines


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, pico_folder: Path) -> Planted:
    return Planted(tmp_path_factory.mktemp("planted"), pico_folder)


def shares(line: dict[str, float]) -> dict[str, float]:
    return {name: line[f"dial/share/{name}"] for name in SOURCES}


def test_odm_feeds_noise(planted: Planted) -> None:
    """Its reward is the loss, which noise keeps and what is learned loses."""
    lines = planted.moved({"odm": {}})
    assert shares(lines[0]) == pytest.approx(EQUAL)
    last = shares(lines[-1])
    assert last["noise"] > 0.5 > last["learnable"] > last["known"]


def test_doremi_over_the_base_feeds_what_is_forgotten(planted: Planted) -> None:
    """Nothing is lost at the first step; then it is the text that the base knew by heart."""
    lines = planted.moved({"doremi": {}})
    assert [lines[0][f"loss/{name}/excess"] for name in SOURCES] == [0, 0, 0]
    last = shares(lines[-1])
    assert last["known"] > 0.45
    assert last["known"] > max(last["learnable"], last["noise"])


def test_doremi_over_a_trained_reference_feeds_what_can_be_learned(planted: Planted) -> None:
    """Excess is as large as what the reference has learned of a source and the run has not."""
    lines = planted.moved({"doremi": {"reference": str(planted.tuned), "eta": 0.1}})
    first = {name: lines[0][f"loss/{name}/excess"] for name in SOURCES}
    assert first["learnable"] > first["noise"] > first["known"]
    moved = shares(lines[6])
    assert moved["learnable"] > moved["noise"] > moved["known"]


def test_doge_feeds_what_the_target_is_like(planted: Planted) -> None:
    """The target is held-out text of learnable alone, since the other two hold none out."""
    settings = planted.settings("doge", planted.base, EQUAL, mixture={"doge": {"every": 2, "keep": 0}})
    kept_out = {n: s.model_copy(update={"heldout": 12 if n == "learnable" else 0}) for n, s in settings.sources.items()}
    training, kept = built(settings.model_copy(update={"sources": kept_out}))
    run_loop(training)
    measured = [line for line in kept.lines if any(key.startswith("alignment/") for key in line)]
    assert len(measured) == 8
    first = {name: measured[0][f"alignment/{name}"] for name in SOURCES}
    assert first["learnable"] > max(first["known"], first["noise"])
    last = shares(kept.lines[-1])
    assert last["learnable"] > 0.4
    assert last["learnable"] > max(last["known"], last["noise"])


@pytest.mark.parametrize(("form", "order"), [("difference", [1, 2, 0]), ("product", [0, 2, 1])])
def test_dids_feeds_what_is_near_and_its_released_form_what_is_far(
    form: str, order: list[int], planted: Planted
) -> None:
    """All that is held out is learnable, and its loss falls. Noise shares more with it than what the base knows."""
    rule = {"every": 2, "part": 0.3, "influence": form}
    settings = planted.settings("dids", planted.base, EQUAL, steps=6, mixture={"dids": rule})
    kept_out = {n: s.model_copy(update={"heldout": 12 if n == "learnable" else 0}) for n, s in settings.sources.items()}
    training, kept = built(settings.model_copy(update={"sources": kept_out}))
    run_loop(training)
    first, second = (line for line in kept.lines[:4] if "validation/learnable" in line)
    assert second["validation/learnable"] < first["validation/learnable"]
    assert shares(kept.lines[3]) == pytest.approx(EQUAL)  # one loss is no progress
    moved = list(shares(kept.lines[5]).values())
    assert sorted(range(3), key=lambda k: -moved[k]) == order
    assert min(moved) == pytest.approx(0.2 / 3, abs=1e-5)  # the last one is credited with nothing
    assert second[f"influence/{SOURCES[order[-1]]}"] == 0


def test_influence_is_the_weighted_difference_of_gradients(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """Of the last tensors, over what no gradient at all would be away; the loss is the mean over the set's tokens."""
    training, _ = built(
        config(
            pico_folder, corpora, tmp_path, method="replay", mixture={"dids": {"every": 1, "part": 0.4}},
            budget={"count": "all", "batch_tokens": 512}, evaluation={"validation_documents": 3},
            training={"micro_batch_size": 2},
        )
    )  # fmt: skip
    measure = training.alignment
    assert isinstance(measure, Influence)
    batches, training.step = training.data.next_step(), 1
    found = measure.measured(training, batches)
    assert all(master.grad is None for master in training.weights.masters.values())
    names = list(training.model.trainable())
    compared = names[-int(0.4 * len(names)) :]
    assert 1 < len(compared) < len(names)

    def mean(of: list[Batch], source: str) -> tuple[torch.Tensor, float]:
        nats = []
        for rows in of:
            own = torch.tensor([route.source == source for route in training.objective.routes])[rows.route]
            here = own & (rows.labels != IGNORE)
            logits = (training.model(rows)[here] @ training.model.head.weight.T).log_softmax(-1)
            nats.append(-logits.gather(1, rows.labels[here][:, None])[:, 0])
        loss = torch.cat(nats).mean()
        grads = torch.autograd.grad(loss, [training.model.trainable()[name] for name in compared])
        return torch.cat([grad.flatten() for grad in grads]).double(), loss.item()

    sources = {name: mean(batches, name)[0] for name in ("domain", "general", "chat")}
    sets = {name: mean(list(rows), name) for name, rows in measure.sets.items()}
    assert set(sets) == set(sources)
    assert max(len(rows) for rows in measure.sets.values()) > 1  # all rows of a set, not one micro-batch
    weight = torch.stack([*sources.values(), *(gradient for gradient, _ in sets.values())]).square().mean(0)
    for name, (target, loss) in sets.items():
        assert found[f"validation/{name}"] == pytest.approx(loss, rel=1e-5)
        for source, own in sources.items():
            expected = (weight * (own - target) ** 2).sum() / (weight * target**2).sum()
            assert found[f"fisher/{source}/{name}"] == pytest.approx(float(expected), rel=1e-3)


def test_alignment_is_the_product_of_gradients(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """Under mol: cross-entropy of one source, KL of the others, each by itself over the rows of the step."""
    training, _ = built(
        config(
            pico_folder, corpora, tmp_path, mixture={"doge": {"every": 1, "keep": 1}},
            budget={"count": "all", "batch_tokens": 512}, evaluation={"validation_documents": 2},
            training={"micro_batch_size": 4},
        )
    )  # fmt: skip
    assert isinstance(training.alignment, Alignment)
    training.data.next_step()
    with torch.no_grad():  # beside the base, where KL has no gradient
        for parameter in training.model.trainable().values():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)), alpha=0.02)
    batches, training.step = training.data.next_step(), 1
    found = training.alignment.measured(training, batches)
    assert all(master.grad is None for master in training.weights.masters.values())

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        grads = torch.autograd.grad(loss, [*training.model.trainable().values()])
        return torch.cat([grad.flatten() for grad in grads]).double()

    def mean(batch: list[Batch], of: str, divergence: bool) -> torch.Tensor:
        nats = []
        for rows in batch:
            own = torch.tensor([route.source == of for route in training.objective.routes])[rows.route]
            here = own & (rows.labels != IGNORE)
            logits = (training.model(rows)[here] @ training.model.head.weight.T).log_softmax(-1)
            if divergence:
                base = training.objective.references["base"]
                other = (base.hidden(rows)[here] @ base.head.weight.T).log_softmax(-1)
                nats.append((logits.exp() * (logits - other)).sum(-1))
            else:
                nats.append(-logits.gather(1, rows.labels[here][:, None])[:, 0])
        return torch.cat(nats).mean()

    (kept,) = training.alignment.targets
    assert kept.weight == 1
    assert [kept.batch(turn) is kept.sets[turn % 2][0] for turn in range(4)] == [True] * 4  # general, chat, general ...
    target = gradient(mean([kept.sets[0][0]], "general", False))
    own = {name: gradient(mean(batches, name, name != "domain")) for name in ("domain", "general", "chat")}
    norm = sum(float(vector.norm()) for vector in own.values()) / 3 + 1e-6
    for name, vector in own.items():
        assert float(vector.norm()) > 1e-4
        assert found[f"alignment/{name}"] == pytest.approx(float(vector @ target) / norm, rel=2e-4)


def test_what_is_only_watched_is_not_learned(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """odm that never moves a share is bitwise the run without it, and logs the loss of what KL holds."""
    count: dict[str, Any] = {"budget": {"count": "all", "batch_tokens": 256, "steps": 4}}
    still = train(config(pico_folder, corpora, tmp_path, name="still", mixture={"odm": {"warmup": 0.99}}, **count))
    plain = train(config(pico_folder, corpora, tmp_path, name="plain", **count))
    assert same_weights(still.run_dir, plain.run_dir)
    for line, bare in zip(metric_lines(still.run_dir), metric_lines(plain.run_dir), strict=True):
        assert line["loss"] == bare["loss"]
        held = [name for name in ("general", "chat") if f"loss/{name}/reverse_kl" in line]
        assert held
        assert all(line[f"loss/{name}/cross_entropy"] > line[f"loss/{name}/reverse_kl"] for name in held)
        assert not any(f"loss/{name}/cross_entropy" in bare for name in held)


RULES: dict[str, dict[str, Any]] = {
    "doremi": {"doremi": {"eta": 4}},
    "doge": {"doge": {"every": 2, "keep": 0.5}},
    "odm": {"odm": {}},
    "exp3": {"odm": {"form": "exp3", "route": "general"}},
    "dids": {"dids": {"every": 1, "documents": 1}},
}


@pytest.mark.parametrize("rule", RULES)
def test_resumes_bitwise(rule: str, pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "mixture": RULES[rule], "budget": {"count": "all", "batch_tokens": 256, "steps": 7},
        "training": {"save_steps": 2}, "evaluation": {"validation_documents": 2, "generations": 0},
    }  # fmt: skip
    straight = train(config(pico_folder, corpora, tmp_path, name="straight", **changes)).run_dir
    settings = config(pico_folder, corpora, tmp_path, name="killed", **changes)
    killed_after(5, settings)
    again = train(settings, resume=True).run_dir
    lines = metric_lines(straight)
    assert metric_lines(again) == lines
    assert same_weights(straight, again)
    assert len({line["dial/share/chat"] for line in lines}) > 2
    if "route" in str(RULES[rule]):
        assert {line["dial/share/domain"] for line in lines} == {0.5}
        together = [line["dial/share/general"] + line["dial/share/chat"] for line in lines]
        assert together == pytest.approx([0.5] * len(lines))


REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a source alone": (
        {"mixture": {"doremi": {"route": "domain"}}},
        ["mixture.doremi", "only 'domain' is trained on of route 'domain'", "split it"],
    ),
    "no such route": (
        {"mixture": {"odm": {"route": "generel"}}},
        ["mixture.odm.route", "'generel'", "domain or general", "Did you mean 'general'?"],
    ),
    "a count that moves": (
        {"mixture": {"doremi": {}}, "budget": {"count": "domain"}},
        ["budget.count", "'domain'", "mixture.doremi moves", "count: all"],
    ),
    "two rules": ({"mixture": {"doremi": {}, "odm": {}}}, ["mixture", "exactly one of", "doremi and odm"]),
    "stages beside it": (
        {"mixture": {"odm": {}}, "sources": {"chat": {"path": "chat.jsonl", "share": {0: 0.1, 0.5: 0.3}}}},
        ["sources.chat.share", "mixture.odm", "keep one"],
    ),
    "no validation text": ({"mixture": {"doge": {}}}, ["mixture.doge", "evaluation.validation_documents"]),
    "spread gradients": (
        {"mixture": {"doge": {}}, "parallel": {"strategy": "fsdp"}, "evaluation": {"validation_documents": 2}},
        ["mixture.doge", "fsdp", "ddp"],
    ),
    "no text to keep": (
        {
            "mixture": {"doge": {"route": "general"}}, "evaluation": {"validation_documents": 2},
            "sources": {
                "general": {"path": "general.jsonl", "heldout": 0},
                "chat": {"path": "chat.jsonl", "heldout": 0, "route": "general"},
            },
        },
        ["mixture.doge.keep", "0.5 wants 50%", "general or chat", "sources.NAME.heldout", "keep: 0"],
    ),
    "no validation text of dids": ({"mixture": {"dids": {}}}, ["mixture.dids", "evaluation.validation_documents"]),
    "spread gradients of dids": (
        {"mixture": {"dids": {}}, "parallel": {"strategy": "fsdp"}, "evaluation": {"validation_documents": 2}},
        ["mixture.dids", "fsdp", "ddp"],
    ),
    "more documents than there are": (
        {"mixture": {"dids": {"documents": 3}}, "evaluation": {"validation_documents": 2}},
        ["mixture.dids.documents: 3", "evaluation.validation_documents: 2", "2 or less"],
    ),
    "measured too seldom": (
        {"mixture": {"dids": {"every": 3}}, "evaluation": {"validation_documents": 2}},
        ["mixture.dids.every: 3", "at step 6", "has 6", "accepted: 2 or less"],
    ),
    "too short for any": (
        {"mixture": {"dids": {"every": 1}}, "evaluation": {"validation_documents": 2}, "budget": {"steps": 3}},
        ["mixture.dids.every: 1", "has 3", "more steps"],
    ),
    "nothing held out of what is trained on": (
        {
            "mixture": {"dids": {"every": 2}}, "evaluation": {"validation_documents": 2},
            "sources": {
                "domain": {"path": "domain.jsonl", "heldout": 4, "share": 0},
                "general": {"path": "general.jsonl", "heldout": 0, "route": "domain"},
                "chat": {"path": "chat.jsonl", "heldout": 0, "route": "general"},
            },
        },
        ["mixture.dids", "sources.NAME.heldout"],
    ),
    "a form of another name": ({"mixture": {"dids": {"influence": "cosine"}}}, ["mixture.dids.influence", "cosine"]),
    "kept of exp3": ({"mixture": {"odm": {"form": "exp3", "kept": 0.5}}}, ["mixture.odm", "kept 0.5", "exp3"]),
    "eta of nothing": ({"mixture": {"doremi": {"eta": 0}}}, ["mixture.doremi.eta", "0"]),
    "a key of another rule": ({"mixture": {"odm": {"eta": 1}}}, ["mixture.odm.eta", "mixture.doremi.eta"]),
    "a form that is not": ({"mixture": {"odm": {"form": "exp4"}}}, ["mixture.odm.form", "exp4", "exp3"]),
    "a reference that is not": (
        {"mixture": {"doremi": {"reference": "./nowhere"}}},
        ["mixture.doremi.reference", "nowhere"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    changes, parts = REFUSED[case]
    for section in changes.get("sources", {}).values():
        section["path"] = str(corpora / Path(section["path"]).name)
    budget = {"count": "all", "batch_tokens": 256} | changes.get("budget", {})
    with pytest.raises(AcclimateError) as caught:
        validate(config(pico_folder, corpora, tmp_path, **(changes | {"budget": budget})))
    assert all(part in str(caught.value) for part in parts), caught.value


def test_shares_of_a_loop_of_ones_own_are_not_measured() -> None:
    with pytest.raises(UsageError, match=r"doremi.*needs a run"):
        ac.mix({"law": "law.jsonl", "tax": "tax.jsonl"}, mixture={"doremi": {}})


@pytest.mark.parametrize(
    ("rule", "parts"),
    [
        ("doremi", ["a forward of its reference on 50% of the trained tokens", "what the run has lost"]),
        ("doge", ["% of the training's forwards and backwards more", "carry the learning rate", "by about"]),
        ("odm", ["costs no forward", "noise"]),
        ("dids", ["% of the training's", "room for 7 gradients of the last 10 %", "6 times", "from the fifth on"]),
    ],
)
def test_validate_says_cost_reach_and_control(
    rule: str, parts: list[str], pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    settings = config(
        pico_folder, corpora, tmp_path, mixture=RULES[rule], budget={"count": "all", "batch_tokens": 256},
        evaluation={"validation_documents": 2},
    )  # fmt: skip
    notes = [note for note in validate(settings).warnings if note.startswith(f"mixture.{rule}:")]
    assert len(notes) == 3
    assert all(part in notes[0] for part in parts), notes[0]
    assert "unlike loss terms" in notes[1]
    assert "stratified sampling" in notes[2]


def test_a_rate_at_which_doge_returns_its_prior_is_told(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """Six steps at 1e-5 over mu .01."""
    settings = config(
        pico_folder, corpora, tmp_path, mixture={"doge": {}}, budget={"count": "all", "batch_tokens": 256},
        optimizer={"learning_rate": 1e-5}, schedule={"type": "constant", "warmup_ratio": 0},
        evaluation={"validation_documents": 2},
    )  # fmt: skip
    (note,) = (note for note in validate(settings).warnings if "carry the learning rate" in note)
    assert "by about 0.006 for a target gradient of norm 1: shares stay about where they begin" in note


def test_a_method_that_moves_shares_itself_is_refused(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "moving", Moving)
    settings = config(
        pico_folder, corpora, tmp_path, method="moving", mixture={"odm": {}},
        budget={"count": "all", "batch_tokens": 256},
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"method: 'moving' moves the shares .* already \(mixture\)"):
        validate(settings)


def test_gradients_that_are_kept_are_counted_as_memory(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "budget": {"count": "all", "batch_tokens": 256}, "evaluation": {"validation_documents": 2},
    }  # fmt: skip
    plain = validate(config(pico_folder, corpora, tmp_path, **changes))
    doge = validate(config(pico_folder, corpora, tmp_path, mixture={"doge": {}}, **changes))
    assert doge.memory_bytes - plain.memory_bytes == 4 * plain.trained_parameters
    dids = validate(config(pico_folder, corpora, tmp_path, mixture={"dids": {"every": 1, "part": 1}}, **changes))
    assert dids.memory_bytes - plain.memory_bytes == 7 * 4 * plain.trained_parameters  # of 3 sources, 3 sets, and F
    tenth = validate(config(pico_folder, corpora, tmp_path, mixture={"dids": {"every": 1}}, **changes))
    assert 0 < tenth.memory_bytes - plain.memory_bytes < 7 * 4 * plain.trained_parameters


PAGE = Path(__file__).parents[2] / "docs" / "howto" / "online-weights.md"


def test_the_page_s_program_prints_what_it_says(
    pico_folder: Path,
    corpora: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = settings_of(pico_folder, corpora, tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("acclimate.yaml").write_text(yaml.safe_dump(data))
    (program,), (output,) = (re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(), re.S) for kind in ("python", "text"))
    exec(compile(program, "online-weights.md", "exec"), {})
    assert capsys.readouterr().out == output


def test_the_comparison_reads_its_own_configurations() -> None:
    """Equal tokens for every cell, and a reference of the same sources."""
    folder = Path(__file__).parents[2] / "benchmarks" / "online"
    comparison = load_comparison(folder / "online.yaml")
    assert comparison.seeds == [0, 1, 2]
    assert set(comparison.methods) == {"uniform", "size", "doremi", "doremi-base", "doge", "odm", "dids"}
    run, reference = load_config(folder / "run.yaml"), load_config(folder / "reference.yaml")
    assert run.sources == reference.sources
    assert run.budget == reference.budget
    assert reference.seed not in comparison.seeds
    for method in comparison.methods.values():
        changes = [f"{path}={json.dumps(value)}" for path, value in (method.set or {}).items()]
        found = load_config(folder / "run.yaml", changes)
        assert found.budget == run.budget
        assert found.budget.count == "all"
