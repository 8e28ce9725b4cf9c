"""A configuration of TRL, axolotl or LLaMA-Factory becomes one of ours, which says what it could not carry."""

from acclimate.verbs.importer.importer import TOOLS, Imported, import_config, write_imported

__all__ = ["TOOLS", "Imported", "import_config", "write_imported"]
