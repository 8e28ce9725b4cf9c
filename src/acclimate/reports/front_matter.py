"""The head of a model card, which the Hub searches and links by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import yaml

from acclimate.paired.metrics import METRICS
from acclimate.runs.folder import RunFolder

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
HUB_CACHE = re.compile(r"models--([\w.-]+?)--([\w.-]+)")


@dataclass(frozen=True)
class Origin:
    """What a run folder cannot know of its base: its id on the Hub, where it was read from a folder, and the licence
    under which the tuned model goes out."""

    base_id: str | None = None
    licence: str | None = None


UNKNOWN = Origin()


def front_matter(folder: RunFolder, lora: Any, origin: Origin, card_of_base: Path | None = None) -> dict[str, Any]:
    """Licence, base, kind of model, tags, data sets of the Hub, and what was measured, in the Hub's own keys.

    What is not known is left out: a base that was read from a folder has no link.

    Args:
        lora: the run's section, None for a whole model.
        card_of_base: the base's README.md, where it is at hand; its licence is taken unless ``origin`` has one.
    """
    path = str((folder.config.get("model") or {}).get("path", ""))
    name, local = base_name(path)
    base = origin.base_id or (None if local else name)
    licence = origin.licence or licence_in(card_of_base or Path(path).expanduser() / "README.md")
    front: dict[str, Any] = {"license": licence} if licence else {}
    if base is not None:
        front |= {"base_model": base, "base_model_relation": "adapter" if lora else "finetune"}
    front |= {"library_name": "peft" if lora else "transformers", "pipeline_tag": "text-generation"}
    front["tags"] = list(dict.fromkeys(["acclimate", folder.method, *(["lora"] if lora else [])]))
    if data := _data_sets(folder.config.get("sources") or {}):
        front["datasets"] = data
    if measured := _measured(folder):
        front["model-index"] = [{"name": folder.name, "results": measured}]
    return front


def base_name(path: str) -> tuple[str, bool]:
    """Hub id or, of a local path, its last component only; and whether it was local.

    >>> base_name("HuggingFaceTB/SmolLM2-135M")
    ('HuggingFaceTB/SmolLM2-135M', False)
    >>> base_name("/home/ada/models/SmolLM2-135M/")
    ('SmolLM2-135M', True)
    >>> base_name("/root/.cache/huggingface/hub/models--org--name/snapshots/12ab")
    ('org/name', False)
    """
    if cached := HUB_CACHE.search(path):
        return f"{cached.group(1)}/{cached.group(2)}", False
    if HUB_ID.fullmatch(path) and not path.endswith(".gguf") and not Path(path).exists():
        return path, False
    return PureWindowsPath(path).name or "model", True  # understands both kinds of slash


def licence_in(card: Path) -> str | None:
    """The licence that a model card names, if there is a card and it names one."""
    try:
        head = card.read_text(encoding="utf-8").partition("---\n")[2].partition("\n---")[0]
        found = yaml.safe_load(head)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    licence = found.get("license") if isinstance(found, dict) else None
    return licence if isinstance(licence, str) else None


def _data_sets(sources: Mapping[str, Any]) -> list[str]:
    """Those of the Hub, which have a split; a file or folder of the user's is nobody's business."""
    found = [source.get("path") for source in sources.values() if isinstance(source, dict) and source.get("split")]
    return list(dict.fromkeys(path for path in found if isinstance(path, str) and HUB_ID.fullmatch(path)))


def _measured(folder: RunFolder) -> list[dict[str, Any]]:
    """One result a held-out set, under the names of the set: the text itself is nobody's but the user's."""
    sets = list(dict.fromkeys(name for name, _ in folder.measures))
    return [
        {
            "task": {"type": "text-generation"},
            "dataset": {"type": (plain := re.sub(r"[^\w.-]+", "-", name)), "name": f"{plain} (held out)"},
            "metrics": [
                {"type": metric.name, "name": metric.words, "value": round(folder.measures[name, metric.name].value, 4)}
                for metric in METRICS.values()
                if metric.words and (name, metric.name) in folder.measures
            ],
        }
        for name in sets
    ]
