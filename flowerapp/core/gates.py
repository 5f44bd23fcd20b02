"""Names of the programs that no worker runs: steps of them end as soon as what they wait for has ended."""

GATE = "flow:gate"
"""Passes its input on."""
VALUE = "flow:value"
"""Gives its parameter ``value``."""
GATES = frozenset({GATE, VALUE})
"""A step that runs one of them is called a gate."""
