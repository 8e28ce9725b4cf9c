"""What a comparison is shown as: terminal, one page as HTML and Markdown, pictures, LaTeX and CSV."""

from acclimate.verbs.compare.pages.blocks import page_of, told_apart
from acclimate.verbs.compare.pages.files import write_pages
from acclimate.verbs.compare.pages.terminal import summary, summary_table

__all__ = ["page_of", "summary", "summary_table", "told_apart", "write_pages"]
