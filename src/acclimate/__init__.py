"""Adapt a language model to a domain without losing what it already knew, and prove it.

The Python API is what the verbs of the command line call: ``config.load_config``, ``preflight.validate``,
``run.train``, ``run.evaluate_run``, ``run.export``, ``record.record``, ``panel.evaluate_panel``, ``compare.compare``,
``report.write_report``, ``gate.gate``, ``chat.open_chat`` and ``doctor.diagnose``.
"""

__version__ = "0.1.0"
