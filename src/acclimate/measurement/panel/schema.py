"""A panel as a file: which sets a model is measured on, and how its questions are put."""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from acclimate.config.explain import Places
from acclimate.config.schema import NAME
from acclimate.config.settings_file import SettingsFile
from acclimate.config.source_schema import Section
from acclimate.config.yamlfile import read_mapping
from acclimate.disk.digest import sha256_of
from acclimate.measurement.panel.mappings import READY, Answers, Mapping
from acclimate.types.errors import listed, nearest

QUESTION, PASSAGE_QUESTION = "Question: {question}\nAnswer:", "{passage}\nQuestion: {question}\nAnswer:"
PLACEHOLDERS = ("question", "passage", "options")
LATER = {"overlap", "fewshot_as_multiturn", "group"}
"""Settings that tables of before them do not have in their digests, so that these tables can go on. A new one joins."""


class SetSection(Section):
    """One set of items."""

    kind: Literal["choice", "cloze", "text", "lm_eval"] = Field(
        description="choice: the likeliest answer to a question; cloze: the last word of a text; text: bits per byte; "
        "lm_eval: a task of lm-eval"
    )
    path: str | list[str] | None = Field(None, min_length=1, description=".jsonl file, or a list of them")
    task: str | None = Field(None, min_length=1, description="lm_eval: its name there, like arc_easy")
    include_path: str | None = Field(None, min_length=1, description="lm_eval: folder of task files of one's own")
    num_fewshot: int | None = Field(None, ge=0, description="lm_eval: examples before a question; default: the task's")
    fewshot_as_multiturn: bool | None = Field(
        None,
        description="lm_eval, in chat form: true: each example is a turn of the user and one of the assistant; false: "
        "all examples stand in one turn of the user; default: true, as in lm-eval",
    )
    mapping: str | None = Field(None, description="ready fields and prompt of a benchmark: openbookqa, mmlu ...")
    fields: dict[Literal["question", "passage", "choices", "answer", "text"], str] | None = Field(
        None, min_length=1, description="names that these fields have in the records: {question: stem}"
    )
    group: str | None = Field(
        None,
        min_length=1,
        description="field that names what items belong to (a passage, a template): drawn together for intervals",
    )
    prompt: str | None = Field(None, description="choice: text with {question}, {passage} and {options}")
    answers: Answers | None = Field(None, description="choice: score the text of each choice, or its letter")
    choices: list[str] | None = Field(None, min_length=2, description="choice: the same ones for every item")
    role: Literal["domain", "general"] = Field("general", description="which average a text set belongs to")
    max_items: int | None = Field(None, ge=1, description="a subsample, by the panel's seed and the items' contents")
    on_bad_item: Literal["fail", "skip"] = Field(
        "fail", description="skip leaves out items that cannot be asked, and counts them by reason"
    )

    @property
    def paths(self) -> list[str]:
        return [self.path] if isinstance(self.path, str) else self.path or []

    @model_validator(mode="after")
    def _fits_its_kind(self) -> SetSection:
        if self.mapping is not None and self.mapping not in READY:
            raise ValueError(
                f"mapping {self.mapping!r} is not known; accepted: {listed(READY)}.{nearest(self.mapping, READY)}"
            )
        of_task = ("task", "include_path", "num_fewshot", "fewshot_as_multiturn")
        for names, kind in ((("mapping", "prompt", "answers", "choices"), "choice"), (of_task, "lm_eval")):
            for name in names if self.kind != kind else ():
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} has no effect on kind {self.kind}; it belongs to {kind}")
        if self.kind == "lm_eval":
            for name in ("path", "fields", "group"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} has no effect on kind lm_eval, whose task says what is asked")
            if self.on_bad_item != "fail":
                raise ValueError("on_bad_item has no effect on kind lm_eval, whose task says what is asked")
        needed = "task" if self.kind == "lm_eval" else "path"
        if getattr(self, needed) is None:
            raise ValueError(f"{needed} is missing, which kind {self.kind} needs")
        known = ("question", "passage", "choices", "answer") if self.kind == "choice" else ("text",)
        for name in self.fields or ():
            if name not in known:
                raise ValueError(
                    f"fields names {name!r}, which kind {self.kind} does not read; it reads {listed(known)}"
                )
        return self

    @field_validator("prompt")
    @classmethod
    def _placeholders(cls, value: str | None) -> str | None:
        used = re.findall(r"\{(\w*)\}", value or "{question}")
        for name in used:
            if name not in PLACEHOLDERS:
                raise ValueError(
                    f"{{{name}}} is nothing of an item; accepted: {listed(f'{{{n}}}' for n in PLACEHOLDERS)}."
                    + nearest(name, PLACEHOLDERS)
                )
        if "question" not in used:
            raise ValueError("needs {question}")
        return value

    @model_validator(mode="after")
    def _letters_are_explained(self) -> SetSection:
        if self.kind == "choice":
            found = self.resolved(passage=False)
            if found.answers == "letters" and "{options}" not in found.prompt:
                raise ValueError("answers: letters needs {options} in the prompt, or no letter means anything")
        return self

    def resolved(self, passage: bool) -> Mapping:
        """What is asked and how: the ready mapping, with what the section says itself.

        Args:
            passage: whether the records have one, for the prompt of a set that gives none.
        """
        ready = READY[self.mapping] if self.mapping else Mapping(PASSAGE_QUESTION if passage else QUESTION, {})
        return Mapping(
            prompt=self.prompt or ready.prompt,
            fields={**ready.fields, **{str(target): name for target, name in (self.fields or {}).items()}},
            answers=self.answers or ready.answers,
            choices=tuple(self.choices or ready.choices),
            spelled=ready.spelled,
        )


class PanelConfig(SettingsFile):
    """Sets of items, and how every model is asked."""

    called: ClassVar[str] = "panel"

    name: str = Field(
        "panel", pattern=f"^{NAME}$", description="names the folder of the results; by default the file's own name"
    )
    template: Literal["plain", "chat"] = Field(
        "plain", description="chat: each question is a user's turn in the model's own chat template"
    )
    thinking: Literal["on", "off"] | None = Field(None, description="mode of a hybrid model's chat template")
    seed: int = Field(0, ge=0, description="of subsamples")
    sequence_length: int = Field(1024, ge=2, description="text sets: longest piece of a document, in tokens")
    overlap: int = Field(0, ge=0, description="text sets: tokens before its first label that a later piece reads again")
    sets: dict[str, SetSection] = Field(min_length=1)

    @model_validator(mode="after")
    def _overlap_leaves_room(self) -> PanelConfig:
        if self.overlap >= self.sequence_length:
            raise ValueError(
                f"overlap: {self.overlap} tokens of context leave no room for a label in pieces of "
                f"{self.sequence_length}; accepted: 0 to {self.sequence_length - 1}, or more with a larger "
                "sequence_length"
            )
        return self

    @field_validator("sets")
    @classmethod
    def _names_are_file_names(cls, value: dict[str, SetSection]) -> dict[str, SetSection]:
        for name in value:
            if not re.fullmatch(NAME, name):
                raise ValueError(f"{name!r} is no name of a set, which becomes a file; use letters, digits, . _ -")
        return value

    @model_validator(mode="after")
    def _turns_need_a_template(self) -> PanelConfig:
        if self.thinking is not None and self.template == "plain":
            raise ValueError("thinking has no effect on template: plain; it belongs to chat")
        for name, section in self.sets.items():
            if section.fewshot_as_multiturn is not None and self.template == "plain":
                raise ValueError(f"sets.{name}.fewshot_as_multiturn has no effect on template: plain; it needs chat")
        return self


def load_panel(path: str | Path) -> PanelConfig:
    """Reads a YAML panel; relative paths of sets are taken from the panel's own folder.

    Raises:
        ConfigError: file missing, not YAML, unknown key, wrong value; the message says where and what is accepted.
    """
    path = Path(path)
    data, written = read_mapping(path, "panel")
    panel = PanelConfig.parsed({"name": path.stem} | data, Places(str(path), written))
    sets = {}
    for name, section in panel.sets.items():
        paths = [str(path.parent / Path(one).expanduser()) for one in section.paths]
        folder = section.include_path and str(path.parent / Path(section.include_path).expanduser())
        sets[name] = section.model_copy(update={"path": paths or None, "include_path": folder})
    return panel.model_copy(update={"sets": sets})


TASK_FILES = (".yaml", ".yml", ".py", ".json", ".jsonl", ".csv")
"""What a task of lm-eval is made of; beside it lie caches and backups."""


@lru_cache
def panel_digest(path: Path) -> str | None:
    """Of a panel's settings and of the contents of the files that it names, wherever they are; read once a process.

    None where one of them is not here.
    """
    panel = load_panel(path)
    settings = _settings(panel)
    files: list[Path] = []
    for name, section in panel.sets.items():
        settings["sets"][name] |= {"path": None, "include_path": None}
        files += map(Path, section.paths)
        if section.include_path:
            files += sorted(file for file in Path(section.include_path).rglob("*") if file.suffix in TASK_FILES)
    if not all(file.is_file() for file in files):
        return None
    return hashlib.sha256(json.dumps([settings, sha256_of(files)], sort_keys=True).encode()).hexdigest()


def _settings(panel: PanelConfig) -> dict[str, Any]:
    """A setting of :data:`LATER` counts only where it is not at its default: it asks nothing else of a model then."""
    settings = panel.model_dump(mode="json")
    asked = panel.model_dump(mode="json", exclude_defaults=True)
    for every, own in ((settings, asked), *((settings["sets"][name], own) for name, own in asked["sets"].items())):
        for key in LATER & every.keys() - own.keys():
            del every[key]
    return settings
