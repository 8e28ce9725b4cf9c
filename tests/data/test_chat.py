from __future__ import annotations

from dataclasses import replace

import pytest

from acclimate.data.chat.rendering import check_thinking, render, special_tokens, thinking_of
from acclimate.data.read.records import Document, Part
from acclimate.measurement.generate import chat_prompt
from acclimate.types.errors import ConfigError, DataError
from tests.data.samples import THINKING_TEMPLATE, chat, text
from tests.fixtures.pico import CHAT_TEMPLATE, pico_tokenizer
from tests.fixtures.sentences import refused

CALLS = {"tool_calls": [{"function": {"name": "add"}}]}


def found(document: Document, template: str | None = None, **settings: object) -> dict[int, str]:
    """Part index -> characters of its span."""
    tokenizer = pico_tokenizer() if template is None else pico_tokenizer(template)
    rendered = render(document, tokenizer, **settings)  # type: ignore[arg-type]
    return {span.part_index: rendered.text[span.start : span.end] for span in rendered.spans}


def test_contents_are_found_and_the_assistant_learns_to_stop() -> None:
    document = chat(("system", "be"), ("user", "be"), ("assistant", " be "), ("user", ""), ("assistant", "so\n"))
    tokenizer = pico_tokenizer()
    rendered = render(document, tokenizer)
    assert rendered.text == tokenizer.apply_chat_template(
        [{"role": part.role, "content": part.text} for part in document.parts], tokenize=False
    )
    assert found(document) == {0: "be", 1: "be", 2: " be <|im_end|>", 3: "", 4: "so\n<|im_end|>"}
    # Equal contents are told apart by place.
    assert len({(span.start, span.end) for span in rendered.spans}) == 5


def test_only_wanted_messages_are_looked_for() -> None:
    assert found(chat(("user", "q"), ("assistant", "a")), wanted=[1]) == {1: "a<|im_end|>"}


def test_a_template_that_trims() -> None:
    template = "{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}<|im_end|>{% endfor %}"
    assert found(chat(("user", " q\n"), ("assistant", "\na ")), template) == {0: "q", 1: "a<|im_end|>"}


def test_a_blank_before_the_end_of_turn() -> None:
    template = "{% for m in messages %}[{{ m.role }}] {{ m.content }} <|im_end|>{% endfor %}"
    assert found(chat(("assistant", "a")), template) == {0: "a <|im_end|>"}


def test_a_template_that_moves_the_system_message() -> None:
    template = (
        "{% for m in messages %}{% if m.role != 'system' %}<|im_start|>{{ m.role }}\n{{ m.content }}"
        "{% if loop.index0 == 1 and messages[0].role == 'system' %}\n{{ messages[0].content }}{% endif %}<|im_end|>"
        "{% endif %}{% endfor %}"
    )
    document = chat(("system", "short"), ("user", "q"), ("assistant", "a"))
    assert found(document, template) == {0: "short", 1: "q", 2: "a<|im_end|>"}


def test_a_template_that_drops_messages_nobody_learns_from() -> None:
    template = (
        "{% for m in messages %}{% if m.role != 'system' %}{{ m.role }}: {{ m.content }}<|im_end|>{% endif %}"
        "{% endfor %}"
    )
    document = chat(("system", "dropped"), ("user", "q"), ("assistant", "a"))
    assert found(document, template, wanted=[2]) == {2: "a<|im_end|>"}
    with pytest.raises(DataError, match=r"^a\.jsonl:1: message 1 \(system\) is not found"):
        found(document, template)


def test_plain_answers_of_a_hybrid_model() -> None:
    document = chat(("user", "q"), ("assistant", "a"), ("user", "r"), ("assistant", "b"))
    rendered = render(document, pico_tokenizer(THINKING_TEMPLATE))
    assert "<think>\n\n</think>\n\nb<|im_end|>" in rendered.text  # the template's, not the model's
    assert found(document, THINKING_TEMPLATE)[1] == "a<|im_end|>"
    assert found(document, THINKING_TEMPLATE)[3] == "b<|im_end|>"


def test_reasoning_of_the_last_turn_is_learned_and_of_earlier_turns_dropped() -> None:
    document = chat(
        ("user", "q"), ("assistant", "<think>\nfirst\n</think>\n\nanswer"),
        ("user", "r"), ("assistant", "<think>\nsecond\n</think>\n\nother"),
    )  # fmt: skip
    for thinking in ("on", None):
        spans = found(document, THINKING_TEMPLATE, thinking=thinking)
        assert 1 not in spans  # learning it would teach not to think
        assert spans[3] == "<think>\nsecond\n</think>\n\nother<|im_end|>"
        assert (spans[0], spans[2]) == ("q", "r")


def test_reasoning_cannot_be_learned_with_thinking_off() -> None:
    document = chat(("user", "q"), ("assistant", "<think>\nwhy\n</think>\n\nanswer"))
    with refused("a.jsonl:1: message 2 (assistant) is not found …. … thinking …; … 'prompt' and 'completion' …"):
        found(document, THINKING_TEMPLATE, thinking="off")


def test_tool_calls_are_what_the_model_said() -> None:
    document = chat(
        ("user", "1+1"), Part("assistant", "let me", extra=CALLS), Part("tool", "2", extra={"name": "add"}),
        ("assistant", "two"),
    )  # fmt: skip
    spans = found(document, THINKING_TEMPLATE)
    assert spans[1] == "let me\n<tool_call>\nadd\n</tool_call><|im_end|>"
    assert spans[2] == "2"
    assert spans[3] == "two<|im_end|>"


def test_tools_are_shown_to_the_template_wherever_it_is_asked() -> None:
    template = "{% if tools %}<tools>{{ tools | map(attribute='name') | join(',') }}</tools>{% endif %}"
    document = chat(("user", "1+1"), Part("assistant", "let me", extra=CALLS), ("tool", "2"), ("assistant", "two"))
    document = replace(document, tools=({"name": "add"}, {"name": "mul"}))
    tokenizer = pico_tokenizer(template + THINKING_TEMPLATE)
    assert render(document, tokenizer).text.startswith("<tools>add,mul</tools><|im_start|>user")
    assert found(document, template + THINKING_TEMPLATE)[1] == "let me\n<tool_call>\nadd\n</tool_call><|im_end|>"
    messages = [{"role": part.role, "content": part.text, **part.extra} for part in document.parts[:1]]
    _, ids = chat_prompt(tokenizer, messages, None, document.tools)
    assert tokenizer.decode(ids).startswith("<tools>add,mul</tools><|im_start|>user")
    with pytest.raises(DataError, match=r"^a\.jsonl:1: this chat has 'tools', but .* never"):
        render(document, pico_tokenizer(THINKING_TEMPLATE))


INLINE_TOOLS = (
    "{% for m in messages %}{% if m.role == 'tool' %}<result>{{ m.content }}</result>{% else %}"
    "{% if loop.index0 == 0 or messages[loop.index0 - 1].role != 'tool' %}<|im_start|>{{ m.role }}\n{% endif %}"
    "{{ m.content }}{% if m.tool_calls %}<call>{% else %}<|im_end|>{% endif %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_a_tool_answer_inside_the_turn_is_never_taken_for_the_model() -> None:
    document = chat(("user", "1+1"), Part("assistant", "let me", extra=CALLS), ("tool", "2"), ("assistant", "two"))
    assert (
        "let me<call><result>2</result>two<|im_end|>" in render(document, pico_tokenizer(INLINE_TOOLS), wanted=[]).text
    )
    for wanted in ([1], [1, 3]):
        with pytest.raises(DataError, match=r"^a\.jsonl:1: message 2 \(assistant\) has a tool call \('tool_calls'\)"):
            found(document, INLINE_TOOLS, wanted=wanted)
    assert found(document, INLINE_TOOLS, wanted=[2, 3]) == {2: "2", 3: "two<|im_end|>"}


def test_messages_that_cannot_be_told_apart_are_refused() -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | replace('~', '') }}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% else %}<|im_end|>{% endif %}"
    )
    assert found(chat(("user", "q"), ("assistant", "ab")), template) == {0: "q", 1: "ab<|im_end|>"}
    with pytest.raises(DataError, match=r"^a\.jsonl:1: message 2 \(assistant\) is not found"):
        found(chat(("user", "q"), ("assistant", "a~b")), template)
    with pytest.raises(DataError, match=r"^a\.jsonl:1: message 2 \(assistant\) is not found"):
        found(chat(("user", "q"), ("assistant", "a~b"), ("assistant", "c~d")), template)


def test_a_template_that_prints_only_the_tool_call() -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.tool_calls %}{{ m.tool_calls[0].function.name }}{% else %}{{ m.content }}{% endif %}<|im_end|>"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    document = chat(("user", "1+1"), Part("assistant", "", extra=CALLS), ("tool", "2"), ("assistant", "two"))
    assert found(document, template, wanted=[1, 3]) == {1: "add<|im_end|>", 3: "two<|im_end|>"}
    document = chat(("user", "1+1"), Part("assistant", "Hm", extra=CALLS), ("tool", "2"), ("assistant", "two"))
    with pytest.raises(DataError, match=r"^a\.jsonl:1: message 2 \(assistant\) has a content .* does not print"):
        found(document, template, wanted=[1, 3])


# DeepSeek R1 distills open the think block in the generation prompt and print no reasoning at all.
FORGETFUL = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] | trim }}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


def test_reasoning_may_be_missing_from_earlier_turns_but_not_from_the_last() -> None:
    thought = ("assistant", "<think>\nwhy\n</think>\n\nanswer")
    document = chat(("user", "q"), thought, ("user", "r"), ("assistant", "other"))
    assert found(document, FORGETFUL, wanted=[1, 3]) == {3: "other<|im_end|>"}
    with pytest.raises(DataError, match=r"^a\.jsonl:1: message 2 \(assistant\) is not found"):
        found(chat(("user", "q"), thought), FORGETFUL)


def test_keys_the_template_does_not_print_change_nothing() -> None:
    document = chat(("user", "q"), Part("assistant", "a", extra={"id": 7}))
    assert found(document) == {0: "q", 1: "a<|im_end|>"}


def test_a_thinking_template_without_special_tokens() -> None:
    template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content.split('</think>')[-1] }}\n\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    document = chat(("user", "q"), ("assistant", "<think>x</think>a"), ("user", "r"), ("assistant", "b"))
    assert found(document, template, wanted=[1, 3]) == {3: "b<|endoftext|>"}
    with pytest.raises(DataError, match=r"^a\.jsonl:1: message 2 \(assistant\) is not found"):
        found(chat(("user", "q"), ("assistant", "<think>x</think>a")), template)


def test_a_template_that_swallows_the_answer_is_refused() -> None:
    template = "{% for m in messages %}{{ m.role }}: {{ m.content | upper }}<|im_end|>{% endfor %}"
    with pytest.raises(DataError, match=r"^a\.jsonl:1: message 2 \(assistant\) is not found"):
        found(chat(("user", "ASK"), ("assistant", "quiet")), template, wanted=[1])
    doubled = "{% for m in messages %}{{ m.content }}{{ m.content }}<|im_end|>{% endfor %}"
    with pytest.raises(DataError, match=r"^a\.jsonl:1: message 1 \(user\) is not found"):
        found(chat(("user", "twice")), doubled)


def test_no_chat_template() -> None:
    tokenizer = pico_tokenizer(None)
    with refused("a.jsonl:1: this is a chat, … no chat template. … 'text' or 'prompt' and 'completion'."):
        render(chat(("user", "q")), tokenizer)


def test_the_template_refuses() -> None:
    template = "{{ raise_exception('Conversation roles must alternate') }}"
    with refused("a.jsonl:1: … refuses this chat: Conversation roles must alternate."):
        found(chat(("user", "q")), template)
    with pytest.raises(DataError, match=r"^a\.jsonl:1: the model's chat template refuses this chat: "):
        found(chat(("user", "q")), "{{ messages[0].content + 1 }}")


def test_thinking_without_effect_is_refused() -> None:
    check_thinking(pico_tokenizer(THINKING_TEMPLATE), "law")
    with refused("sources.law.thinking: … never reads enable_thinking, … leave it out.", ConfigError):
        check_thinking(pico_tokenizer(), "law")


def test_thinking_reaches_the_template() -> None:
    template = "{% for m in messages %}{{ '/think' if enable_thinking else '/no_think' }}{{ m.content }}{% endfor %}"
    tokenizer = pico_tokenizer(template)
    assert render(chat(("user", "q")), tokenizer, "on").text == "/thinkq"
    assert render(chat(("user", "q")), tokenizer, "off").text == "/no_thinkq"


def test_mixed_thinking_is_about_half_and_always_the_same() -> None:
    modes = [thinking_of(text(f"document {i}"), "mixed") for i in range(200)]
    assert modes == [thinking_of(text(f"document {i}", where="elsewhere"), "mixed") for i in range(200)]
    assert 70 < modes.count("on") < 130
    assert set(modes) == {"on", "off"}
    assert [thinking_of(text("x"), setting) for setting in ("on", "off", None)] == ["on", "off", None]


def test_special_tokens() -> None:
    assert special_tokens(pico_tokenizer()) == {0: "<|endoftext|>", 1: "<|im_start|>", 2: "<|im_end|>"}


DATED = "{{ 'Today is ' + strftime_now('%d %b %Y') + '. ' }}" + CHAT_TEMPLATE


def test_a_template_that_prints_the_day_is_the_same_on_any_day() -> None:
    """In training and in evaluation."""
    tokenizer = pico_tokenizer(DATED)
    rendered = render(chat(("user", "q"), ("assistant", "a")), tokenizer).text
    assert rendered.startswith("Today is 26 Jul 2024. ")
    assert rendered.endswith(render(chat(("user", "q"), ("assistant", "a")), pico_tokenizer()).text)
    for template in (DATED, {"default": DATED, "tool_use": "x"}):
        tokenizer.chat_template = template
        _, ids = chat_prompt(tokenizer, [{"role": "user", "content": "q"}], None)
        assert tokenizer.decode(ids).startswith("Today is 26 Jul 2024. ")
