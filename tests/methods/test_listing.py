"""The table of methods that `acclimate methods` shows without loading torch."""

from __future__ import annotations

import json
import subprocess
import sys

from acclimate.methods.catalogue import described
from acclimate.methods.listing import WRITTEN, methods_digest


def test_the_table_that_loads_no_torch_is_current() -> None:
    made = json.loads(WRITTEN.read_text())
    assert made == {"digest": methods_digest(), "methods": described()}, (
        "python -m acclimate.methods.catalogue writes it"
    )
    program = (
        "import sys; from acclimate.methods.listing import listed_methods as f; f(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
