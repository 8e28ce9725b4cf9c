"""The documentation as a site: no warning, nothing from elsewhere, a search that needs no server, a phone's width."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reports.test_browser import CHROMIUM, FLAGS

ROOT = Path(__file__).parents[1]
PAGES = (
    "index.html",
    "reference/configuration.html",
    "benchmarks/2026-11-22-comparison.html",
    "howto/gate.html?q=interval",
)
# A headless window is never narrower than 500 pixels; frames are. The search answers after everything else.
WRAPPER = """<!doctype html><link rel=icon href="data:,"><body>%s<script>
const frames = [...document.querySelectorAll("iframe")], root = item => item.contentDocument.documentElement;
const answer = () => frames.at(-1).contentDocument.querySelector(".md-search-result__meta").textContent.trim();
const show = () => { clearInterval(timer); document.body.textContent = JSON.stringify({
  widths: frames.map(item => [root(item).clientWidth, root(item).scrollWidth]),
  elsewhere: frames.flatMap(item => item.contentWindow.performance.getEntriesByType("resource"))
    .map(item => item.name).filter(name => !name.startsWith("file:") && !name.startsWith("data:")),
  found: answer(),
}); };
let looks = 0, timer;
addEventListener("load", () => timer = setInterval(() => (/matching/.test(answer()) || ++looks == 50) && show(), 100));
</script>"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_builds_without_a_warning_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = {path.relative_to(site).with_suffix("").as_posix(): path.read_text() for path in site.rglob("*.html")}
    written = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    measured = {path.relative_to(ROOT).with_suffix("").as_posix() for path in (ROOT / "benchmarks").rglob("*.md")}
    assert written | measured <= set(pages)
    for name, page in pages.items():
        assert not re.findall(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^ >]*", page), (
            name
        )
    assert "src/acclimate/methods/mol.py" in pages["reference/methods"]  # a link out of docs/
    assert (site / "src" / "acclimate" / "methods" / "mol.py").is_file()


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_from_the_disk_on_a_phone(site: Path, tmp_path: Path) -> None:
    """Nothing scrolls sideways, the console stays empty, and the search finds, without a server or a network."""
    frames = "".join(f'<iframe src="{page}" style="width:390px;height:900px;border:0"></iframe>' for page in PAGES)
    (site / "phone.html").write_text(WRAPPER % frames)
    flags = (*FLAGS, "--virtual-time-budget=9000", "--allow-file-access-from-files", f"--user-data-dir={tmp_path}")
    command = [str(CHROMIUM), *flags, "--dump-dom", (site / "phone.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    seen = json.loads(re.findall(r"<body>(\{.*\})</body>", done.stdout, re.S)[0])
    assert seen["widths"] == [[390, 390]] * len(PAGES)
    assert seen["elsewhere"] == []
    assert re.search(r"[1-9]\d* matching documents", seen["found"])
    assert not [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
