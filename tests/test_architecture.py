"""The table of rooms in docs/explanation/architecture.md, held true over the import statements."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import acclimate

SOURCE = Path(__file__).parents[1] / "src" / "acclimate"
FREE = {"disk", "types"}
"""Rooms that every room may use."""

ALLOWED: dict[str, set[str]] = {
    "": set(),
    "paired": set(),
    "types": set(),
    "disk": {"types"},
    "kernels": set(),
    "config": set(),
    "data": {"config"},
    "model": {"config", "kernels"},
    "parallel": {"config"},
    "runs": {"", "config", "paired"},
    "gates": {"config", "paired", "runs"},
    "laws": {"paired"},
    "gradient": {"parallel"},
    "objective": {"kernels", "model", "parallel"},
    "measurement": {"config", "data", "kernels", "model", "objective", "paired", "parallel"},
    "reports": {"config", "gates", "paired", "runs"},
    "stores": {"gradient", "kernels", "model"},
    "training": {"config", "gradient", "kernels", "measurement", "model", "objective", "paired", "parallel", "runs"},
    "methods": {"gradient", "objective", "stores", "training"},
    "build": {
        "config",
        "data",
        "gradient",
        "kernels",
        "measurement",
        "methods",
        "model",
        "objective",
        "paired",
        "parallel",
        "runs",
        "stores",
        "training",
    },
    "verbs": {
        "",
        "build",
        "config",
        "data",
        "gates",
        "kernels",
        "laws",
        "measurement",
        "methods",
        "model",
        "objective",
        "paired",
        "parallel",
        "reports",
        "runs",
        "stores",
        "training",
    },
    "front": {
        "build",
        "config",
        "data",
        "gates",
        "gradient",
        "measurement",
        "model",
        "objective",
        "paired",
        "parallel",
        "runs",
        "stores",
        "verbs",
    },
    "trl": {
        "config",
        "data",
        "front",
        "measurement",
        "model",
        "objective",
        "paired",
        "parallel",
        "training",
        "verbs",
    },
    "demo": {"config", "measurement", "model", "reports", "runs", "verbs"},
    "cli": {"", "build", "config", "demo", "gates", "methods", "parallel", "reports", "runs", "stores", "verbs"},
    "__main__": {"cli"},
}
"""Room -> the rooms it imports from, lowest floor first."""


def room(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [node.module] if node.module != "acclimate" else [f"acclimate.{alias.name}" for alias in node.names]
        for name in names:
            if name == "acclimate" or name.startswith("acclimate."):
                part = [*name.split("."), ""][1]
                found.add("" if part.startswith("__") else part)
    return found


def test_rooms_import_only_what_the_table_allows() -> None:
    seen = set()
    for path in SOURCE.rglob("*.py"):
        here = room(path)
        assert here in ALLOWED, f"{path.relative_to(SOURCE)} is in a room that the table does not know"
        for target in imports(path) - {here} - FREE:
            assert target in ALLOWED[here], f"{path.relative_to(SOURCE)} imports {target or 'the package'}"
            seen.add((here, target))
    assert {(a, b) for a, targets in ALLOWED.items() for b in targets if b not in FREE} == seen, "an arrow is gone"


def test_few_rooms_on_few_floors() -> None:
    """A room's floor is one above the highest room that it imports from; a circle has none."""
    floors: dict[str, int] = {}
    left = {here: targets | (FREE - {here} if here not in FREE else set()) for here, targets in ALLOWED.items()}
    while ready := [here for here, targets in left.items() if targets <= floors.keys()]:
        for here in ready:
            floors[here] = 1 + max((floors[target] for target in left.pop(here)), default=0)
    assert not left, f"a circle among {sorted(left)}"
    assert len(floors) <= 28
    assert max(floors.values()) <= 16


def test_few_files_in_a_folder() -> None:
    folders = [SOURCE, *(path for path in SOURCE.rglob("*") if path.is_dir())]
    counts = {path: len(list(path.glob("*.py"))) for path in folders if path != SOURCE / "methods"}
    assert counts.pop(SOURCE) <= 4
    assert not {str(path): count for path, count in counts.items() if count > 12}


def test_no_room_has_the_name_of_a_public_function() -> None:
    """``from acclimate import train`` gives what trains. ``paired`` and ``runs`` are public as rooms."""
    public = set(acclimate.__all__) - {"__version__", "paired", "runs"}
    planned = {"measure", "report", "plan", "replay", "adapt", "batch", "causal", "dial"}
    assert not ALLOWED.keys() & (public | planned)
    assert all(getattr(acclimate, name).__name__ == name for name in public)
    stub = re.findall(r"import (\w+) as", (SOURCE / "__init__.pyi").read_text())
    assert sorted(stub) == sorted(public | {"paired", "runs"})


def test_the_loop_knows_no_method_term_or_transform() -> None:
    for node in ast.walk(ast.parse((SOURCE / "training" / "loop.py").read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert not re.match(r"acclimate\.(methods|objective|gradient)", node.module)


def test_torch_is_not_imported_where_files_are_enough() -> None:
    light = [*(SOURCE / "config").rglob("*.py"), SOURCE / "types" / "errors.py"]
    for path in (*light, *(SOURCE / "cli").rglob("*.py")):
        tree = ast.parse(path.read_text())
        top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not any("torch" in ast.dump(node) or "transformers" in ast.dump(node) for node in top)
    for path in (SOURCE / "reports").rglob("*.py"):
        assert "import torch" not in path.read_text()


def test_judging_a_run_needs_no_torch() -> None:
    """The gate and a comparison of runs read files; loading torch would take longer than all they do."""
    rooms = "acclimate.gates, acclimate.runs.comparison, acclimate.runs.tidy_table"
    program = f"import sys, {rooms}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_only_runs_knows_a_file_name_of_the_run_folder() -> None:
    """No text that *is* such a name, and no path that ends in a folder's name or in a set's file; prose may name them.

    The demo's corpora are no files of a run, and what opens a model says what to do with a folder that is one.
    """
    others = {SOURCE / "demo" / "corpora.py", SOURCE / "model" / "checkpoint" / "opening.py"}
    found = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in SOURCE.rglob("*.py")
        if room(path) != "runs" and path not in others
        for node in ast.walk(ast.parse(path.read_text()))
        if spells(node)
    ]
    assert found == []


def test_what_spells_a_file_name() -> None:
    yes = (
        "run / 'eval'",
        "f(run, 'summary.json')",
        "run / 'panels' / name",
        "folder / f'{name}.jsonl'",
        "'panel.json'",
    )
    no = ("'the file summary.json'", "config['model']", "f'eval/{name}.jsonl'", "'{name}.jsonl is missing'")
    assert [any(map(spells, ast.walk(ast.parse(line)))) for line in (*yes, *no)] == [True] * 5 + [False] * 4


FILES = {
    "config.yaml", "provenance.json", "data.json", "metrics.jsonl", "summary.json", "generations.json",
    "interpolation.json", "retain.json", "trackers.json", "measured.json", "check.json", "panel.json", "report.html",
}  # fmt: skip
FOLDERS = {"eval", "search", "memorisation", "panels", "model", "checkpoints", "best", "tensorboard"}


def spells(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return node.value in FILES
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        end = node.right.values[-1] if isinstance(node.right, ast.JoinedStr) else node.right
        text = end.value if isinstance(end, ast.Constant) else ""
        return text in FOLDERS or (isinstance(text, str) and text.endswith(".jsonl"))
    return False


def test_a_metric_is_spelt_where_it_is_made() -> None:
    """In the table of metrics, and in what holds its column: everything else reads the table."""
    files = [path.relative_to(SOURCE) for path in SOURCE.rglob("*.py") if "kl_base_tuned" in path.read_text()]
    assert len(files) <= 4, files


def test_file_sizes_and_names() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in SOURCE.rglob("*.py")}
    assert not {str(path): n for path, n in lengths.items() if n > 350}
    assert sorted(lengths.values())[len(lengths) // 2] <= 130
    assert not [path for path in lengths if re.search(r"utils|common|helpers|misc|manager", path.name)]
    assert len((SOURCE / "types" / "central.py").read_text().splitlines()) <= 200


def test_no_unfinished_code() -> None:
    for path in SOURCE.rglob("*.py"):
        assert not re.search(r"NotImplementedError|TODO|FIXME|XXX", path.read_text()), path
