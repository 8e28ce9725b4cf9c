from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from acclimate.demo import answers
from acclimate.types.errors import ModelError
from tests.fixtures.pico import pico_model, pico_tokenizer, save_pico

PROMPTS = ["Hi", "How are you today?", "Tell me a long story about a fox, please.", "1+1?", "Why?"]


@pytest.fixture(scope="module")
def pico(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pico(tmp_path_factory.mktemp("pico"))


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def naive(prompt: str, tokens: int) -> tuple[str, bool]:
    """One prompt, one token at a time, no padding and no cache."""
    model, tokenizer = pico_model(), pico_tokenizer()
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    start = len(ids)
    with torch.inference_mode():
        for _ in range(tokens):
            token = int(model(torch.tensor([ids])).logits[0, -1].argmax())
            if token in (0, 2):
                return tokenizer.decode(ids[start:], skip_special_tokens=True), True
            ids.append(token)
    return tokenizer.decode(ids[start:], skip_special_tokens=True), False


def test_batching_and_padding_change_no_answer(pico: Path) -> None:
    expected = [naive(prompt, 12) for prompt in PROMPTS]
    assert len(set(expected)) > 2  # otherwise the comparison shows nothing
    for batch_size in (1, 2, 5):
        assert answers.answer(pico, PROMPTS, 12, batch_size, torch.float32) == expected


def test_rows_and_cache(pico: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replies = [("Hello there. ", True), ("I am fine. And y", False), ("no end", False), (" ", True), ("Because", True)]
    calls = []

    def scripted(*arguments: Any) -> list[tuple[str, bool]]:
        calls.append(arguments)
        return replies

    monkeypatch.setattr(answers, "answer", scripted)
    monkeypatch.setattr(answers, "resolve_dtype", lambda device, size: torch.bfloat16)
    output = tmp_path / "chat.jsonl"
    assert answers.write_answers(pico, PROMPTS, output) == 2
    manifest = json.loads((tmp_path / "chat.jsonl.manifest.json").read_text(encoding="utf-8"))
    assert manifest["note"] == {"dtype": "torch.bfloat16"}
    assert calls[0][4] == torch.bfloat16
    rows = read(output)
    assert [row["messages"][0]["content"] for row in rows] == [PROMPTS[0], PROMPTS[4]]
    assert [row["messages"][1]["content"] for row in rows] == ["Hello there.", "Because"]  # ended and not empty

    assert answers.write_answers(pico, PROMPTS, output) == 2
    assert len(calls) == 1
    answers.write_answers(pico, PROMPTS, output, max_new_tokens=7)
    assert len(calls) == 2
    replies.pop()
    answers.write_answers(pico, PROMPTS[:-1], output, max_new_tokens=7)
    assert len(calls) == 3


def test_another_model_is_asked_again(tmp_path: Path) -> None:
    output = tmp_path / "chat.jsonl"
    model = save_pico(tmp_path / "model", seed=0)
    steps: list[tuple[int, int]] = []
    for seed in (0, 1):
        save_pico(model, seed=seed)
        answers.write_answers(
            model, PROMPTS, output, 6, 2, torch.float32, progress=lambda done, total: steps.append((done, total))
        )
    assert steps == [(0, 5), (2, 5), (4, 5), (5, 5)] * 2


def test_a_model_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    plain = save_pico(tmp_path / "plain", chat_template=None)
    with pytest.raises(ModelError, match="no chat template"):
        answers.write_answers(plain, PROMPTS, tmp_path / "chat.jsonl", dtype=torch.float32)
    assert not (tmp_path / "chat.jsonl").exists()
