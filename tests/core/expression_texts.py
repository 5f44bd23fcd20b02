"""Texts and values that the tests of expressions share."""

from __future__ import annotations

import json
from typing import Any

CONTEXT: dict[str, Any] = {
    "input": {
        "total": 120,
        "tags": ["new", "eu"],
        "note": None,
        "user": {"name": "Ada", "first-login": False},
    },
    "rows": [{"n": 1, "kind": "a"}, {"n": 5, "kind": "b"}, {"n": 3, "kind": "a"}],
    "name": "job_17",
}
"""The context of docs/expressions.md."""

HOSTILE = [
    "__class__",
    "input.__class__",
    "input.__class__.__mro__",
    "''.__class__.__bases__[0].__subclasses__()",
    "[].__getitem__",
    "rows.__len__()",
    "().__class__",
    "name.format(name)",
    "name.upper()",
    "__import__('os').system('true')",
    "__builtins__",
    "eval('1')",
    "exec('1')",
    "open('/etc/passwd')",
    "getattr(input, '__class__')",
    "globals()",
    "lambda: 1",
    "(lambda x: x)(1)",
    "[x for x in rows]",
    "{**input}",
    "f'{input}'",
    "'%s' % input",
    "input.items()",
    "input.tags.append(1)",
    "input.total = 1",
    "input := 1",
    "import os",
    "True",
    "None",
    "print(input)",
    "get(input, '__class__').__init__",
    "len.__globals__",
    "self",
    "#.__class__",
    "$env",
    "input is null",
]
"""Attempts to reach Python. Each must be an error, or null for a key that an object lacks."""


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal, and of the same types, so that ``1``, ``1.0`` and ``true`` differ."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)
