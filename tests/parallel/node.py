"""``acclimate`` in a network namespace, which stands for a machine: python -m tests.parallel.node NAME ARGUMENTS"""

from __future__ import annotations

import ctypes
import os
import sys

from acclimate.cli import main

CLONE_NEWNET = 0x40000000


def enter(namespace: str) -> None:
    """This thread, and those that it starts from here on."""
    handle = os.open(f"/var/run/netns/{namespace}", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
    os.close(handle)


if __name__ == "__main__":
    enter(sys.argv.pop(1))
    main()
