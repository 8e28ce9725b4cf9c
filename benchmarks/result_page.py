"""Tables that a script makes, on the page that tells of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from acclimate.paired.estimate import Estimate

MARKS = ("<!-- tables -->\n", "<!-- end -->")


def percent(found: Estimate) -> str:
    return f"{100 * found.value:+.1f} % [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def nats(found: Estimate) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def write_or_print(tables: Callable[[], str], about: str | None) -> None:
    """With ``--write PAGE`` between the two marks of the page, else to the terminal.

    Args:
        about: the script's docstring.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="PAGE")
    page = parser.parse_args().write
    print(tables()) if page is None else written(page, tables())


def written(page: Path, made: str) -> None:
    """``made`` takes the place of what stands between the two marks of the page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    page.write_text(f"{before}{MARKS[0]}{made}\n{MARKS[1]}{after}", encoding="utf-8")
