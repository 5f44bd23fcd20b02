"""The use-cases: register a flow, run its tasks, and the operators' verbs.

The transactions of a use-case are opened here, and messages go out on commit. What a host calls is exported here;
executors and the watcher's duties import the modules. ``docs/architecture.md`` shows the way of a task through them.
"""

from flowerapp.core.overriding import MayOverride
from flowerapp.core.process_clock import now
from flowerapp.engine import approval_mails  # noqa: F401 - it registers what sends them
from flowerapp.engine.approval_links import approval_link
from flowerapp.engine.archive import archive
from flowerapp.engine.archive_files import archive_to, read_archive
from flowerapp.engine.decisions import decide
from flowerapp.engine.define import define, delete_pool, may_change, set_pool, undefine
from flowerapp.engine.due_waits import release_latch
from flowerapp.engine.events import emit
from flowerapp.engine.hooks import HookEvent
from flowerapp.engine.output_cache import forget_cache
from flowerapp.engine.register import plan_of, register, register_many, register_plan
from flowerapp.engine.registration import Registration
from flowerapp.engine.remote import end_task, fail_task
from flowerapp.engine.remote_work import RemoteWork, beat_remote, claim_remote, offered_remote, take_remote
from flowerapp.engine.restore import restore
from flowerapp.engine.state import change_state, get_state
from flowerapp.engine.verbs import cancel, change, delete, rerun, resume, skip, suspend, wake
from flowerapp.selectors.flows import get_flow
from flowerapp.selectors.tasks import get_task

__all__ = [
    "HookEvent",
    "MayOverride",
    "Registration",
    "RemoteWork",
    "approval_link",
    "archive",
    "archive_to",
    "beat_remote",
    "cancel",
    "change",
    "change_state",
    "claim_remote",
    "decide",
    "define",
    "delete",
    "delete_pool",
    "emit",
    "end_task",
    "fail_task",
    "forget_cache",
    "get_flow",
    "get_state",
    "get_task",
    "may_change",
    "now",
    "offered_remote",
    "plan_of",
    "read_archive",
    "register",
    "register_many",
    "register_plan",
    "release_latch",
    "rerun",
    "restore",
    "resume",
    "set_pool",
    "skip",
    "suspend",
    "take_remote",
    "undefine",
    "wake",
]
