"""A panel's result as files, and as a table for the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from acclimate.errors import UsageError
from acclimate.files import write_text
from acclimate.panel.evaluate import PanelResult
from acclimate.panel.pair import Pair
from acclimate.provenance import versions, write_json

TITLES = {
    "accuracy": "accuracy",
    "accuracy_norm": "accuracy/char",
    "word_nats": "nats/word",
    "bits_per_byte": "bits/byte",
    "kl_base_tuned": "KL(base||model)",
    "kl_tuned_base": "KL(model||base)",
    "top1_agreement": "top-1 agreement",
    "entropy_change": "entropy change",
}


def check_output(folder: Path) -> None:
    """A folder that is new, empty, or holds an earlier panel."""
    if folder.exists() and not (folder.is_dir() and ((folder / "panel.json").is_file() or not any(folder.iterdir()))):
        raise UsageError(f"--output: '{folder}' holds something that is no panel; give a new folder.")


def write_panel(folder: Path, pair: Pair, result: PanelResult) -> None:
    """``SET.jsonl`` with a line an item, then ``panel.json``: what was measured on what, and its numbers."""
    check_output(folder)
    for name, found in result.sets.items():
        write_text(folder / f"{name}.jsonl", "".join(json.dumps(line) + "\n" for line in found.items))
    write_json(folder / "panel.json", document(pair, result))


def document(pair: Pair, result: PanelResult) -> dict[str, Any]:
    """Plain data: identity, counts and records."""
    sets = {
        name: {
            "kind": found.section.kind,
            "role": found.section.role,
            "digest": found.digest,
            "items": len(found.items),
            "dropped": found.dropped,
            "truncated": found.truncated,
        }
        for name, found in result.sets.items()
    }
    panel = result.panel
    settings = {"name": panel.name, "digest": result.digest, "template": panel.template, "thinking": panel.thinking}
    return {
        "panel": settings | {"seed": panel.seed, "sequence_length": panel.sequence_length},
        **pair.identity,
        "versions": versions(),
        "sets": sets,
        "averages": result.averages(),
        "records": result.records,
    }


def panel_table(result: PanelResult, name: str) -> Table:
    """Base, model and the raw difference of every set and metric; drift has no base."""
    table = Table(pad_edge=False, header_style="bold", box=box.SIMPLE_HEAD, caption=_caption(result))
    table.add_column("set", no_wrap=True)
    table.add_column("metric")
    for column in ("n", "base", Text(name), "difference"):
        table.add_column(column, justify="right")
    for set_name, found in result.sets.items():
        values = {(record["metric"], record["run"]): record for record in found.records}
        for metric in dict.fromkeys(metric for metric, _ in values):
            tuned, base = values[metric, "model"], values.get((metric, "base"))
            cells = [f"{base['value']:.4f}" if base else "", f"{tuned['value']:.4f}"]
            cells.append(f"{tuned['value'] - base['value']:+.4f}" if base else "")
            table.add_row(Text(set_name), TITLES[metric], str(tuned["n"]), *cells)
    for role, sides in result.averages().items():
        difference = f"{sides['model'] - sides['base']:+.4f}"
        cells = [f"{sides['base']:.4f}", f"{sides['model']:.4f}", difference]
        table.add_row(Text(f"mean of {role} texts", style="bold"), "bits/byte", "", *cells)
    return table


def _caption(result: PanelResult) -> str:
    notes = ["KL and entropy in nats/token", f"template: {result.panel.template}"]
    notes += [f"thinking: {result.panel.thinking}"] if result.panel.thinking else []
    for name, found in result.sets.items():
        notes += [f"{name}: {count} left out ({reason})" for reason, count in found.dropped.items()]
        notes += [f"{name}: {found.truncated} contexts lost their beginning"] if found.truncated else []
    return "; ".join(notes)
