"""Names of the programs that the engine knows; no worker runs those of ``GATES``, which end with what they wait for."""

GATE = "flow:gate"
"""Passes its input on."""
VALUE = "flow:value"
"""Gives its parameter ``value``."""
EACH = "flow:each"
"""Runs the step's child program, with the step's parameters, for each item of its input; a worker starts it."""
REMOTE = "flow:remote"
"""As the child program of a step of ``EACH``: the children are remote tasks, by the name that the step has in
``remote``."""
GATES = frozenset({GATE, VALUE})
"""A step that runs one of them is called a gate."""
ANSWERED = frozenset({"request:get", "request:post", "request:put", "request:delete"})
"""A task that one of them has parked waits for an answer: another system ends it, as it ends a remote task."""
OURS = GATES | {EACH, REMOTE}
"""Programs that do nothing by themselves."""
