"""How numbers are written: one spelling of each unit in page, terminal and card."""

from __future__ import annotations

from collections.abc import Callable

from acclimate.paired.estimate import Estimate

NONE = "–"
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
Spelling = Callable[[float], str]


def bits(value: float) -> str:
    """Bits per byte.

    >>> bits(1.04963)
    '1.050'
    """
    return f"{value:.3f}"


def nats(value: float) -> str:
    """Nats per token; a drift near zero keeps a digit, and rounding never prints a negative zero.

    >>> nats(0.1124), nats(0.00421), nats(-1e-9)
    ('0.112', '0.0042', '0.0000')
    """
    return f"{value:.3f}" if abs(value) >= 0.00995 else f"{round(value, 4) + 0.0:.4f}"


def share(value: float) -> str:
    """A part of one, as percent.

    >>> share(0.9123)
    '91.2\\xa0%'
    """
    return f"{100 * value:.1f}\u00a0%"


def change(percent: float, digits: int = 1) -> str:
    """A signed change in percent, with a real minus sign.

    >>> change(-22.14), change(0.02), change(3, 0)
    ('−22.1\\xa0%', '0.0\\xa0%', '+3\\xa0%')
    """
    rounded = round(percent, digits) + 0.0
    sign = "+" if rounded > 0 else "−" if rounded < 0 else ""
    return f"{sign}{abs(rounded):.{digits}f}\u00a0%"


def signed(value: float) -> str:
    """A change in bits per byte.

    >>> signed(-0.0214), signed(0.0213), signed(0)
    ('−0.021', '+0.021', '0.000')
    """
    rounded = round(value, 3) + 0.0
    return f"{'+' if rounded > 0 else '−' if rounded < 0 else ''}{abs(rounded):.3f}"


def tenth(value: float) -> str:
    """
    >>> tenth(-2.14)
    '−2.1'
    """
    return change(value).removesuffix("\u00a0%")


def points(value: float) -> str:
    """A change of a share, in percentage points.

    >>> points(-0.0214)
    '−2.1\xa0points'
    """
    return f"{tenth(100 * value)}\u00a0points"


def probability(value: float) -> str:
    """
    >>> probability(0.0412), probability(0.00001), probability(1)
    ('0.041', '<\\u202f0.001', '1')
    """
    return "<\u202f0.001" if value < 0.001 else "1" if value >= 0.9995 else f"{value:.3f}"


def small(value: float) -> str:
    """Two digits of a number that may be far below 1.

    >>> small(0.000123), small(0.42), small(0)
    ('1.2·10⁻⁴', '0.42', '0')
    """
    if value == 0 or abs(value) >= 0.01:
        return f"{value:.2g}".replace("-", "−")
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits}·10{str(int(exponent)).translate(SUPERSCRIPT)}".replace("-", "−")


def significant(value: float) -> str:
    """
    >>> significant(-0.01234), significant(12.345)
    ('−0.0123', '12.3')
    """
    return f"{value:.3g}".replace("-", "−")


SPELLINGS: dict[str, tuple[Spelling, Spelling]] = {
    "bits/byte": (bits, signed),
    "nats/word": (bits, signed),
    "nats/token": (nats, signed),
    "share of tokens": (share, points),
    "share of items": (share, points),
}
"""Unit -> how a value and a change are written."""


def spelling(unit: str) -> tuple[Spelling, Spelling]:
    return SPELLINGS.get(unit, (significant, significant))


def count(value: float) -> str:
    """
    >>> count(41000)
    '41,000'
    """
    return f"{value:,.0f}"


NOT_COUNTED = "not counted"
"""In the place of a number that only a whole pass over a streamed source would tell."""


def interval(measure: Estimate, spell: Spelling) -> str:
    """``low to high`` with the unit said once, or nothing where no interval was measured."""
    if not measure.bounded:
        return ""
    low = spell(measure.low).split("\u00a0")[0]
    return f"{low} to {spell(measure.high)}"


def clip(text: str, limit: int) -> tuple[str, int]:
    """The first ``limit`` characters and how many were left out.

    >>> clip("abcdef", 4)
    ('abcd', 2)
    """
    return text[:limit], max(0, len(text) - limit)


def middle(text: str, limit: int) -> str:
    """The beginning and the end: of a passage with a question the question comes last.

    >>> middle("abcdefghij", 6)
    'ab … ghij'
    """
    if len(text) <= limit:
        return text
    first = limit // 3
    return f"{text[:first]} … {text[first - limit :]}"
