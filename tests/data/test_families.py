"""What is learned of the same chats under the templates of the families that people tune: every answer to its end.

A family is one line: how its answers end, its tool call and the reasoning of its last answer as they are learned.
"""
# ruff: noqa: E501 - a family is a line

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from acclimate.config.source_schema import SourceSection
from acclimate.data.chat.label_notes import LabelNote
from acclimate.data.chat.rendering import ChatTemplate, Rendered, turn_end, turn_end_ids
from acclimate.data.read.records import RecordSchema
from acclimate.types.errors import DataError
from tests.fixtures.chat_families import FAMILIES
from tests.fixtures.templates import SHAPES, Shape, tokenizer_of

ALL: dict[str, Shape] = SHAPES | FAMILIES


@dataclass(frozen=True)
class Learned:
    end: str  # of an answer
    call: str = ""  # with its end; empty where calls are refused
    thought: str = ""  # before the last answer, given as reasoning_content; empty where reasoning is refused
    inline: str | None = None  # the same, given as <think>...</think>; None where it is as ``thought``
    earlier: str | None = None  # of an answer before another message, where that is another
    system: bool = True
    unthought: str = ""  # before a call whose reasoning the generation prompt has closed
    stops: tuple[str, ...] = ()  # tokens at which generation must stop; empty where it is the end's own


HERMES = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
LLAMA = '{"name": "weather", "parameters": {"city": "Rome"}}<|eot_id|>'
XML = "<tool_call>\n<function=weather>\n<parameter=city>\nRome\n</parameter>\n</function>\n</tool_call>"
THINK = "<think>\nFour plus three.\n</think>\n\n"
OPENED = THINK.removeprefix("<think>\n")  # by the generation prompt
GLM = "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Rome</arg_value>\n</tool_call><|observation|>"
CALLS = "<|calls|><|call|>{}<|end_call|><|end_calls|><|eos|>"
IM, EOS = "<|im_end|>", "</s>"
FAMILY = {
    "llama 2": Learned(" </s>", inline=THINK),
    "llama 3": Learned("<|eot_id|>", inline=THINK),
    "llama 3.1": Learned("<|eot_id|>", LLAMA, inline=THINK),
    "llama 3.2": Learned("<|eot_id|>", LLAMA, inline=THINK),
    "qwen 2.5": Learned(IM, HERMES + IM, inline=THINK),
    "qwen 3": Learned(IM, HERMES + IM, THINK),
    "qwen 3 2507": Learned(IM, HERMES + IM, inline=THINK),
    "qwen 3 coder": Learned(IM, XML + IM, inline=THINK),
    "qwen 3.5": Learned(IM, XML + IM, OPENED),
    "qwq": Learned(IM, HERMES + IM, inline=OPENED),
    "gemma 2": Learned("<end_of_turn>", inline=THINK, system=False),
    "gemma 3": Learned("<end_of_turn>", inline=THINK),
    "gemma 4": Learned("<turn|>", '<|tool_call>call:weather{city:<|"|>Rome<|"|>}<tool_call|><|tool_response>', inline=THINK,
                       stops=("<turn|>", "<|tool_response>")),
    "phi 3": Learned("<|end|>", inline=THINK),
    "phi 3.5": Learned("<|end|>", inline=THINK),
    "phi 4": Learned(IM, inline=THINK),
    "phi 4 reasoning": Learned(IM, inline=THINK),
    "mistral v1": Learned(EOS, inline=THINK),
    "mistral v3": Learned(EOS, '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Rome"}}]</s>', inline=THINK, system=False),
    "mistral nemo": Learned(EOS, '[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Rome"}, "id": "call00001"}]</s>', inline=THINK),
    "mistral small 3.2": Learned(EOS, '[TOOL_CALLS]weather[CALL_ID]call00001[ARGS]{"city": "Rome"}</s>', inline=THINK),
    "ministral 3": Learned(EOS, '[TOOL_CALLS]weather[ARGS]{"city": "Rome"}</s>', inline=THINK),
    "smollm2": Learned(IM, inline=THINK),
    "smollm3": Learned(IM, inline=THINK),
    "deepseek r1": Learned("<|eos|>", '<|call|>weather\n```json\n{"city": "Rome"}\n```<|end_call|><|eos|>'),
    "deepseek v3": Learned("<|eos|>", CALLS.format('function<|sep|>weather\n```json\n{"city": "Rome"}\n```')),
    "deepseek v3.1": Learned("<|eos|>", CALLS.format('weather<|sep|>{"city": "Rome"}')),
    "granite 3.3": Learned("<|end_of_text|>", inline=THINK),
    "granite 4": Learned("<|end_of_text|>", HERMES + "<|end_of_text|>", inline=THINK),
    "lfm2": Learned(IM, inline=THINK),
    "lfm2.5": Learned(IM, '<|tool_call_start|>[weather(city="Rome")]<|tool_call_end|><|im_end|>', inline=THINK),
    "nemotron 3": Learned(IM, XML + "\n<|im_end|>", "Four plus three.\n</think>\n", inline=OPENED, unthought="\n"),
    "seed-oss": Learned("<seed:eos>", "<seed:tool_call>\n<function=weather>\n<parameter=city>Rome</parameter>\n</function>\n"
                        "</seed:tool_call><seed:eos>", "<seed:think>Four plus three.</seed:think>\n", inline=THINK),
    "kimi k2": Learned(IM, '<|calls_begin|><|call_begin|>functions.weather:0<|argument_begin|>{"city": "Rome"}<|call_end|><|calls_end|>'
                       "<|im_end|>", inline=THINK),
    "minimax m2": Learned("[e~[", '\n<minimax:tool_call>\n<invoke name="weather">\n<parameter name="city">Rome</parameter>\n</invoke>\n'
                          "</minimax:tool_call>[e~[", OPENED),
    "glm 4": Learned("<|user|>", GLM, "\n<think>Four plus three.</think>\n", unthought="\n", stops=("<|user|>", "<|observation|>")),
    "command-r": Learned("<|END_OF_TURN_TOKEN|>", inline=THINK),
    "command-r7b": Learned("<|END_RESPONSE|><|END_OF_TURN_TOKEN|>", inline=THINK, stops=("<|END_OF_TURN_TOKEN|>",)),
    "command-r7b, tools": Learned(
        "<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",
        '<|START_ACTION|>[{"tool_name": "weather", "parameters": {"city": "Rome"}}]<|END_ACTION|>'
        "<|END_OF_TURN_TOKEN|>", inline=THINK, stops=("<|END_OF_TURN_TOKEN|>",),
    ),
    "apertus": Learned("<|assistant_end|>", '<|tools_prefix|>[{"weather": {"city": "Rome"}}]<|tools_suffix|>', inline=THINK,
                       stops=("<|assistant_end|>", "<|tools_suffix|>")),
    "gpt-oss": Learned("<|return|>", ' to=functions.weather<|channel|>commentary json<|message|>{"city": "Rome"}<|call|>',
                       "<|channel|>analysis<|message|>Four plus three.<|end|><|start|>assistant<|channel|>final<|message|>", inline=THINK,
                       earlier="", stops=("<|return|>", "<|call|>")),
    "olmo 2": Learned("<|endoftext|>", inline=THINK),
    "falcon h1": Learned(IM, inline=THINK),
    "falcon 3": Learned("<|endoftext|>", inline=THINK, earlier=""),
    "exaone 4": Learned("[|endofturn|]", HERMES.replace("\n", "") + "[|endofturn|]"),
    "zephyr": Learned(EOS, inline=THINK),
    "falcon instruct": Learned("<|endoftext|>", inline=THINK, earlier=""),
    "alpaca": Learned(EOS, inline=THINK, earlier=""),
    "minicpm": Learned(EOS, inline=THINK, earlier=""),
}  # fmt: skip

SYSTEM = {"role": "system", "content": "Be brief."}
ASKED = [{"role": "user", "content": text} for text in ("What is two and two?", "And three?", "Weather in Rome?")]
SAID = [{"role": "assistant", "content": text} for text in ("It is four.", "That makes seven.", "It is 18 degrees.")]
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Of a city.", "parameters": {}}}]
CALL = {
    "role": "assistant", "content": "",
    "tool_calls": [{"id": "call00001", "type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}],
}  # fmt: skip
RESULT = {"role": "tool", "name": "weather", "tool_call_id": "call00001", "content": "18 C"}
TWO = [ASKED[0], SAID[0], ASKED[1], SAID[1]]
AGENT = [ASKED[2], CALL, RESULT, SAID[2], ASKED[1], SAID[1]]


def render(name: str, messages: list[dict[str, Any]], thinking: Any = None, tools: Any = None) -> Rendered:
    record = {"messages": messages} | ({"tools": tools} if tools else {})
    row = RecordSchema("law", SourceSection(path="a")).document(record, "a.jsonl:1")
    assert row is not None
    answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    return ChatTemplate(tokenizer_of(ALL[name])).render(row, thinking, answers)


def learned(name: str, messages: list[dict[str, Any]], thinking: Any = None, tools: Any = None) -> list[str]:
    found = render(name, messages, thinking, tools)
    return [found.text[span.start : span.end] for span in found.spans]


def modes(name: str) -> tuple[str | None, ...]:
    return (None, "on", "off") if "enable_thinking" in ALL[name].template else (None,)


def test_at_least_thirty_families() -> None:
    assert len(FAMILY) >= 40
    assert FAMILY.keys() <= ALL.keys()


@pytest.mark.parametrize("name", FAMILY)
def test_answers_with_all_that_ends_them(name: str) -> None:
    family = FAMILY[name]
    first = "It is four." + (family.end if family.earlier is None else family.earlier)
    for thinking in modes(name):
        assert learned(name, TWO, thinking) == [first, "That makes seven." + family.end]
        assert learned(name, TWO[:2], thinking) == ["It is four." + family.end]
        if family.system:
            assert learned(name, [SYSTEM, *TWO], thinking) == [first, "That makes seven." + family.end]
    tokenizer = tokenizer_of(ALL[name])
    assert tuple(tokenizer.convert_ids_to_tokens(list(turn_end_ids(tokenizer)))) == (
        family.stops or (family.end.strip(),)
    )


@pytest.mark.parametrize("name", FAMILY)
def test_tool_calls_are_learned_whole_or_refused(name: str) -> None:
    family = FAMILY[name]
    tools = TOOLS if "tools" in ALL[name].template else None
    for thinking in modes(name):
        if not family.call:
            with pytest.raises(DataError, match=r"^a\.jsonl:1: .*(tool call \('tool_calls'\) that|refuses this chat)"):
                learned(name, AGENT, thinking, tools)
            continue
        call = (family.unthought if thinking == "off" else "") + family.call
        between = "It is 18 degrees." + (family.end if family.earlier is None else family.earlier)
        assert learned(name, AGENT, thinking, tools) == [call, between, "That makes seven." + family.end]
        assert learned(name, AGENT[:2], thinking, tools) == [call]
        if family.system:
            assert learned(name, [SYSTEM, *AGENT[:4]], thinking, tools) == [
                call,
                "It is 18 degrees." + family.end,
            ]


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("given", ["field", "inline"])
def test_reasoning_is_learned_or_refused(name: str, given: str) -> None:
    family = FAMILY[name]
    thought = family.thought if given == "field" or family.inline is None else family.inline
    key = "thinking" if name == "gpt-oss" else "reasoning_content"
    with_reasons = [
        answer | ({key: text} if given == "field" else {"content": f"<think>\n{text}\n</think>\n\n{answer['content']}"})
        for answer, text in zip(SAID, ("Two plus two.", "Four plus three."), strict=False)
    ]
    messages = [ASKED[0], with_reasons[0], ASKED[1], with_reasons[1]]
    thinking = "on" if "enable_thinking" in ALL[name].template else None
    if not thought:
        with pytest.raises(DataError, match=r"^a\.jsonl:1: message [24] \(assistant\) (has reasoning|is not found)"):
            learned(name, messages, thinking)
        return
    found = render(name, messages, thinking)
    spans = [found.text[span.start : span.end] for span in found.spans]
    assert spans[-1] == thought + "That makes seven." + family.end
    assert len(spans) == 2 or (len(spans) == 1 and ("cut", "") in found.notes)


def test_a_generation_prompt_that_closes_what_training_never_shows_is_noted() -> None:
    (note,) = render("gemma 4", TWO[:2]).notes
    assert note == ("closed", repr("<|channel>thought\n<channel|>"))
    assert "puts into its generation prompt and not into its chats" in str(LabelNote("closed", 1, "a:1", (note[1],)))
    assert render("gemma 4", TWO[:2], "on").notes == ()


def test_ends_are_found_of_a_template_that_wants_tools() -> None:
    shape = ALL["hermes"]
    wanting = replace(shape, template="{% for tool in tools %}{{ tool.function.name }}{% endfor %}" + shape.template)
    assert turn_end(ChatTemplate(tokenizer_of(wanting))).last == "<|im_end|>"
