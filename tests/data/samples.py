"""Small corpora for the data tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acclimate.config.load import RunConfig, parse_config
from acclimate.config.source_schema import SourceSection
from acclimate.data.prepare.tokens import TokenCorpus
from acclimate.data.read.records import Document, Part

# The logic of Qwen3's template: reasoning of earlier turns is dropped, the last turn always shows a think block.
THINKING_TEMPLATE = (
    "{%- set ns = namespace(last=-1) %}"
    "{%- for m in messages %}{%- if m.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}"
    "{%- for m in messages %}"
    "{%- if m.role == 'assistant' %}"
    "{%- set content = m.content %}{%- set reasoning = '' %}"
    "{%- if '</think>' in content %}"
    "{%- set reasoning = content.split('</think>')[0].split('<think>')[-1].strip('\\n') %}"
    "{%- set content = content.split('</think>')[-1].lstrip('\\n') %}"
    "{%- endif %}"
    "{{- '<|im_start|>assistant\\n' }}"
    "{%- if loop.index0 > ns.last and (loop.last or reasoning) %}"
    "{{- '<think>\\n' + reasoning + '\\n</think>\\n\\n' }}"
    "{%- endif %}"
    "{{- content }}"
    "{%- if m.tool_calls %}{%- for call in m.tool_calls %}"
    "{{- '\\n<tool_call>\\n' + call.function.name + '\\n</tool_call>' }}"
    "{%- endfor %}{%- endif %}"
    "{{- '<|im_end|>\\n' }}"
    "{%- elif m.role == 'tool' %}"
    "{{- '<|im_start|>user\\n<tool_response>\\n' + m.content + '\\n</tool_response><|im_end|>\\n' }}"
    "{%- else %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{%- endif %}"
)


def section(**settings: Any) -> SourceSection:
    return SourceSection(**({"path": "unused"} | settings))


def text(content: str, source: str = "domain", where: str = "a.txt") -> Document:
    return Document(source, where, (Part("text", content),), templated=False)


def chat(*messages: tuple[str, str] | Part, source: str = "domain", where: str = "a.jsonl:1") -> Document:
    parts = tuple(message if isinstance(message, Part) else Part(*message) for message in messages)
    return Document(source, where, parts, templated=True)


def write_records(path: Path, records: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def run_config(folder: Path, sources: dict[str, dict[str, Any]], split_seed: int = 0, **sections: Any) -> RunConfig:
    base = {
        "model": {"path": "none"},
        "budget": {"steps": 1, "count": "all"},
        "data": {"cache_dir": f"{folder}/cache", "split_seed": split_seed},
    }
    return parse_config(base | {"sources": sources} | sections)


def token_corpus(routes: Sequence[Sequence[int]]) -> TokenCorpus:
    """A corpus whose every token id is unique, so that it can be traced through packing."""
    flat = np.array([route for document in routes for route in document], dtype=np.int16)
    offsets = np.concatenate([[0], np.cumsum([len(document) for document in routes])]).astype(np.int64)
    ids = np.arange(1, len(flat) + 1, dtype=np.int32)
    where = [f"made.jsonl:{line}" for line in range(1, len(routes) + 1)]
    width = max(int(flat.max(initial=0)) + 1, 1)
    labels = np.array([[list(document[1:]).count(r) for r in range(width)] for document in routes], dtype=np.int32)
    bounds = np.stack([offsets[:-1], offsets[1:]], axis=1)
    return TokenCorpus(ids, flat, ids * 7, bounds, labels.reshape(-1, width), where, np.arange(width))
