"""What is published: the source archive builds, the wheel is complete, and it works away from the source tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
import yaml

import acclimate
from tests.fixtures.runs import settings

ROOT = Path(__file__).parents[1]
SEVERAL = """
from acclimate.cli import app
for command in ("methods", "doctor small.yaml", "train small.yaml", "report runs/run --output page.html"):
    app(command.split(), standalone_mode=False)
    print("done:", command)
"""
"""Verbs that load torch, with one start of it."""
pytestmark = pytest.mark.wheel


def run(*command: str | Path, cwd: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    found = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, f"{command}\n{found.stdout}\n{found.stderr}"
    return found.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``dist/`` with the source archive and the wheel that was built from it; the source tree is left as it is."""
    copy = tmp_path_factory.mktemp("source") / "tree"
    unwanted = shutil.ignore_patterns(".*", "assets", "*.egg-info", "__pycache__")
    outputs = {str(ROOT): {"build", "runs"}}  # rooms of the package have these names too
    shutil.copytree(ROOT, copy, ignore=lambda folder, names: unwanted(folder, names) | outputs.get(folder, set()))
    (copy / "runs" / "mine").mkdir(parents=True)
    (copy / "runs" / "mine" / "config.yaml").write_text("name: mine")
    run(
        sys.executable, "-m", "build", "--no-isolation", cwd=copy
    )  # with what pyproject.toml names, which pip installed
    return copy / "dist"


def test_contents(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (meta,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = message_from_string(archive.read(meta).decode())
        entry_points = archive.read(meta.replace("METADATA", "entry_points.txt")).decode()
    package = ROOT / "src" / "acclimate"
    files = {
        path.relative_to(ROOT / "src").as_posix()
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {name for name in names if ".dist-info/" not in name} == files
    assert {"acclimate/py.typed", "acclimate/cli/main.py"} < files
    assert any(name.startswith("acclimate/reports/templates/") for name in files)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "acclimate = acclimate.cli:main" in entry_points
    assert metadata["Version"] == acclimate.__version__
    assert f"version: {acclimate.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert metadata["Requires-Python"] == "<3.14,>=3.10"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Description-Content-Type"] == "text/markdown"
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        sources = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "LICENSE",
        "CITATION.cff",
        "constraints.txt",
        "mkdocs.yml",
        "docs/index.md",
        "tests/conftest.py",
        "tests/fixtures/pico.py",
        "recipes/quickstart.yaml",
    } < sources
    assert not [name for name in sources if name.startswith("runs") or name.endswith(".pyc")]


def test_installed_away_from_the_source(dist: Path, pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """A new environment that borrows the dependencies, but has acclimate from the wheel."""
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    # a path alone: the .pth files of the other environment, with its editable acclimate, are not read
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (wheel,) = dist.glob("*.whl")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--ignore-installed")
    run(*pip, wheel, cwd=tmp_path)
    where = run(python, "-c", "import acclimate; print(acclimate.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(site)

    acclimate = tmp_path / "venv" / "bin" / "acclimate"
    assert "train" in run(acclimate, "--help", cwd=tmp_path)
    run(acclimate, "init", cwd=tmp_path)
    assert (tmp_path / "acclimate.yaml").is_file()
    small = settings(pico_folder, corpora, tmp_path / "runs", budget={"steps": 2, "batch_tokens": 128})
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(small))
    said = run(python, "-c", SEVERAL, cwd=tmp_path)
    assert "replay" in said.partition("done: methods\n")[0]
    assert "Nothing here would stop a run." in said
    assert said.count("done: ") == 4
    assert "<html" in (tmp_path / "page.html").read_text()
