"""``acclimate`` on a disk that never finishes the checkpoint of step 4: python -m tests.training.slow_disk ARGUMENTS"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from acclimate.cli import main
from acclimate.parallel import saved

ORIGINAL = saved.save_file


def save_file(tensors: dict[str, Any], path: Path) -> None:
    ORIGINAL(tensors, path)
    if "step-00000004" in path.parent.name:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        time.sleep(600)


if __name__ == "__main__":
    saved.save_file = save_file
    main()
