"""The front door of the arrow language: a workflow as a line of text, such as ``fetch → resize | caption → publish``.

``parse`` gives the tree of a text. What is wrong with a text is an ``ArrowError`` with line and column.
"""

from flowerapp.workflows.arrow.errors import ArrowError
from flowerapp.workflows.arrow.parser import parse
from flowerapp.workflows.arrow.syntax import Document

__all__ = ["ArrowError", "Document", "parse"]
