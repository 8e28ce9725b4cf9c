"""Datasets of the ``datasets`` library: on the hub, or in a folder that ``save_to_disk`` wrote."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import islice
from typing import Any

from acclimate.config.source_schema import SourceSection
from acclimate.data.prepare.digests import Digests, identity_of
from acclimate.data.read.records import RecordSchema
from acclimate.data.read.rows import BATCH_ROWS, Row, printable, reason, table_columns, table_rows, without_nulls
from acclimate.types.errors import DataError, listed, nearest


class HubDataset:
    """A dataset on the Hugging Face hub, streamed: nothing is downloaded whole, and none of its code is run.

    Args:
        path: ``owner/name``. Its commit is looked up now, so that what is read and :meth:`identity` agree.

    Raises:
        DataError: it is not there, or cannot be reached.
    """

    settings: tuple[str, ...] = ("split", "subset", "revision", "fields")
    kind = ""

    def __init__(self, path: str, source: str, section: SourceSection) -> None:
        from huggingface_hub import HfApi

        try:
            self.commit = HfApi().dataset_info(path, revision=section.revision).sha
        except Exception as error:  # of the network, in many layers
            raise DataError(
                f"sources.{source}.path: '{path}' is no file or folder here, and as a hub id it cannot be read: "
                f"{reason(error)}."
            ) from None
        self.path, self.split, self.subset = path, section.split, section.subset
        self.name = f"{path} ({section.split})"
        self._read: Any = None  # the dataset as it is being read

    def rows(self, schema: RecordSchema, start: int, place: dict[str, Any] | None = None) -> Iterator[Row]:
        """Rows from ``start`` on. With ``place``, which :meth:`place` gave there, reading begins at its shard."""
        number = start
        try:
            from datasets import __version__, load_dataset

            dataset = load_dataset(self.path, name=self.subset, split=self.split, revision=self.commit, streaming=True)
            aside: tuple[str, ...] = ()
            if dataset.column_names is not None:
                columns, aside = table_columns(dataset.column_names, self.name, schema)
                dataset = dataset.select_columns(columns)
            if place is not None and place["datasets"] == __version__:  # another version's states may mean another row
                dataset.load_state_dict(place["state"])
                records = iter(dataset)
            else:
                records = islice(dataset, start, None)
            self._read = dataset
            for record in records:
                yield Row(number, f"{self.name} row {number + 1}", without_nulls(record), aside)
                number += 1
        except DataError:
            raise
        except Exception as error:  # of the network, of what the dataset is made of
            raise DataError(f"{self.name} cannot be read after row {number}: {reason(error)}.") from None

    def place(self) -> dict[str, Any] | None:
        """Where the row after the last one stands: its shard, and the rows before it there. Plain data for JSON; None
        before the first row."""
        if self._read is None:
            return None
        from datasets import __version__

        return {"datasets": __version__, "state": self._read.state_dict()}

    def identity(self, digests: Digests | None) -> list[Any]:
        return [self.name, self.subset, self.commit]


def is_saved_dataset(folder: str) -> bool:
    names = ("dataset_dict.json", "state.json")
    return any(os.path.isfile(os.path.join(folder, name)) for name in names)


class SavedDataset:
    """A folder written by ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk``, memory-mapped.

    Raises:
        DataError: ``split`` is not one of its splits.
    """

    kind = ""

    def __init__(self, folder: str, source: str, section: SourceSection) -> None:
        self.folder = folder
        self.settings: tuple[str, ...] = ("fields",)
        if os.path.isfile(listing := os.path.join(folder, "dataset_dict.json")):
            try:
                with open(listing, "rb") as stream:
                    splits = [str(split) for split in json.load(stream)["splits"]]
            except (OSError, ValueError, KeyError, TypeError):
                raise DataError(f"{listing} is damaged: it lists no splits.") from None
            if section.split not in splits:
                given = f"is '{section.split}'" if section.split else "is not given"
                raise DataError(
                    f"sources.{source}.split {given}; '{folder}' has {listed(splits)}."
                    + nearest(section.split or "", splits)
                )
            self.folder, self.settings = os.path.join(folder, str(section.split)), ("split", "fields")
        self.name = printable(self.folder)

    def rows(self, schema: RecordSchema, start: int) -> Iterator[Row]:
        from datasets import load_from_disk

        try:
            dataset = load_from_disk(self.folder).with_format("arrow")
            columns, aside = table_columns(dataset.column_names, self.name, schema)
            dataset = dataset.select_columns(columns)
            for first in range(start, len(dataset), BATCH_ROWS):
                yield from table_rows(dataset[first : first + BATCH_ROWS], first, f"{self.name}:row", aside)
        except DataError:
            raise
        except Exception as error:  # arrow's, JSON's, missing keys: whatever a damaged folder leads to
            raise DataError(f"{self.name} cannot be read as a saved dataset: {reason(error)}.") from None

    def identity(self, digests: Digests | None) -> list[Any]:
        try:
            files = sorted((entry.name, entry.path) for entry in os.scandir(self.folder) if entry.is_file())
            return [self.name, *([name, *identity_of(path, digests)] for name, path in files)]
        except OSError as error:
            raise DataError(f"{self.name} cannot be read: {reason(error)}.") from None
