"""Conversations with real pico runs, and with networks that say what they are told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from acclimate.measurement.generate import answer
from acclimate.model.causal import CausalModel
from acclimate.types.errors import AcclimateError, RunError, UsageError
from acclimate.verbs.chat import Conversation, open_chat
from acclimate.verbs.run import train
from tests.chat.scripted import scripted
from tests.fixtures.pico import CHAT_TEMPLATE, pico_model, pico_tokenizer, save_pico
from tests.fixtures.runs import config
from tests.fixtures.sentences import refused


@pytest.fixture(scope="module", params=["full", "lora"])
def run_dir(
    request: pytest.FixtureRequest, pico_folder: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    settings = config(
        pico_folder, corpora, tmp_path_factory.mktemp(request.param),
        lora={"rank": 4} if request.param == "lora" else None, training={"save_steps": 3},
        optimizer={"learning_rate": 1e-2}, evaluation={"generations": 6, "max_new_tokens": 12},
    )  # fmt: skip
    return train(settings).run_dir


def test_answers_are_those_of_the_report(run_dir: Path) -> None:
    """The same prompts, greedily: both columns of the report, out of one chat."""
    tuned, base = open_chat(run_dir, base=True, max_new_tokens=12)
    shown = [g for g in json.loads((run_dir / "generations.json").read_text())["answers"] if g["set"] == "chat"]
    assert len(shown) == 2
    assert all(g["tuned"] != g["base"] for g in shown)
    for generation in shown:
        assert tuned.ask(generation["prompt"]) == generation["tuned"]
        assert base.ask(generation["prompt"]) == generation["base"]
        tuned.reset()
        base.reset()


def test_a_checkpoint_answers_as_it_was_then(run_dir: Path) -> None:
    answers = [open_chat(run_dir, checkpoint=name)[0].ask("Say 3.") for name in ("step-00000003", "step-00000006")]
    assert answers[1] == open_chat(run_dir)[0].ask("Say 3.") != answers[0]


def test_a_base_that_has_changed_is_refused(run_dir: Path, tmp_path: Path, pico_folder: Path) -> None:
    other = save_pico(tmp_path / "other", seed=7)
    run = shutil.copytree(run_dir, tmp_path / run_dir.name)
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace(str(pico_folder), str(other)))
    with pytest.raises(RunError, match="other contents of the base model"):
        open_chat(run, base=True)
    if (run / "model" / "adapter_config.json").is_file():  # whose adapter is nothing without it
        with pytest.raises(RunError, match=r"other contents of the base model"):
            open_chat(run)
    else:
        assert len(open_chat(run)) == 1
    (run / "model" / "tokenizer_config.json").write_text("{}")
    with pytest.raises(RunError, match="model' holds another configuration or tokenizer"):
        open_chat(run)


def test_turns_are_remembered_and_forgotten(pico_folder: Path) -> None:
    tokenizer = pico_tokenizer()
    model = CausalModel(pico_model(), tokenizer)
    found = Conversation("base", lambda: nullcontext(model), tokenizer, system="Be short.", max_new_tokens=9)
    first, second = found.ask("One?"), found.ask("Two?")
    said = [("system", "Be short."), ("user", "One?"), ("assistant", first), ("user", "Two?")]
    text = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in said) + "<|im_start|>assistant\n"
    assert second == answer(model, tokenizer, tokenizer(text)["input_ids"], 9, stop=found.stop)
    assert second != found.ask("Two?")  # what was said before matters
    found.reset()
    assert found.ask("One?") == first


def test_without_a_template_each_text_is_continued_alone() -> None:
    tokenizer = pico_tokenizer(None)
    model = CausalModel(pico_model(), tokenizer)
    found = Conversation("base", lambda: nullcontext(model), tokenizer, max_new_tokens=9)
    alone = answer(model, tokenizer, tokenizer("Bones are")["input_ids"], 9)
    assert [found.ask("Bones are"), found.ask("Bones are")] == [alone, alone]


def test_an_answer_ends_with_the_turn() -> None:
    """The end of the turn is not among the ids that this model's configuration ends generation at."""
    pieces: list[str] = []
    assert scripted("I am well.", "never said").ask("How are you?", pieces.append) == "I am well."
    assert "".join(pieces) == "I am well."
    assert len(pieces) > 1  # word by word


def test_drawn_answers_follow_the_seed() -> None:
    tokenizer = pico_tokenizer()
    model = CausalModel(pico_model(), tokenizer)

    def drawn(temperature: float, seed: int | None) -> list[str]:
        found = Conversation("base", lambda: nullcontext(model), tokenizer, temperature=temperature, seed=seed)
        first = found.ask("One?")
        found.reset()
        return [first, found.ask("One?")]

    first = drawn(1.0, 5)
    assert first == drawn(1.0, 5)
    assert first[0] != first[1]  # asked again, it draws again
    assert first[0] != drawn(1.0, 6)[0]
    assert len({*drawn(0.0, None)}) == 1


def test_an_interrupted_answer_is_kept_as_far_as_it_came() -> None:
    def stop(piece: str) -> None:
        raise KeyboardInterrupt

    found = scripted("One two three.", "Four.")
    with pytest.raises(KeyboardInterrupt):
        found.ask("Count.", stop)
    assert found.messages == [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "One"}]


NO_SYSTEM = CHAT_TEMPLATE.replace("<|im_start|>{{", "{% if message['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}<|im_start|>{{")  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(
    ("build", "error", "sentence"),
    [
        (
            lambda: scripted(template=None, system="Be short."),
            UsageError,
            "--system: … no chat template … system message; leave it out.",
        ),
        (
            lambda: scripted(template=NO_SYSTEM, system="Be short."),
            UsageError,
            "… refuses this conversation: no.",
        ),
        (
            lambda: scripted(seed=1),
            UsageError,
            "--seed: has no effect …; … --temperature above 0, or leave it out.",
        ),
        (
            lambda: scripted().ask("x" * 500),
            RunError,
            "… 519 tokens, … 512 positions; /reset …",
        ),
    ],
)
def test_what_cannot_be_is_said(build: Callable[[], object], error: type[AcclimateError], sentence: str) -> None:
    with refused(sentence, error):
        build()
