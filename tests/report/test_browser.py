"""The page in a real browser: a phone's width, nothing loaded, nothing in the console."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from acclimate.report import write_report
from tests.report.runs import add_change, three_methods

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
  document.body.textContent = JSON.stringify({width: root.clientWidth, scroll: root.scrollWidth,
    height: root.scrollHeight, loaded: frame.performance.getEntriesByType("resource").map(item => item.name)});
}
</script>"""


def browse(folder: Path, page: Path) -> dict[str, Any]:
    """Widths, loaded resources, console lines and requested paths of a page shown 390 pixels wide."""
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
        command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
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
    seen = browse(tmp_path, write_report(runs, tmp_path / "report.html"))
    assert seen["height"] > 4000  # the page was really laid out
    assert seen["width"] == 390
    assert seen["scroll"] == 390
    assert seen["loaded"] == []
    assert seen["console"] == []
    assert seen["requested"] == ["/index.html", "/page.html"]


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_browser_would_have_noticed(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text("<!doctype html><div style='width:900px'>wide</div><img src=missing.png><script>nothing()</script>")
    seen = browse(tmp_path, page)
    assert seen["scroll"] >= 900
    assert seen["console"]
    assert "/missing.png" in seen["requested"]
