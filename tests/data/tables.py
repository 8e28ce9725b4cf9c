"""The same records in every format that a source can have."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import zstandard

Records = Sequence[dict[str, Any]]


def json_lines(records: Records) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def separated(records: Records, delimiter: str = ",") -> bytes:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(records[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(records)
    return stream.getvalue().encode()


def parquet(records: Records, row_group_size: int = 4) -> bytes:
    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(records)), stream, row_group_size=row_group_size)
    return stream.getvalue()


def array(records: Records) -> bytes:
    return json.dumps(records, indent=1).encode()


WRITERS: dict[str, Callable[[Records], bytes]] = {
    ".jsonl": json_lines,
    ".jsonl.gz": lambda records: gzip.compress(json_lines(records)),
    ".jsonl.zst": lambda records: zstandard.compress(json_lines(records)),
    ".json": array,
    ".json.gz": lambda records: gzip.compress(array(records)),
    ".csv": separated,
    ".tsv": lambda records: separated(records, "\t"),
    ".csv.gz": lambda records: gzip.compress(separated(records)),
    ".parquet": parquet,
}


def write(path: Path, records: Records) -> Path:
    """By the path's extensions; a path without one becomes a folder of ``save_to_disk``."""
    extension = "".join(path.suffixes)
    if extension:
        path.write_bytes(WRITERS[extension](records))
    else:
        from datasets import Dataset

        Dataset.from_list(list(records)).save_to_disk(path)
    return path
