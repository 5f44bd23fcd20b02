"""The use-cases: register a flow, run its tasks, and the operators' verbs.

Only this package opens transactions, and messages go out on commit. In the order of a flow's life: ``defining``,
``registering``, ``admission``, ``sending``, ``attempts``, ``children``, ``outcomes``, ``hooks``, ``operators``.
``links`` holds what follows from the states of a flow's tasks, ``waiting`` why they wait, and ``adoption`` takes over
rows that others inserted.
"""

from flowerapp.engine.admission import admit, admit_all, admit_flows
from flowerapp.engine.adoption import adopt
from flowerapp.engine.attempts import look_again, perform, run, use_performer
from flowerapp.engine.defining import define, delete_pool, may_change, set_pool, undefine
from flowerapp.engine.ending import told_to_end, use_end_notice
from flowerapp.engine.hooks import HookEvent, give_back_of_dead, tell, tell_forgotten
from flowerapp.engine.links import gather_all, give_turns, settle
from flowerapp.engine.operators import cancel, change, delete, get_flow, get_task, rerun, resume, skip, suspend, wake
from flowerapp.engine.outcomes import REFUSED, Continuation, Outcome, failed, finished, lost, refused, timed_out
from flowerapp.engine.registering import plan_of, register, uuid7
from flowerapp.engine.sending import BUSY, hand_over, send, send_what_waits_for, top_up
from flowerapp.engine.state import change_state, get_state
from flowerapp.engine.waiting import PoolUse, get_pool, why_wait

__all__ = [
    "BUSY",
    "REFUSED",
    "Continuation",
    "HookEvent",
    "Outcome",
    "PoolUse",
    "admit",
    "admit_all",
    "admit_flows",
    "adopt",
    "cancel",
    "change",
    "change_state",
    "define",
    "delete",
    "delete_pool",
    "failed",
    "finished",
    "gather_all",
    "get_flow",
    "get_pool",
    "get_state",
    "get_task",
    "give_back_of_dead",
    "give_turns",
    "hand_over",
    "look_again",
    "lost",
    "may_change",
    "perform",
    "plan_of",
    "refused",
    "register",
    "rerun",
    "resume",
    "run",
    "send",
    "send_what_waits_for",
    "set_pool",
    "settle",
    "skip",
    "suspend",
    "tell",
    "tell_forgotten",
    "timed_out",
    "told_to_end",
    "top_up",
    "undefine",
    "use_end_notice",
    "use_performer",
    "uuid7",
    "wake",
    "why_wait",
]
