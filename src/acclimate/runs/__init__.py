"""The run folder: who may write it, what lies where, and reading it again."""
