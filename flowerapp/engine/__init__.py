"""The use-cases: register a flow, run its tasks, and the operators' verbs.

The transactions of a use-case are opened here, and messages go out on commit. What a host calls is exported here;
executors and the watcher's duties import the modules. ``docs/architecture.md`` shows the way of a task through them.
"""

from flowerapp.core.overriding import MayOverride
from flowerapp.engine.define import define, delete_pool, may_change, set_pool, undefine
from flowerapp.engine.due_waits import release_latch
from flowerapp.engine.events import emit
from flowerapp.engine.hooks import HookEvent
from flowerapp.engine.register import plan_of, register, register_many, register_plan
from flowerapp.engine.registration import Registration
from flowerapp.engine.remote import end_task, fail_task
from flowerapp.engine.state import change_state, get_state
from flowerapp.engine.verbs import cancel, change, delete, rerun, resume, skip, suspend, wake
from flowerapp.selectors.flows import get_flow
from flowerapp.selectors.tasks import get_task

__all__ = [
    "HookEvent",
    "MayOverride",
    "Registration",
    "cancel",
    "change",
    "change_state",
    "define",
    "delete",
    "delete_pool",
    "emit",
    "end_task",
    "fail_task",
    "get_flow",
    "get_state",
    "get_task",
    "may_change",
    "plan_of",
    "register",
    "register_many",
    "register_plan",
    "release_latch",
    "rerun",
    "resume",
    "set_pool",
    "skip",
    "suspend",
    "undefine",
    "wake",
]
