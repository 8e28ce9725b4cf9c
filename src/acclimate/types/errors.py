"""Errors that a user can cause. Each is a sentence: what, where, what would be accepted."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class AcclimateError(Exception):
    """The base of every error a user can cause at run time (exit code 1). Its sentence shows no credentials."""

    def __init__(self, sentence: str) -> None:
        super().__init__(without_credentials(sentence))


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
    """SIGTERM, SIGUSR1 or Ctrl-C ended the training after a checkpoint; ``signal`` is its number."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


class DamagedError(RunError):
    """A checkpoint is torn or its contents differ from its digests."""


class NonFiniteError(RunError):
    """A loss or gradient became infinite or NaN; the optimizer step was not taken."""


def reason(error: Exception | Warning | str) -> str:
    """The first line of a library's message, and what follows a colon at its end.

    >>> reason(RuntimeError("Error(s) in loading state_dict for Linear:\\n\\tsize mismatch for weight: 2, not 3."))
    'Error(s) in loading state_dict for Linear: size mismatch for weight: 2, not 3.'
    >>> reason(KeyError())
    'KeyError'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    while len(lines) > 1 and lines[0].endswith(":"):
        lines[:2] = [f"{lines[0]} {lines[1]}"]
    return lines[0].removesuffix(":")


def is_out_of_memory(error: Exception) -> bool:
    """Of a GPU, or of a CPU, whose allocator says so in words.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."))
    True
    """
    words = ("can't allocate memory", "out of memory", "not enough memory")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


SECRETS = re.compile(
    r"""(?P<scheme>:/{1,2}) [^/\s'"@]+ (?=@)  # user and password of an address
    | \bhf_\w{16,}                           # a token of the Hugging Face Hub
    | (?P<key>[?&]\w*(?:token|key|secret|password|credential|auth|sig)\w*=) [^&\s'"]+
    """,
    re.VERBOSE | re.IGNORECASE,
)


def without_credentials(text: str) -> str:
    """The text with passwords and access tokens blotted out.

    >>> without_credentials("https://ada:pw@host/x?token=123&y=1 hf_0123456789abcdefgh")
    'https://***@host/x?token=***&y=1 ***'
    """
    return SECRETS.sub(lambda found: f"{found['scheme'] or found['key'] or ''}***", text)


def nearest(word: str, options: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` when some option is close to ``word``, otherwise an empty string.

    >>> nearest("lerning_rate", ["learning_rate", "weight_decay"])
    " Did you mean 'learning_rate'?"
    >>> nearest("MOL", ["mol", "sft"])
    " Did you mean 'mol'?"
    >>> nearest("zzz", ["learning_rate"])
    ''
    """
    spelled = {option.lower(): option for option in options}
    close = difflib.get_close_matches(word.lower(), spelled, n=1, cutoff=0.6)
    return f" Did you mean '{spelled[close[0]]}'?" if close else ""


def listed(options: Iterable[str]) -> str:
    """``a, b or c``.

    >>> listed(["a", "b", "c"])
    'a, b or c'
    """
    names = [str(option) for option in options]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
