"""The front doors: each translates one way of writing a workflow into a ``Plan`` and stores its rows.

``Workflow`` and ``task`` are for workflows written as Python classes; ``rows`` is for JSON documents.
"""

from flowerapp.workflows.classes import Workflow, known_classes, store_all
from flowerapp.workflows.methods import task

__all__ = ["Workflow", "known_classes", "store_all", "task"]
