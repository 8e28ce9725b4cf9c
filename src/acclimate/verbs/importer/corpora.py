"""The data of TRL, axolotl and LLaMA-Factory: lists of data sets, each in its tool's own words."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acclimate.types.errors import ConfigError, UsageError, listed, nearest
from acclimate.verbs.importer.given import Given

Source = dict[str, Any]
INFO = "dataset_info.json"
ALPACA = {"prompt": "instruction", "query": "input", "response": "output"}


def of_trl(given: Given) -> list[Source]:
    """``dataset_name``, or a list of ``datasets``."""
    rows = given.value("datasets")
    text, _ = given.take("dataset_text_field")
    streamed = given.value("dataset_streaming", "streaming")
    name, subset = given.value("dataset_name"), given.value("dataset_config")
    split = given.value("dataset_train_split")
    if not isinstance(rows, list):
        rows = [{"path": name, "name": subset, "split": split}] if name else []
    found = []
    for number, row in enumerate(rows):
        known = _mapping(given, f"datasets.{number}", row)
        source = _place(known, streamed)
        if text not in (None, "text"):
            source["fields"] = {"text": text}
        if (part := known.get("fraction")) is not None:
            source["share"] = float(part)
        _rest(given, f"datasets.{number}", known, {"path", "name", "split", "data_files", "fraction"})
        found.append(source)
    return found


def of_axolotl(given: Given) -> list[Source]:
    """``datasets``, or ``pretraining_dataset``."""
    rows, key = given.take("datasets", "pretraining_dataset")
    streamed = given.value("streaming") or key == "pretraining_dataset"
    rows = rows if isinstance(rows, list) else [rows] if rows else []
    found = []
    for number, row in enumerate(rows):
        place = f"{key}.{number}"
        known = _mapping(given, place, {"path": row} if isinstance(row, str) else row)
        source = _place(known, streamed)
        kind = known.get("type")
        kind = "pretrain" if kind is None and key == "pretraining_dataset" else kind
        if isinstance(kind, Mapping):
            question = [str(kind[name]) for name in ("field_instruction", "field_input") if kind.get(name)]
            if question and kind.get("field_output"):
                source["fields"] = {"prompt": question, "completion": kind["field_output"]}
            for name in ("format", "no_input_format", "system_prompt", "system_format", "field_system"):
                if kind.get(name):
                    given.left_of_data(f"{place}.type.{name}", kind[name], "pairs go through the model's own template")
        elif kind in ("completion", "pretrain"):
            column = known.get("field") or known.get("text_column") or "text"
            source |= {"format": "text"} | ({"fields": {"text": column}} if column != "text" else {})
        elif kind in ("chat_template", "sharegpt") or str(kind).startswith("chat_template"):
            if known.get("field_messages") not in (None, "messages", "conversations"):
                source["fields"] = {"messages": known["field_messages"]}
        elif kind is not None and not str(kind).startswith("alpaca"):
            given.left_of_data(f"{place}.type", kind, "no type that is known here; its rows are read by their fields")
        used = {
            "path", "name", "split", "data_files", "type", "field", "text_column", "field_messages", "ds_type",
            "chat_template", "revision",
        }  # fmt: skip
        if known.get("revision") and "split" in source:
            source["revision"] = known["revision"]
        _rest(given, place, known, used)
        found.append(source)
    return found


def of_llama_factory(given: Given, folder: Path) -> list[Source]:
    """Names that ``dataset_info.json`` explains.

    Args:
        folder: of the configuration; ``dataset_dir`` is looked for there, and where the command is given.

    Raises:
        UsageError: there is no such file, or it does not name one of them.
    """
    names, key = given.take("dataset")
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names or ())
    where = str(given.value("dataset_dir") or "data")
    streamed, most = given.value("streaming"), given.value("max_samples")
    weights = given.value("interleave_probs")
    weights = [float(part) for part in str(weights).split(",")] if isinstance(weights, str) else list(weights or ())
    if not names:
        return []
    at = next((base / where / INFO for base in (Path(), folder) if (base / where / INFO).is_file()), None)
    if at is None:
        raise UsageError(
            f"{given.place(key)}: {key}: '{names[0]}' is a name that {os.path.join(where, INFO)} explains, and there "
            "is no such file; run where it is, or name the text by --domain."
        )
    try:
        info = json.loads(at.read_text(encoding="utf-8"))
        assert isinstance(info, dict)
    except (ValueError, AssertionError):
        raise ConfigError(f"{at}: is no JSON object of data sets.") from None
    pretraining = given.data.get("stage") == "pt"
    found = []
    for number, name in enumerate(names):
        if name not in info:
            raise UsageError(
                f"{given.place(key)}: {key}: {at} has no '{name}'; it has {listed(info)}.{nearest(name, info)}"
            )
        source = _explained(given, name, info[name], at.parent, bool(streamed), pretraining)
        source |= {"max_documents": int(most)} if most and not streamed else {}
        source |= {"share": weights[number]} if len(weights) == len(names) else {}
        found.append(source)
    return found


def _explained(
    given: Given, name: str, entry: Mapping[str, Any], folder: Path, streamed: bool, pretraining: bool
) -> Source:
    if "file_name" in entry:
        source: Source = {"path": str(folder / entry["file_name"])}
    elif "hf_hub_url" in entry:
        source = {"path": entry["hf_hub_url"], "split": entry.get("split", "train")}
        source |= {"subset": entry["subset"]} if entry.get("subset") else {}
    else:
        raise UsageError(f"'{name}' is neither a file nor on the Hugging Face hub; name its text by --domain.")
    source |= {"streaming": True} if streamed else {}
    source |= {"max_documents": int(entry["num_samples"])} if entry.get("num_samples") and not streamed else {}
    columns = entry.get("columns") or {}
    if pretraining:
        column = columns.get("prompt", "text")
        source |= {"format": "text"} | ({"fields": {"text": column}} if column != "text" else {})
    elif entry.get("formatting") == "sharegpt":
        column = columns.get("messages", "conversations")
        source |= {"fields": {"messages": column}} if column not in ("messages", "conversations") else {}
    elif columns and any(columns.get(key, own) != own for key, own in ALPACA.items()):
        asked = [columns[key] for key in ("prompt", "query") if columns.get(key)]
        source["fields"] = {"prompt": asked, "completion": columns.get("response", "output")}
    for column in ("system", "history", "tools", "images", "videos", "audios"):
        if column in columns and entry.get("formatting") != "sharegpt":
            given.left_of_data(f"{name}.columns.{column}", columns[column], "no source has such a field")
    if entry.get("ranking"):
        given.left_of_data(f"{name}.ranking", True, "preferences are not learned here")
    return source


def _place(known: Mapping[str, Any], streamed: Any) -> Source:
    """Where it is; what is on this machine has no split."""
    path = str(known.get("path") or "")
    files = known.get("data_files")
    if files and path in ("json", "csv", "text", "parquet", ""):
        source: Source = {"path": list(files) if isinstance(files, list) else str(files)}
    elif _is_local(path):
        source = {"path": path}
    else:
        source = {"path": path, "split": known.get("split") or "train"}
        source |= {"subset": known["name"]} if known.get("name") else {}
    return source | ({"streaming": True} if streamed else {})


def _is_local(path: str) -> bool:
    """Whether it is a file, folder or URL: a hub id looks like a folder in a folder.

    >>> _is_local("data/notes.jsonl"), _is_local("./data"), _is_local("org/notes")
    (True, True, False)
    """
    there = os.path.exists(os.path.expanduser(path)) or path.startswith((".", "/", "~")) or "://" in path
    return there or re.search(r"\.(jsonl?|csv|tsv|parquet|arrow|txt|md)(\.\w+)?$", path) is not None


def _mapping(given: Given, place: str, row: Any) -> Mapping[str, Any]:
    if not isinstance(row, Mapping) or not (row.get("path") or row.get("data_files")):
        raise ConfigError(f"{given.place(place)}: {place}: names no path; a data set is a mapping with one.")
    return row


def _rest(given: Given, place: str, known: Mapping[str, Any], used: Sequence[str] | set[str]) -> None:
    for key, value in known.items():
        if key not in used and value not in (None, False, [], {}):
            given.left_of_data(f"{place}.{key}", value, "no source has such a key")
    if known.get("data_files") and known.get("path") not in (None, "", "json", "csv", "text", "parquet"):
        given.left_of_data(f"{place}.data_files", known["data_files"], "a hub id is read by its split")
