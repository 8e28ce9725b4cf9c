"""Which tool a file is of, and the whole run that comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acclimate.config.elsewhere import INSTEAD
from acclimate.config.load import parse_config
from acclimate.config.schemas import write_with_schema
from acclimate.config.source_schema import SELF
from acclimate.config.yamlfile import read_mapping
from acclimate.disk.commented import written
from acclimate.types.errors import UsageError, listed
from acclimate.verbs.importer.corpora import Source, of_axolotl, of_llama_factory, of_trl
from acclimate.verbs.importer.given import Given, Left, name_of
from acclimate.verbs.importer.sections import Sections

TRAINER = {
    "num_train_epochs": 3, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1,
    "lr_scheduler_type": "linear", "warmup_steps": 0, "save_steps": 500, "seed": 42,
}  # fmt: skip
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "TRL": TRAINER | {
        "learning_rate": 2e-5, "max_length": 1024, "gradient_checkpointing": True, "lora_dropout": 0.05,
        "dataset_train_split": "train",
    },
    "LLaMA-Factory": TRAINER | {"learning_rate": 5e-5, "cutoff_len": 2048, "gradient_checkpointing": True},
    "axolotl": {
        "num_epochs": 1, "micro_batch_size": 1, "gradient_accumulation_steps": 1, "lr_scheduler": "cosine",
        "sequence_len": 512, "warmup_ratio": 0.03, "seed": 42,
    },
}  # fmt: skip
"""What each tool takes where its file says nothing and we would take something else [from code: TRL 1.16 with
transformers 5.23, LLaMA-Factory's and axolotl's main branches of 2026]."""
TOOLS = {"trl": "TRL", "axolotl": "axolotl", "llamafactory": "LLaMA-Factory"}
OWN_NAMES = ("sources", "budget")
SILENT = {
    "do_train", "overwrite_cache", "overwrite_output_dir", "plot_loss", "stage", "finetuning_type", "use_peft",
    "adapter", "tokenizer_type", "model_type", "logging_steps", "dataset_num_proc", "preprocessing_num_workers",
    "dataloader_num_workers", "ddp_timeout", "packing", "sample_packing", "neat_packing", "eval_sample_packing",
    "pad_to_sequence_len", "padding_free", "packing_strategy", "group_by_length", "remove_unused_columns", "tf32",
    "dataset_prepared_path", "bf16_full_eval", "completion_only_loss", "strict", "run_name", "is_llama_derived_model",
    "shuffle_dataset", "gradient_checkpointing_kwargs", "use_liger_kernel", "ddp_find_unused_parameters",
    "wandb_project", "use_wandb", "wandb_entity", "wandb_watch", "wandb_name", "wandb_log_model",
    "save_only_model", "fsdp_config", "fsdp_version",
}  # fmt: skip
"""What needs no counterpart: how the work is done, and what holds here anyway."""


OF_DATA = {
    "dataset", "datasets", "dataset_name", "dataset_dir", "dataset_config", "dataset_train_split",
    "dataset_text_field", "dataset_streaming", "streaming", "pretraining_dataset", "interleave_probs", "mix_strategy",
    "max_samples",
}  # fmt: skip
"""What another text makes pointless."""


@dataclass(frozen=True)
class Imported:
    """A run's settings, why each is so, and what of the other file is not in them."""

    tool: str
    settings: dict[str, Any]
    reasons: Mapping[str, str]
    left: Sequence[Left]
    silent: Sequence[str]  # keys that need nothing here

    def as_json(self) -> dict[str, Any]:
        left = [{"key": one.key, "value": one.value, "place": one.place, "why": one.why} for one in self.left]
        return {"tool": self.tool, "settings": self.settings, "left_out": left, "needs_nothing": list(self.silent)}


def import_config(
    path: Path,
    tool: str | None = None,
    domain: Sequence[str] = (),
    general: Sequence[str] = (),
    processes: int = 1,
) -> Imported:
    """Reads a configuration of another trainer; nothing is written.

    Args:
        tool: one of ``trl, axolotl, llamafactory``; None finds it out by the keys.
        domain: text in place of what the file names.
        general: text to stay the same on; default, ``self``: the base writes it.
        processes: that trained there, which a step's tokens follow from.

    Raises:
        ConfigError: it is no YAML or JSON mapping, or a value is wrong.
        UsageError: it is of no tool that is known, or names no text that can be found.
    """
    data, places = read_mapping(path, "configuration")
    name = TOOLS[tool] if tool is not None else recognised(path, data)
    given = Given(data, places, name, DEFAULTS[name])
    _check_task(given)
    sections = Sections(given, processes)
    sections.run()
    sections.model()
    if "path" not in sections.settings.get("model", {}):
        raise UsageError(f"{path}: names no model (model_name_or_path, or base_model of axolotl).")
    sections.lora(*_adapter(given))
    sections.put("method", "mol", f"not in {name}: cross-entropy on the domain, and KL to the base on general text")
    if domain:
        given.used |= OF_DATA
        found: list[Source] = [{"path": list(domain) if len(domain) > 1 else domain[0]}]
    elif name == "LLaMA-Factory":
        found = of_llama_factory(given, path.parent)
    else:
        found = of_axolotl(given) if name == "axolotl" else of_trl(given)
    _sources(sections, found, general, path)
    sections.optimizer()
    sections.schedule()
    sections.training()
    sections.learned()
    sections.budget(streamed=_streamed(sections, given))
    given.used |= {"dataset_name", "dataset_dir"}
    left = [*given.left, *(Left(k, data[k], given.place(k), _why(k)) for k in given.unused() if k not in SILENT)]
    parse_config(sections.settings)
    silent = [key for key in data if key in SILENT]
    return Imported(name, sections.settings, sections.reasons, left, silent)


def recognised(path: Path, data: Mapping[str, Any]) -> str:
    """The tool, by keys that only it has.

    Raises:
        UsageError: it is of none, or ours already.
    """
    if "base_model" in data:
        return "axolotl"
    if data.keys() & {"finetuning_type", "stage", "cutoff_len", "dataset_dir", "template"}:
        return "LLaMA-Factory"
    if data.keys() & {"model_name_or_path", "dataset_name", "num_train_epochs", "per_device_train_batch_size"}:
        return "TRL"
    if all(key in data for key in OWN_NAMES):
        raise UsageError(f"{path}: this is a configuration of acclimate already: acclimate validate {path}")
    raise UsageError(
        f"{path}: none of its keys tells whose configuration it is: {listed(list(data)[:8] or ['it is empty'])}. Known "
        "are TRL (model_name_or_path), axolotl (base_model) and LLaMA-Factory (finetuning_type); --from says which."
    )


def write_imported(found: Imported, source: Path, output: Path) -> None:
    """The file, with where each value is from, and at its head what was not carried; never over one that exists."""
    if output.exists():
        raise UsageError(f"--output: '{output}' exists and is left alone; give another path.")
    if not output.parent.is_dir():
        raise UsageError(f"--output: the folder '{output.parent}' does not exist; make it, or give another path.")
    head = [f"Carried over from {source} ({found.tool}) by acclimate import.", f"Check it: acclimate validate {output}"]
    head += ["Not carried:"] if found.left else []
    head += [f"  {one.key}: {one.why}" for one in found.left]
    write_with_schema(output, written(found.settings, found.reasons, "\n".join(head)))


def _check_task(given: Given) -> None:
    """Only what learns from text or answers can be carried."""
    stage, rl = given.data.get("stage", "sft"), given.data.get("rl")
    wrong = f"stage: {stage}" if stage not in ("sft", "pt") else f"rl: {rl}" if rl else None
    if wrong is not None:
        key = "rl" if rl else "stage"
        raise UsageError(
            f"{given.place(key)}: {wrong} learns from preferences or rewards; acclimate learns from text and answers "
            "(stage: sft or pt)."
        )


def _adapter(given: Given) -> tuple[bool, int, float | None, Any]:
    """Whether there is one, and rank, alpha and targets where the file says nothing."""
    if given.tool == "TRL":
        return bool(given.value("use_peft")), 16, 32, None
    if given.tool == "axolotl":
        return given.value("adapter") in ("lora", "qlora"), 8, 16, None
    return given.value("finetuning_type") in (None, "lora"), 8, None, "all"


def _sources(sections: Sections, found: list[Source], general: Sequence[str], path: Path) -> None:
    """Half of all tokens to the domain, in the shares that the file gives its parts, half to general text."""
    if not found:
        raise UsageError(f"{path}: names no text to learn; give it by --domain.")
    held, why = sections.given.number("val_set_size", "val_size", "test_split_size")
    found = _together(found)
    total = sum(source.get("share", 0.0) for source in found)
    for number, source in enumerate(found):
        name = "domain" if len(found) == 1 else _unique(sections, source)
        part = source.pop("share", None)
        if len(found) == 1:
            part = None
            sections.put(f"sources.{name}.share", 0.5, "of all trained tokens; the other half is general text")
        elif part is not None and total:
            sections.put(f"sources.{name}.share", round(0.5 * part / total, 6), f"half of {part:g} / {total:g}")
        else:
            told = f"half in {len(found)} equal parts; {sections.given.tool} mixes by size"
            sections.put(f"sources.{name}.share", round(0.5 / len(found), 6), told)
        if len(found) > 1:
            sections.put(f"sources.{name}.route", "domain", "learned as domain text")
        for key, value in source.items():
            sections.put(f"sources.{name}.{key}", value, f"data set {number + 1} of {path.name}")
        if held:
            sections.put(f"sources.{name}.heldout", held if held < 1 else int(held), why)
    own = "general" if "general" not in sections.settings["sources"] else "kept"
    told = "added: the base writes this text itself (docs/howto/replay.md)" if not general else "--general"
    sections.put(f"sources.{own}.path", (list(general) if len(general) > 1 else general[0]) if general else SELF, told)
    sections.put(f"sources.{own}.share", 0.5, "so that the model stays as it was on other text")
    if own != "general":
        sections.put(f"sources.{own}.route", "general", "kept as general text")


def _together(found: list[Source]) -> list[Source]:
    """One source of many paths where nothing else tells them apart: these are mixed by size, as they were."""
    first = {key: value for key, value in found[0].items() if key != "path"}
    if len(found) == 1 or "share" in first or any({**source, "path": 0} != {**first, "path": 0} for source in found):
        return found
    paths = [source["path"] if isinstance(source["path"], list) else [source["path"]] for source in found]
    return [{"path": [path for group in paths for path in group]} | first]


def _unique(sections: Sections, source: Source) -> str:
    first = source["path"][0] if isinstance(source["path"], list) else source["path"]
    name, taken = name_of(str(first)).split(".")[0], sections.settings.get("sources", {})
    name = name if name not in ("all", "") else "domain"
    return name if name not in taken else f"{name}-{len(taken) + 1}"


def _streamed(sections: Sections, given: Given) -> bool:
    """Whether the text is streamed; a stream has no epochs, so without ``max_steps`` it is read as a whole."""
    sources = sections.settings["sources"].values()
    streams = [source for source in sources if source.get("streaming")]
    steps = given.number("max_steps")[0]
    if streams and not (steps and steps > 0):
        for source in streams:
            del source["streaming"]
        given.drop("streaming", "a stream has no epochs: give budget.steps or budget.tokens to stream")
        return False
    return bool(streams)


def _why(key: str) -> str:
    return INSTEAD.get(key, "nothing here corresponds to it")
