"""Errors that a user can cause. Each is a sentence: what, where, what would be accepted."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

CREDENTIAL = re.compile(r"(?<=://)(?:[^/\s]*@|[^@\s]*:[^@\s]*@)|(?<=[?&#])[^?&#=/*\s]+=[^&#\s'\"]*")
"""What may be a secret in a URL: ``user@`` or ``key:secret@`` before the host, and what a query says."""


class AcclimateError(Exception):
    """The base of every error a user can cause at run time (exit code 1). No credential of a URL is shown."""

    def __init__(self, message: str) -> None:
        super().__init__(CREDENTIAL.sub("***", message) if "://" in message else message)


class UsageError(AcclimateError):
    """The command line or the configuration asks for something that cannot be (exit code 3)."""


class ConfigError(UsageError):
    """A configuration file or override is wrong."""


class DataError(AcclimateError):
    """A corpus file or record is wrong; the message names file and line."""


class ModelError(AcclimateError):
    """A model, tokenizer or adapter cannot be used as asked."""


class RunError(AcclimateError):
    """A run folder, checkpoint or training step is in a state that stops the run."""


class PeerError(AcclimateError):
    """Another process of the run stopped with an error, which it prints itself."""


class Stopped(AcclimateError):
    """SIGTERM or Ctrl-C ended the training after a checkpoint; ``signal`` is its number."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


class DamagedError(RunError):
    """A checkpoint is torn or its contents differ from its digests."""


class NonFiniteError(RunError):
    """A loss or gradient became infinite or NaN; the optimizer step was not taken."""


def nearest(word: str, options: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` when some option is close to ``word``, otherwise an empty string.

    >>> nearest("lerning_rate", ["learning_rate", "weight_decay"])
    " Did you mean 'learning_rate'?"
    >>> nearest("zzz", ["learning_rate"])
    ''
    """
    close = difflib.get_close_matches(word, list(options), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def listed(options: Iterable[str]) -> str:
    """``a, b or c``.

    >>> listed(["a", "b", "c"])
    'a, b or c'
    """
    names = [str(option) for option in options]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
