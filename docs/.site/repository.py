"""What the site does beyond mkdocs: links out of ``docs/`` lead into the repository, a star in the nav is a folder.

A page may link any file of the repository, as it may on a forge. Such files become part of the site under their own
path: Markdown as pages, everything else as it is.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(?<=\]\()([^()\s#:]+)(?=[#)])")


def on_config(config: MkDocsConfig) -> None:
    named = set(re.findall(r"[\w./-]+\.md", str(config.nav)))

    def spelt(entry: object) -> list[object]:
        if isinstance(entry, dict):
            return [{title: all_spelt(entries) for title, entries in entry.items()}]
        if not str(entry).endswith("*.md"):
            return [entry]
        folder = str(entry).removesuffix("/*.md")
        home = ROOT / folder if folder == "benchmarks" else ROOT / "docs" / folder
        return sorted({f"{folder}/{path.name}" for path in home.glob("*.md")} - named)

    def all_spelt(entries: object) -> object:
        return [one for entry in entries for one in spelt(entry)] if isinstance(entries, list) else entries

    config.nav = all_spelt(config.nav)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    waiting = [path for folder in ("docs", "benchmarks") for path in sorted((ROOT / folder).rglob("*.md"))]
    while waiting:
        path = waiting.pop()
        if files.get_file_from_path(place(path)) is None:
            file = File.generated(config, place(path), abs_src_path=str(path), inclusion=InclusionLevel.NOT_IN_NAV)
            files.append(file)  # a page that the nav does not name is reached from the page that links it
        waiting += [
            found
            for found in (targets(path) if path.suffix == ".md" else ())
            if files.get_file_from_path(place(found)) is None
        ]
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    path = Path(page.file.abs_src_path or "")

    def moved(match: re.Match[str]) -> str:
        target = (path.parent / match[1]).resolve()
        inside = target.is_file() and target.is_relative_to(ROOT)
        return os.path.relpath(place(target), Path(page.file.src_uri).parent) if inside else match[1]

    return LINK.sub(moved, markdown)


def place(path: Path) -> str:
    """Where the site has a file of the repository."""
    return path.relative_to(ROOT).as_posix().removeprefix("docs/")


def targets(page: Path) -> list[Path]:
    """The files of the repository that a page links."""
    found = {(page.parent / link).resolve() for link in LINK.findall(page.read_text(encoding="utf-8"))}
    return sorted(path for path in found if path.is_file() and path.is_relative_to(ROOT))
