"""The schema of one source: where its text is, how it is read, routed and shared."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Final, Literal, cast, get_args
from urllib.parse import unquote

from pydantic import Field, ValidationInfo, field_validator, model_validator

from acclimate.config.apart import Apart
from acclimate.config.chosen.replay import ReplaySection
from acclimate.config.chosen.section import Section
from acclimate.config.chosen.stages import share_stages
from acclimate.types.errors import nearest

__all__ = ["AUTO", "FIELDS", "GROUPINGS", "HUB_ID", "LEARNED_ROLES", "SELF", "Section", "SourceSection", "TextFormat"]

CREDENTIAL = re.compile(r"(?<=://)(?:[^/\s]*@|[^@\s]*:[^@\s]*@)|(?<=[?&#])[^?&#=/*\s]+=[^&#\s'\"]*")
"""What may be a secret in a URL: ``user@`` or ``key:secret@`` before the host, and what a query says."""

TextFormat = Literal["auto", "text", "messages", "prompt_completion"]
FIELDS: Mapping[str, tuple[str, ...]] = {
    "messages": ("messages",),
    "prompt_completion": ("prompt", "completion"),
    "text": ("text",),
}
"""Format -> the fields a record of that format has. ``auto`` takes the first format whose fields are all there."""

FieldName = Literal["text", "messages", "prompt", "completion"]
Kind = Literal["csv", "json", "jsonl", "parquet", "tsv"]
"""Of files with records."""
KINDS: tuple[str, ...] = get_args(Kind)
Names = str | list[str]

GROUPINGS = ("auto", "file", "folder", "none")
"""What ``group`` may be beside the name of a field."""
LEARNED_ROLES = ("text", "completion", "assistant")
"""Roles that are learned where ``routes`` does not say which."""
HUB_ID = r"\w[\w.-]*/[\w.-]+"
AUTO: Final = "auto"
SELF = "self"
"""The path of rows that the base writes itself; a folder of that name is ``./self``."""
OF_FILES = ("split", "subset", "revision", "format", "fields", "pairs", "routes", "on_bad_row", "streaming")
"""What says how files are read; rows that the base writes are read in one way."""


class SourceSection(Section):
    """One corpus."""

    path: Annotated[str | list[str], Apart.INPUT] = Field(
        min_length=1,
        description="file, folder, glob or URL of .txt, .md, .jsonl, .json, .csv, .tsv, .parquet, and with the extra "
        "`documents` .html, .pdf, .docx; a folder written by save_to_disk; a hub id; or a list of them; self: rows "
        "that the base writes (docs/howto/replay.md)",
    )
    replay: ReplaySection | None = Field(None, description="path: self: how many rows the base writes, and from what")
    split: str | None = Field(None, min_length=1, description="split of a hub id or of a saved DatasetDict")
    subset: str | None = Field(None, min_length=1, description="configuration of a hub id")
    revision: str | None = Field(None, min_length=1, description="revision of a hub id; default: the newest")
    share: Annotated[float, Field(ge=0, le=1)] | dict[float, float] | Literal["auto"] | None = Field(
        AUTO,
        description="part of all trained tokens, normalised over used sources; 0: measured, but not trained on; stages "
        "by part of the run: {0: 0.2, 0.8: 0.5}; auto: half of what is left to the sources of route general, half to "
        "the others, by size among each; null: equal parts of what is left",
    )
    route: str | None = Field(None, description="whose loss terms its tokens get; default: the source's own name")
    terms: dict[str, float] | None = Field(
        None, description="loss terms and weights of this source's tokens, in place of the method's"
    )
    format: TextFormat = "auto"
    fields: dict[Literal[FieldName, Kind], Names | dict[FieldName, Names]] | None = Field(
        None,
        min_length=1,
        description="names that these fields have in the source's records: {text: body}; the columns of a list, for "
        "prompt alone, are joined by line breaks: {prompt: [instruction, input], completion: output}; or one such "
        "mapping a kind of files: {csv: {prompt: question, completion: answer}}",
    )
    pairs: Literal["auto", "chat", "joined"] = Field(
        "auto",
        description="prompt and completion that are two strings: chat puts them through the chat template, joined "
        "learns them as they stand; auto: chat where the model has a template",
    )
    on_bad_row: Literal["fail", "skip"] = Field(
        "fail", description="skip leaves out rows that are no document, and counts them by reason"
    )
    max_bad_rows: int = Field(100, ge=1, description="on_bad_row: skip fails beyond this many")
    routes: dict[str, str] | None = Field(
        None,
        min_length=1,
        description="chat rows: route of each role's tokens; roles not named are context only (default: assistant)",
    )
    thinking: Literal["on", "off", "mixed"] | None = Field(None, description="mode of a hybrid model's chat template")
    append_eos: bool = Field(True, description="end plain documents with the tokenizer's eos token")
    too_long: Literal["keep_prompt", "drop"] = Field(
        "keep_prompt",
        description="chats and pairs longer than data.sequence_length: learn every piece after its prompt, cut from "
        "its left where it must be, or leave them out of training",
    )
    heldout: Annotated[float | int, Field(ge=0)] | Literal["auto"] = Field(
        AUTO,
        description="documents held out: a share below 1, or a count; auto: 5 %, at least 24 (72 of role general or "
        "chat), at most 400 and at most half",
    )
    max_documents: int | None = Field(
        None, ge=1, description="use a seeded subsample of this many documents; of a stream, the first so many"
    )
    streaming: bool = Field(
        False, description="read, tokenise and pack while training, in constant memory and from the first step on"
    )
    shuffle_buffer: int | None = Field(
        None, ge=1, description="streaming: documents that are shuffled among each other (default: 4,096)"
    )
    group: str = Field(
        "auto",
        min_length=1,
        description="documents that belong together are held out together, and drawn together for an interval: auto "
        "(near duplicates, and files of several documents), file, folder, none, or the name of a field of the records",
    )
    role: Literal["domain", "general", "chat"] | None = Field(
        None, description="how reports read this source; default: by route and format"
    )

    @field_validator("path", mode="before")
    @classmethod
    def _no_credentials(cls, value: Any) -> Any:
        if isinstance(value, list) and "" in value:
            raise ValueError("one of the paths is empty; leave it out")
        # What stands here is written to config.yaml and printed in errors, so a secret is not let in at all.
        for path in value if isinstance(value, list) else [value]:
            urls = (
                ["".join(url.split()) for url in (path, unquote(path)) if "://" in url] if isinstance(path, str) else []
            )
            if any(CREDENTIAL.search(url) for url in urls):
                raise ValueError(
                    "a URL with a user, password or query may hold a secret, which run folders would keep; give the "
                    "bare URL and let its driver find credentials: in environment variables (AWS_ACCESS_KEY_ID, "
                    "GOOGLE_APPLICATION_CREDENTIALS, HF_TOKEN, FSSPEC_S3_KEY) or in ~/.config/fsspec/"
                )
        return value

    @model_validator(mode="after")
    def _fields_of_one_format(self) -> SourceSection:
        if self.fields is not None:
            flat = [name for name in self.fields if name not in KINDS]
            if flat and self.fields_by_kind:
                raise ValueError(
                    f"fields names the kind '{next(iter(self.fields_by_kind))}' beside the field '{flat[0]}'; give "
                    f"every kind a mapping of its own: {{csv: {{{flat[0]}: ...}}}}"
                )
            for kind, names in self.fields.items():
                if (kind in KINDS) != isinstance(names, dict):
                    what = "{prompt: question, completion: answer}" if kind in KINDS else "one name"
                    raise ValueError(f"fields.{kind} is {names!r}; accepted: {what}")
            for of in self.fields_by_kind or ("",):
                _check_fields(self.fields_of(of), f"fields.{of}".rstrip("."), self.format)
        if self.on_bad_row == "fail" and self.max_bad_rows != 100:
            raise ValueError("max_bad_rows has no effect on on_bad_row: fail; it belongs to skip")
        return self

    @model_validator(mode="after")
    def _pairs_have_an_effect(self) -> SourceSection:
        if self.pairs != "auto" and self.format in ("text", "messages"):
            raise ValueError(f"pairs has no effect on format: {self.format}, which has none; leave it out")
        if self.pairs == "chat" and (named := {"prompt", "completion"} & set(self.routes or ())):
            raise ValueError(
                f"routes names the role '{min(named)}', which a pair has no more in a chat (its roles are user and "
                "assistant); keep one"
            )
        return self

    @model_validator(mode="after")
    def _buffer_is_used(self) -> SourceSection:
        if self.shuffle_buffer is not None and not self.streaming:
            raise ValueError("shuffle_buffer has no effect without streaming: true")
        return self

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        """``general: self`` is ``general: {path: self}``."""
        return {"path": SELF} if value == SELF else value

    @model_validator(mode="after")
    def _of_rows_that_the_base_writes(self) -> SourceSection:
        if SELF in self.paths and len(self.paths) > 1:
            raise ValueError(
                "path names self among others; rows that the base writes are a source of their own (a folder of that "
                "name is ./self)"
            )
        if not self.is_self:
            if self.replay is not None:
                raise ValueError(
                    "replay has no effect without path: self; it says how the base writes rows, and these are given"
                )
            return self
        fields = type(self).model_fields
        given = [name for name in OF_FILES if getattr(self, name) != fields[name].default]
        if given:
            why = "they are written before training" if given[0] == "streaming" else "the base writes them in its form"
            raise ValueError(f"{given[0]} has no effect on path: self, since {why}; leave it out")
        return self

    @field_validator("share", "heldout", mode="before")
    @classmethod
    def _number_or_auto(cls, value: Any, info: ValidationInfo) -> Any:
        """One sentence, where a union would give one a branch."""
        most, accepted = (1.0, "a part from 0 to 1, stages as {0: 0.2, 0.8: 0.5}, or auto") if (
            info.field_name == "share"
        ) else (math.inf, "a share below 1, a count of documents, or auto")  # fmt: skip
        if isinstance(value, Mapping) and info.field_name == "share":
            return share_stages(value)
        if value == AUTO or (value is None and info.field_name == "share"):
            return value
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if isinstance(value, bool) or not 0 <= number <= most or number == math.inf:
            raise ValueError(f"{value!r} is not accepted; accepted: {accepted}.{nearest(str(value), [AUTO])}")
        return value

    @field_validator("terms")
    @classmethod
    def _terms_not_empty(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        if value is not None and (not value or any(weight <= 0 for weight in value.values())):
            raise ValueError("needs at least one loss term, each with a weight above 0")
        return value

    @property
    def fields_by_kind(self) -> tuple[str, ...]:
        """The kinds of files that have fields of their own."""
        return tuple(name for name in self.fields or () if name in KINDS)

    def fields_of(self, kind: str) -> dict[str, Names]:
        """What ``fields`` says of the files of a kind; of a kind that it leaves out, nothing."""
        if self.fields_by_kind:
            return dict(cast("dict[str, Names]", (self.fields or {}).get(cast(Kind, kind), {})))
        return {name: cast(Names, names) for name, names in (self.fields or {}).items()}

    def share_at(self, part: float) -> float | Literal["auto"] | None:
        """``share`` at this part of the run."""
        if not isinstance(self.share, dict):
            return self.share
        return self.share[max(place for place in self.share if place <= part)]

    @property
    def mean_share(self) -> float | Literal["auto"] | None:
        """``share``, of stages the mean over the run."""
        if not isinstance(self.share, dict):
            return self.share
        ends = [*list(self.share)[1:], 1.0]
        return sum((end - part) * share for (part, share), end in zip(self.share.items(), ends, strict=True))

    @property
    def group_field(self) -> str | None:
        """The field of the records that names each one's group."""
        return None if self.group in GROUPINGS else self.group

    @property
    def learned_roles(self) -> tuple[str, ...]:
        """Roles that have a route."""
        return LEARNED_ROLES if self.routes is None else tuple(self.routes)

    @property
    def paths(self) -> list[str]:
        return [self.path] if isinstance(self.path, str) else self.path

    @property
    def is_self(self) -> bool:
        """Whether its rows are written by the base."""
        return self.path in (SELF, [SELF])

    def may_be_hub_id(self, path: str) -> bool:
        return re.fullmatch(HUB_ID, path) is not None and not os.path.exists(path)

    def is_hub_id(self, path: str) -> bool:
        """Only where a ``split`` asks for it: a local path with a slip of the pen never reaches the network."""
        return self.split is not None and self.may_be_hub_id(path)


def formats_of(fields: Collection[str]) -> list[str]:
    """The formats whose fields these are.

    >>> formats_of(["prompt", "completion"])
    ['prompt_completion']
    """
    return [kind for kind, names in FIELDS.items() if set(names) & set(fields)]


def _check_fields(fields: Mapping[str, Names], at: str, form: str) -> None:
    """
    Raises:
        ValueError: they are of several formats or of another one than the source's, or several where one is read.
    """
    formats = formats_of(fields)
    for field, names in fields.items():
        if isinstance(names, list) and (field != "prompt" or not names or len(set(names)) < len(names)):
            raise ValueError(
                f"{at}.{field} is {names}; one name is accepted"
                + (", or a list of different names" if field == "prompt" else "; only prompt joins several")
            )
    if not formats:
        raise ValueError(f"{at} is empty; leave it out")
    if len(formats) > 1:
        raise ValueError(f"{at} names fields of {' and '.join(formats)}; a source has records of one format")
    if form not in ("auto", formats[0]):
        raise ValueError(f"{at} names fields of {formats[0]}, but format is {form}; keep one")
