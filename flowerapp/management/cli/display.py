"""What the CLI draws with: rich where it is installed, plain text elsewhere."""

from __future__ import annotations

try:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console, Group
    from rich.table import Table
    from rich.text import Text
except ImportError:
    from flowerapp.management.cli.plain import (  # type: ignore[assignment] # they have what the CLI uses
        SIMPLE_HEAD,
        Console,
        Group,
        Table,
        Text,
    )

__all__ = ["REDRAWS", "SIMPLE_HEAD", "Console", "Group", "Table", "Text"]

REDRAWS = Console.__module__.startswith("rich.")
"""Whether progress can be redrawn in place."""
