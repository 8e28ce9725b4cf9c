"""The table of rooms in docs/architecture.md, held true over the import statements."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "acclimate"
FREE = {
    "types",
    "chat_template",
    "errors",
    "explain",
    "apart",
    "digest",
    "files",
    "source_schema",
    "evaluation_schema",
    "schema",
    "yamlfile",
    "config",
    "tensorfiles",
}
"""Leaves that every room may use."""

ALLOWED: dict[str, set[str]] = {
    "types": set(),
    "chat_template": set(),
    "errors": set(),
    "digest": set(),
    "files": {"errors"},
    "explain": {"errors"},
    "apart": {"explain"},
    "source_schema": {"apart", "errors"},
    "evaluation_schema": {"apart", "source_schema"},
    "schema": {"apart", "errors", "source_schema", "explain"},
    "yamlfile": {"errors"},
    "config": {"errors", "explain", "files", "schema", "yamlfile"},
    "data": set(),
    "model": set(),
    "parallel": set(),
    "objective": {"model", "parallel"},
    "tensorfiles": set(),
    "gradient": {"parallel"},
    "statistics": {"gradient", "model"},
    "methods": {"objective", "gradient", "statistics", "weights"},
    "weights": {"model", "parallel", "evaluate", "train", "provenance"},
    "registry": {"methods", "objective"},
    "plan": {"registry", "statistics"},
    "evaluate": {"model", "objective", "parallel"},
    "train": {"model", "objective", "gradient", "evaluate", "parallel"},
    "report": {"evaluate"},
    "gate": {"evaluate", "report"},
    "provenance": {""},
    "template": set(),
    "catalogue": {"registry", "statistics"},
    "assembly": {
        "data", "model", "parallel", "objective", "gradient", "evaluate", "train", "plan", "run_folder", "statistics",
    },
    "preflight": {"assembly", "data", "evaluate", "model", "plan", "run_folder"},
    "run": {
        "assembly", "data", "model", "parallel", "evaluate", "train", "plan", "preflight", "provenance", "report",
        "run_folder",
    },
    "run_folder": {"evaluate", "provenance"},
    "record": {
        "assembly", "data", "model", "objective", "parallel", "plan", "provenance", "run_folder", "statistics", "train",
    },
    "demo": {"evaluate", "model", "provenance", "report", "run", "run_folder"},
    "chat": {"assembly", "data", "evaluate", "model", "run", "run_folder"},
    "panel": {"assembly", "data", "evaluate", "model", "objective", "provenance", "report", "run", "run_folder"},
    "doctor": {"", "model", "preflight"},
    "compare": {
        "data", "evaluate", "panel", "parallel", "plan", "provenance", "registry", "report", "run_folder", "statistics",
    },
    "document": {"compare", "gate", "panel", "registry"},
    "cli": {
        "", "parallel", "report", "run", "demo", "preflight", "template", "catalogue", "chat", "doctor", "gate",
        "panel", "record", "run_folder", "statistics", "compare",
    },
    "__main__": {"cli"},
    "": set(),
}  # fmt: skip


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


def test_the_loop_knows_no_method_term_or_transform() -> None:
    for node in ast.walk(ast.parse((SOURCE / "train" / "loop.py").read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert not re.match(r"acclimate\.(methods|objective|gradient|registry)", node.module)


def test_torch_is_not_imported_where_files_are_enough() -> None:
    light = [SOURCE / f"{name}.py" for name in ("config", "explain", "errors", "template")]
    for path in (*light, *(SOURCE / "cli").rglob("*.py")):
        tree = ast.parse(path.read_text())
        top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not any("torch" in ast.dump(node) or "transformers" in ast.dump(node) for node in top)
    for path in (SOURCE / "report").rglob("*.py"):
        assert "import torch" not in path.read_text()


def test_judging_a_run_needs_no_torch() -> None:
    """The gate and a comparison of runs read files; loading torch would take longer than all they do."""
    program = "import sys, acclimate.gate, acclimate.evaluate.comparison; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_file_sizes_and_names() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in SOURCE.rglob("*.py")}
    assert not {str(path): n for path, n in lengths.items() if n > 350}
    assert sorted(lengths.values())[len(lengths) // 2] <= 130
    assert not [path for path in lengths if re.search(r"utils|common|helpers|misc|manager", path.name)]
    assert len((SOURCE / "types" / "central.py").read_text().splitlines()) <= 200


def test_no_unfinished_code() -> None:
    for path in SOURCE.rglob("*.py"):
        assert not re.search(r"NotImplementedError|TODO|FIXME|XXX", path.read_text()), path
