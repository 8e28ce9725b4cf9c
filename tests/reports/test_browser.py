"""The page in a real browser: a phone's width, nothing loaded, nothing in the console."""

from __future__ import annotations

import csv
import http.server
import io
import json
import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from acclimate.reports import write_report
from acclimate.reports.panel_page import write_panel_page
from acclimate.runs.scores import read_lines
from acclimate.verbs.compare.pages import write_pages
from tests.compare.tables import row, texts
from tests.compare.test_pages import outcome
from tests.reports.runs import add_change, add_memorisation, add_panel, three_methods, write_run

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--enable-logging=stderr", "--virtual-time-budget=4000",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--window-size=800,900", "--hide-scrollbars",
)  # fmt: skip
# A headless window is never narrower than 500 pixels; a frame is.
WRAPPER = """<!doctype html><link rel=icon href="data:,"><body>
<iframe src=page.html style="width:390px;height:3000px;border:0"></iframe><script>
window.onload = () => {
  const frame = document.querySelector("iframe").contentWindow, root = frame.document.documentElement;
  frame.document.querySelectorAll("details").forEach(item => item.open = true);
  const channels = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = item => {
    for (; item; item = item.parentElement) {
      const found = channels(frame.getComputedStyle(item).backgroundColor);
      if (found.length == 3 || found[3] > 0) return light(found);
    }
    return 1;
  };
  let faint = [99, ""];
  for (const item of frame.document.body.querySelectorAll("*")) {
    const own = [...item.childNodes].filter(node => node.nodeType == 3).map(node => node.textContent.trim()).join("");
    if (!own || !item.getClientRects().length) continue;
    const style = frame.getComputedStyle(item), svg = item.closest("svg");
    const [a, b] = [light(channels(svg ? style.fill : style.color)), behind(item)];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < faint[0]) faint = [contrast, own.slice(0, 40)];
  }
  document.body.textContent = JSON.stringify({width: root.clientWidth, scroll: root.scrollWidth, faint,
    dark: frame.matchMedia("(prefers-color-scheme: dark)").matches, title: frame.document.title, height:
    root.scrollHeight, loaded: frame.performance.getEntriesByType("resource").map(item => item.name)});
}
</script>"""


def browse(folder: Path, page: Path, *flags: str) -> dict[str, Any]:
    """Widths, faintest text, loaded resources, console lines and requested paths of a page shown 390 pixels wide."""
    site = folder / "site"
    site.mkdir()
    (site / "index.html").write_text(WRAPPER)
    shutil.copy(page, site / "page.html")
    requested: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(site))

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            requested.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        command = [str(CHROMIUM), *FLAGS, *flags, f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
        address = f"http://127.0.0.1:{server.server_port}/index.html"
        done = subprocess.run([*command, address], capture_output=True, text=True, timeout=60, check=True)
    finally:
        server.shutdown()
        server.server_close()
    found = re.search(r"<body>(\{.*\})</body>", done.stdout, flags=re.S)
    assert found, done.stdout[-500:] + done.stderr[-500:]
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return {**json.loads(found.group(1)), "console": console, "requested": requested}


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_on_a_phone_nothing_scrolls_sideways_and_nothing_is_loaded(tmp_path: Path) -> None:
    names = {"domain": "a-source-with-a-rather-long-name-" * 3}
    runs = three_methods(tmp_path / "runs", seeds=2, names=names, answer="x" * 900)
    for run in runs:
        add_change(run, -0.2401, half=0.0203, mde=0.03, name=names["domain"])
        add_panel(run, context="z" * 700, answer="y" * 700)
        add_memorisation(run, names["domain"], missing="x" * 90)
    seen = browse(tmp_path, write_report(runs, tmp_path / "report.html", gates=[GATE]))
    assert seen["height"] > 4000  # the page was really laid out
    assert seen["width"] == 390
    assert seen["scroll"] == 390
    assert seen["loaded"] == []
    assert seen["console"] == []
    assert seen["requested"] == ["/index.html", "/page.html"]


GATE = {"run": "r" * 90, "outcome": "fail", "passed": False, "checks": [
    {"set": "s" * 90, "check": "max_drop", "metric": "bits_per_byte", "unit": "bits/byte", "value": 0.0412, "low": 0.03,
     "high": 0.05, "limit": 0.02, "n": 40, "outcome": "fail"},
]}  # fmt: skip
DARK = "--blink-settings=preferredColorScheme=0"


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("flags", [(), (DARK,)], ids=["light", "dark"])
def test_every_text_can_be_read(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """WCAG 2's contrast of at least 4.5 between each text and what lies behind it."""
    runs = three_methods(tmp_path / "runs")
    for run in runs:
        add_change(run, -0.24, half=0.02, mde=0.03)
        add_panel(run)
        add_memorisation(run)
    seen = browse(tmp_path, write_report(runs, tmp_path / "report.html", gates=[GATE]), *flags)
    assert seen["dark"] == bool(flags)
    assert seen["faint"][0] >= 4.5, seen["faint"]


def panel_or_comparison(folder: Path, kind: str) -> Path:
    """A page of long names."""
    if kind == "panel":
        run = write_run(folder / ("r" * 60))
        add_panel(run)
        panel = run / "panels" / "exam"
        return write_panel_page([panel], panel / "panel.html")
    name = "held-to-the-base-on-general-text-with-weight-one"
    rows = [row("plain", found=texts(0.2, 0.4)), row(name, found=texts(0.2, 0.1))]
    write_pages(outcome(folder, rows, {"plain": "sft", name: "mol"}), folder)
    return folder / "comparison.html"


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize(("kind", "flags"), [("panel", ()), ("comparison", (DARK,))])
def test_a_panel_and_a_comparison_on_a_phone(tmp_path: Path, kind: str, flags: tuple[str, ...]) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    seen = browse(tmp_path, panel_or_comparison(folder, kind), *flags)
    assert seen["scroll"] == 390
    assert (seen["loaded"], seen["console"]) == ([], [])
    assert seen["faint"][0] >= 4.5, seen["faint"]


HOSTILE = "<script>document.title='gone'</script><img src=//evil.example/x onerror=alert(1)>\u202egnp.exe\u2066=cmd()"


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_hostile_items_and_documents_are_harmless(tmp_path: Path) -> None:
    """Scripts, marks that turn text, formulas, and a line of 10 MB."""
    run = write_run(tmp_path / "run")
    add_change(run, -0.24, half=0.02, mde=0.03)
    add_panel(run, context=HOSTILE + "w" * 10_000_000, answer="=cmd()" + HOSTILE)
    add_memorisation(run, HOSTILE, missing=HOSTILE)
    lines = read_lines(run / "eval" / "general.jsonl")
    hostile = [json.dumps(line | {"where": HOSTILE * 99, "text": "@" + HOSTILE * 9999}) + "\n" for line in lines]
    (run / "eval" / "general.jsonl").write_text("".join(hostile))
    page = write_report([run], tmp_path / "report.html", title="Safe")
    assert page.stat().st_size < 1_000_000
    cells = list(
        csv.reader(io.StringIO("".join(map(unquote, re.findall(r'text/csv;charset=utf-8,([^"]*)"', page.read_text())))))
    )
    assert not [
        cell
        for row in cells
        for cell in row
        if cell.startswith(("=", "@", "+")) or (cell.startswith("-") and not is_number(cell))
    ]
    assert any(cell.startswith("'=cmd()<script>") for row in cells for cell in row)
    seen = browse(tmp_path, page)
    assert (seen["title"], seen["loaded"], seen["console"]) == ("Safe", [], [])
    assert seen["requested"] == ["/index.html", "/page.html"]
    assert seen["scroll"] == 390


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_faint_text_would_have_been_noticed(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text("<!doctype html><body style='background:#fff'><p style='color:#999'>faint</p>")
    contrast, text = browse(tmp_path, page)["faint"]
    assert contrast == pytest.approx(2.85, abs=0.01)  # of #999 on white
    assert text == "faint"


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_browser_would_have_noticed(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text("<!doctype html><div style='width:900px'>wide</div><img src=missing.png><script>nothing()</script>")
    seen = browse(tmp_path, page)
    assert seen["scroll"] >= 900
    assert seen["console"]
    assert "/missing.png" in seen["requested"]
