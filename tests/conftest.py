"""Tests run on one thread: pico tensors are too small to share, and two suites may run side by side."""

from __future__ import annotations

import os
import signal
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start too
os.environ.pop("COLUMNS", None)  # a test that is about a width sets it
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import pytest

# A suite that a script starts in the background ignores SIGINT, one under nohup SIGHUP, and so would the runs in it.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

# torch and transformers are imported where tests run: the process that only deals them to others waits for nothing.


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What fails fast comes first, then the longest test, which no other one should wait for at the end."""
    items.sort(key=lambda item: (item.path.name != "test_architecture.py", "real" not in item.keywords))


@pytest.fixture(scope="session", autouse=True)
def one_thread_and_no_bars() -> None:
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def pico_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved pico model; read only."""
    return saved_pico(tmp_path_factory, "pico")


@pytest.fixture(scope="session")
def expert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another saved pico model with the same tokenizer; read only."""
    return saved_pico(tmp_path_factory, "expert", seed=1)


def saved_pico(folders: pytest.TempPathFactory, name: str, seed: int = 0) -> Path:
    from tests.fixtures.pico import save_pico

    return save_pico(folders.mktemp(name), seed)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where experts and statistics stores are made when a method first wants one; see ``fixtures.methods``."""
    return tmp_path_factory.mktemp("made")


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """domain.jsonl, general.jsonl and chat.jsonl; read only."""
    from tests.fixtures.runs import write_corpora

    return write_corpora(tmp_path_factory.mktemp("corpora"))
