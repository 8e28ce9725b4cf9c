"""The conversation on a terminal or through a pipe.

A model can emit any character. Control characters never reach the terminal, and nothing a model says is read as markup.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from contextlib import suppress

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from acclimate.types.errors import AcclimateError, UsageError, listed, nearest
from acclimate.verbs.chat.conversation import Conversation

COMMANDS = {"/reset": "forget all turns", "/exit": "leave, as Ctrl-D does", "/help": "this list"}
WIDE = 100
"""From this many columns on two answers stand side by side."""

CONTROL = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}  # ␛ for the escape character
CONTROL |= {0x7F: 0x2421} | dict.fromkeys([*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)


def printable(text: str) -> str:
    r"""The text with pictures in place of control characters, and without marks that reorder what is shown.

    >>> printable("a\x1b[2Jb\n")
    'a␛[2Jb\n'
    """
    return text.translate(CONTROL)


def talk(conversations: Sequence[Conversation], console: Console) -> None:
    """Asks for questions until the user leaves; Ctrl-C stops one answer."""
    with suppress(ImportError):  # where it exists, input() edits lines and recalls them
        importlib.import_module("readline")
    _say(console, _greeting(conversations[0]))
    while True:
        try:
            text = input("> ").strip()
            if _is_command(text, conversations, console):
                if text == "/exit":
                    return
            elif text:
                _answer(conversations, text, console)
        except EOFError:
            console.print()
            return
        except KeyboardInterrupt:
            _say(console, "\nCtrl-D or /exit leaves.")
        except (AcclimateError, UnicodeDecodeError) as error:
            _say(console, f"Error: {error}", "red")


def answer_lines(conversations: Sequence[Conversation], lines: Iterable[str], console: Console) -> None:
    """Answers each line, and prints nothing but the answers; those of two models begin with the model's name."""
    for text in (line.strip() for line in lines):
        if _is_command(text, conversations, console):
            if text == "/exit":
                return
        elif text:
            for conversation in conversations:
                label = f"{conversation.name}: " if len(conversations) > 1 else ""
                console.out(label + printable(conversation.ask(text)), highlight=False)


def _is_command(text: str, conversations: Sequence[Conversation], console: Console) -> bool:
    if not text.startswith("/"):
        return False
    if text not in COMMANDS:
        raise UsageError(
            f"There is no command '{printable(text)}'; accepted: {listed(COMMANDS)}.{nearest(text, COMMANDS)}"
        )
    if text == "/help":
        _say(console, "\n".join(f"{name:<8}{what}" for name, what in COMMANDS.items()))
        _say(console, "Ctrl-C  stop an answer")
    if text == "/reset":
        for conversation in conversations:
            conversation.reset()
    return True


def _greeting(conversation: Conversation) -> str:
    how = "Greedy answers" if conversation.temperature == 0 else f"Answers at temperature {conversation.temperature:g}"
    turns = "" if conversation.templated else " No chat template: each text is continued, on its own."
    return f"{how} of at most {conversation.max_new_tokens} tokens.{turns} /help lists the commands."


def _answer(conversations: Sequence[Conversation], text: str, console: Console) -> None:
    if len(conversations) > 1 and console.is_terminal and console.width >= WIDE:
        _answer_in_columns(conversations, text, console)
        return
    for conversation in conversations:
        if len(conversations) > 1:
            _say(console, f"{conversation.name}:", "bold")
        with suppress(KeyboardInterrupt):
            conversation.ask(text, lambda piece: console.out(printable(piece), end="", highlight=False))
        console.print()


def _answer_in_columns(conversations: Sequence[Conversation], text: str, console: Console) -> None:
    """Answers grow one after the other; the whole table is printed at the end, however long it became."""
    answers = {conversation.name: "" for conversation in conversations}

    def table() -> Table:
        found = Table(box=None, expand=True, padding=(0, 2, 0, 0))
        for name in answers:
            found.add_column(name, ratio=1, justify="left", overflow="fold")
        found.add_row(*(Text(printable(answer)) for answer in answers.values()))
        return found

    with Live(console=console, transient=True, get_renderable=table):
        for conversation in conversations:

            def show(piece: str, name: str = conversation.name) -> None:
                answers[name] += piece

            with suppress(KeyboardInterrupt):
                conversation.ask(text, show)
    console.print(table())


def _say(console: Console, text: str, style: str | None = None) -> None:
    console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)
