"""What a person sees: on a terminal, narrow or wide, and through a pipe."""

from __future__ import annotations

import builtins
import io
import os
import pty
import re
import select
import sys
import time
import unicodedata
from pathlib import Path

import pytest
from rich.console import Console

from acclimate.types.errors import UsageError
from acclimate.verbs.chat.terminal import answer_lines, printable, talk
from acclimate.verbs.run import train
from tests.chat.scripted import scripted
from tests.fixtures.runs import config
from tests.fixtures.sentences import says

HOSTILE = "a\x1b]0;owned\x07\x1b[2J\x9b31m\r\x7f[red]b[/red] :skull:"
HARMLESS = "a␛]0;owned␇␛[2J\ufffd31m␍␡[red]b[/red] :skull:"


def screen(width: int = 80, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None, _environ={})


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str | type[BaseException]) -> None:
    waiting = iter(lines)

    def read(prompt: str) -> str:
        line = next(waiting, EOFError)
        if isinstance(line, str):
            return line
        raise line

    monkeypatch.setattr(builtins, "input", read)


def test_no_control_character_is_printable() -> None:
    every = "".join(map(chr, range(0x3000)))
    assert {c for c in printable(every) if unicodedata.category(c) == "Cc"} == {"\n", "\t"}
    assert not {c for c in printable(every) if unicodedata.bidirectional(c) in ("LRO", "RLO", "LRE", "RLE", "PDF")}
    assert printable("naïve 日本 \U0001f600 عربي") == "naïve 日本 \U0001f600 عربي"


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("models", [1, 2])
def test_what_a_model_says_is_only_text(models: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, "Hello?")
    conversations = [scripted(HOSTILE, name=name) for name in ("tuned", "base")[:models]]
    console = screen(width, terminal=True)
    talk(conversations, console)
    text = shown(console)
    assert text.count(HARMLESS) >= models
    own = re.sub(r"\x1b\[(\?25[lh]|\d*[AK])|\r", "", text)  # rich moves its cursor while a table grows
    assert not {c for c in own if unicodedata.category(c) == "Cc"} - {"\n"}


def test_answers_stand_side_by_side_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = []
    for width in (100, 99):
        typed(monkeypatch, "Hello?", "/exit", "never asked")
        console = screen(width, terminal=True)
        talk([scripted("Tuned says.", name="tuned"), scripted("Base says.", name="base")], console)
        pages.append(shown(console))
    assert re.search(r"^ *Tuned says\. +Base says\. *$", pages[0], re.M)
    assert "tuned:\nTuned says.\nbase:\nBase says.\n" in pages[1]


def test_commands_and_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, "/help", "/rest", "One?", "/reset", "", KeyboardInterrupt, "x" * 600, EOFError)
    conversation, console = scripted("First.", temperature=0.5), screen()
    talk([conversation], console)
    first, *listed, wrong, answer, blank, leave, full, end = shown(console).splitlines()
    assert says(first, "… temperature 0.5 … 256 tokens. /help …")
    assert listed == [
        "/reset  forget all turns",
        "/exit   leave, as Ctrl-D does",
        "/help   this list",
        "Ctrl-C  stop an answer",
    ]
    assert says(wrong, "Error: … '/rest'; accepted: /reset, /exit or /help. Did you mean '/reset'?")
    assert (answer, blank, end) == ("First.", "", "")
    assert says(leave, "Ctrl-D or /exit …")
    assert says(full, "Error: … 619 tokens, … 512 positions; /reset …")
    assert conversation.messages == []


def test_no_template_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch)
    console = screen()
    talk([scripted(template=None)], console)
    assert "No chat template: " in shown(console)


def test_an_answer_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    for width in (80, 120):
        typed(monkeypatch, "One?", "Two?")
        tuned, base = scripted("Never heard.", "Again."), scripted("One.", "Two.", name="base")
        original, calls = tuned.ask, []

        def stopped(text: str, show: object = None, original: object = original, calls: list[str] = calls) -> str:
            calls.append(text)
            if len(calls) == 1:
                raise KeyboardInterrupt
            return original(text, show)  # type: ignore[operator, no-any-return]

        monkeypatch.setattr(tuned, "ask", stopped)
        console = screen(width, terminal=True)
        talk([tuned, base], console)
        assert calls == ["One?", "Two?"]
        assert "One." in shown(console)  # the other model still answers
        assert "Two." in shown(console)


def test_a_pipe_gets_answers_and_nothing_else() -> None:
    console = screen()
    answer_lines([scripted("One.", HOSTILE)], ["1?\n", "\n", "2?"], console)
    assert shown(console) == f"One.\n{HARMLESS}\n"
    console = screen()
    pair = [scripted("One.", name="tuned"), scripted("Two.", name="base")]
    answer_lines(pair, ["1?", "/reset", "/exit", "never asked"], console)
    assert shown(console) == "tuned: One.\nbase: Two.\n"
    assert pair[0].messages == []
    with pytest.raises(UsageError, match="There is no command '/quit'"):
        answer_lines(pair, ["/quit"], console)


def test_on_a_real_terminal(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """The command, its pseudo terminal, and a person who asks, presses Ctrl-C, and leaves with Ctrl-D."""
    settings = config(pico_folder, corpora, tmp_path, lora={"rank": 4}, budget={"steps": 2, "batch_tokens": 128})
    run_dir = train(settings).run_dir
    command = [sys.executable, "-m", "acclimate", "chat", str(run_dir), "--base", "--max-new-tokens", "8"]
    process, terminal = pty.fork()  # the child's controlling terminal, so that Ctrl-C reaches it
    if process == 0:
        os.execve(sys.executable, command, os.environ | {"COLUMNS": "120", "TERM": "xterm"})
    seen = ""
    for wanted, keys in (
        ("^.*lists the commands.*> ", "Say 3.\n"),
        ("tuned.*base.*\n> $", "\x03"),
        ("leaves.*> ", "\x04"),
    ):
        start = len(seen)
        while not re.search(wanted, seen[start:], re.S):
            assert select.select([terminal], [], [], 60)[0], seen
            seen += os.read(terminal, 4096).decode(errors="replace")
        time.sleep(0.5)  # a person takes at least as long
        os.write(terminal, keys.encode())
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    os.close(terminal)
