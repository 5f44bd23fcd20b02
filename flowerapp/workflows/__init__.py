"""Front doors: what turns into the rows of a workflow. ``Workflow`` and ``task`` are that of Python classes."""

from flowerapp.workflows.classes import Workflow, known_classes, store_all
from flowerapp.workflows.methods import task

__all__ = ["Workflow", "known_classes", "store_all", "task"]
