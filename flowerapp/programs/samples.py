"""The three programs of the workflow ``sample``; each returns its own name."""

from __future__ import annotations

from typing import Any

from flowerapp.registry import program


@program("Test1")
def test1() -> dict[str, Any]:
    """First step of the sample workflow."""
    return {"program": "Test1"}


@program("Test2")
def test2() -> dict[str, Any]:
    """Second step of the sample workflow."""
    return {"program": "Test2"}


@program("Test3")
def test3() -> dict[str, Any]:
    """Third step of the sample workflow."""
    return {"program": "Test3"}
