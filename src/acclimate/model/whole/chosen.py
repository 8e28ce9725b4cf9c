"""Which of a model's own parameters are trained: those that a configuration names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from acclimate.types.errors import ConfigError, nearest


def train_only(network: Any, patterns: Sequence[str], new_tokens: bool = False) -> None:
    """Takes the gradient from every parameter that no pattern names, and with it master, optimizer state, decay and
    penalties. What was frozen before stays frozen; without patterns nothing changes.

    Args:
        patterns: names of parameters or modules, with ``*`` and ``?``; a module's name means all in it. A tied
            parameter has several names, of which one is enough.
        new_tokens: the embeddings have rows that must be learned.

    Raises:
        ConfigError: a pattern names nothing that text trains, or new tokens would stay as they were made.
    """
    if not patterns:
        return
    names = dict(network.named_parameters(remove_duplicate=False))
    chosen: set[int] = set()
    for pattern in patterns:
        found = [name for name in names if any(fnmatchcase(one, pattern) for one in _with_modules(name))]
        if not found:
            known = dict.fromkeys(one for name in names for one in _with_modules(name))
            plain = pattern.replace("*", "0")  # of layers the first, which has the others' names
            raise ConfigError(
                f"model.train: '{pattern}' names no parameter of this model; accepted are names like "
                f"'{next(iter(names))}', with * and ?.{nearest(pattern, known) or nearest(plain, known)}"
            )
        if not any(names[name].requires_grad for name in found):
            raise ConfigError(
                f"model.train: '{pattern}' names what text never passes ('{found[0]}' first); leave it out."
            )
        chosen |= {id(names[name]) for name in found}
    if new_tokens and id(network.get_input_embeddings().weight) not in chosen:
        table = next(name for name, one in names.items() if one is network.get_input_embeddings().weight)
        raise ConfigError(
            f"model.train: leaves out the embeddings, in which model.add_tokens has rows to learn; add '{table}'."
        )
    for parameter in names.values():
        if id(parameter) not in chosen:
            parameter.requires_grad_(False)


def _with_modules(name: str) -> Iterator[str]:
    """
    >>> list(_with_modules("model.norm.weight"))
    ['model.norm.weight', 'model.norm', 'model']
    """
    while name:
        yield name
        name = name.rpartition(".")[0]
