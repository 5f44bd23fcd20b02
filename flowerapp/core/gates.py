"""Names of the programs that the engine knows; no worker runs steps of those of ``UNSENT``."""

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
"""A step that runs one of them ends with what it waits for; it is called a gate."""
ANSWERED = frozenset({"request:get", "request:post", "request:put", "request:delete"})
"""A task that one of them has parked waits for an answer: another system ends it, as it ends a remote task."""
OURS = GATES | {EACH, REMOTE}
"""Programs that do nothing by themselves."""

DELAY = "wait:delay"
"""Waits for a time."""
EVENT = "wait:event"
"""Waits for an event."""
ACQUIRE = "wait:acquire"
"""Raises a latch."""
RELEASE = "wait:release"
"""Lowers a latch."""
COUNTDOWN = "wait:countdown"
"""Waits until a latch is at zero."""
APPROVAL = "wait:approval"
"""Waits for a person."""
WAITS = frozenset({DELAY, EVENT, ACQUIRE, RELEASE, COUNTDOWN, APPROVAL})
"""A step that runs one of them begins once what it depends on is satisfied, and passes its input on when it ends."""
UNSENT = GATES | WAITS
"""No message is sent for a step that runs one of them: propagation completes or begins it."""
