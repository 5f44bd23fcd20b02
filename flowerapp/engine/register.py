"""From workflows to flows: one, or many in one commit."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from django.db import IntegrityError

from flowerapp import conf
from flowerapp.core import executor, values
from flowerapp.core.messages import SEND_BATCH, Message
from flowerapp.core.overriding import MayOverride
from flowerapp.core.plan import Plan
from flowerapp.engine.admission import admit, admit_flows
from flowerapp.engine.dispatching import send_deferred, send_on_commit
from flowerapp.engine.earlier import Answers
from flowerapp.engine.propagation import complete_all_parked
from flowerapp.engine.registration import Caller, Draft, Drafts, Registration, check_number
from flowerapp.exceptions import (
    MOST_PROBLEMS,
    FlowerError,
    InvalidError,
    RefusedRegistration,
    RegistrationsRefusedError,
    UnknownWorkflowError,
)
from flowerapp.models import Flow, TaskDefinition
from flowerapp.querysets import batched
from flowerapp.querysets.db import atomic, connection, on_commit
from flowerapp.querysets.insert import Expected, NewFlow

_stores: list[Callable[[str], Plan | None]] = []


def add_store(store: Callable[[str], Plan | None]) -> None:
    """Call ``store`` with the name of each workflow that has no rows.

    It stores the workflow, and returns its plan, or None if it does not know it.
    """
    _stores.append(store)


def plan_of(task_id: str) -> Plan:
    """The workflow as a plan, stored first if it never was and a class defines it; raises UnknownWorkflowError."""
    plan = None
    if values.storable(task_id):
        plan = TaskDefinition.objects.plan(task_id) or next(filter(None, (store(task_id) for store in _stores)), None)
    if plan is None:
        raise UnknownWorkflowError(f"workflow {task_id!r} has no rows in ms_task_definition")
    return plan


def register(
    task_id: str,
    *,
    input: Any = None,
    priority: int = 0,
    parameters: Mapping[int, Mapping[str, Any]] | None = None,
    entrance: int | str | None = None,
    idempotency_key: str | None = None,
    actor: str = "",
    may_override: MayOverride = MayOverride.ANY,
) -> Flow:
    """Write a flow and its tasks from a workflow, send the ready ones on commit, and return the flow.

    ``input`` is JSON (None is ``{}``), ``priority`` is added to each task's, ``parameters`` are over those of the
    definition by ``task_seq``, ``entrance`` is the ``task_seq`` or name of the step to start at: only it and what
    follows it is run. A second call with the same ``idempotency_key``, by the same actor for the same workflow, returns
    the flow of the first, or raises IdempotencyConflictError if it asks for something else. For a unique workflow it is
    the active flow, if there is one. ``flow.created`` says whether the flow is new. ``may_override`` says which
    parameters the caller may override of steps that hold masked values; a value ``••••`` keeps the stored one.
    Raises UnknownWorkflowError, InvalidPlanError, InvalidValueError, IdempotencyConflictError.
    """
    registration = Registration(
        task_id,
        input=input,
        priority=priority,
        parameters=parameters,
        entrance=entrance,
        idempotency_key=idempotency_key,
    )
    drafts = Drafts(Caller(actor, may_override))
    if flow := _by_last_plan(registration, drafts):
        return flow
    try:
        return _write([drafts.draft(registration, plan_of(task_id))])[0]
    except RegistrationsRefusedError as error:
        raise error.refusals[0].error from None


def register_plan(
    plan: Plan,
    *,
    input: Any = None,
    priority: int = 0,
    idempotency_key: str | None = None,
    source: str = "",
    actor: str = "",
) -> Flow:
    """Write a flow of a plan that is not stored as a workflow, send what is ready on commit, and return the flow.

    ``source`` is the text from which the plan was compiled; it is kept with the flow. The plan is checked as any other.
    ``max_active_flows`` and ``unique``, of the plan or of a stored workflow of its name, do not hold for the flow, but
    it counts as one of that workflow. The other arguments, and what is raised, are those of ``register``.
    """
    registration = Registration(plan.name, input=input, priority=priority, idempotency_key=idempotency_key)
    plan = replace(plan, max_active_flows=None, unique=False)
    try:
        return _write([Drafts(Caller(actor)).draft(registration, plan, source)])[0]
    except RegistrationsRefusedError as error:
        raise error.refusals[0].error from None


def _by_last_plan(registration: Registration, drafts: Drafts) -> Flow | None:
    """Register in one round trip, by the plan that this process read last, if the statement finds it unchanged.

    Not for what needs a second statement. If anything is refused, the plan is read anew: it may have changed.
    """
    read = TaskDefinition.objects.last_read(registration.task_id)
    if read is None or read.plan.unique or registration.idempotency_key is not None:
        return None
    try:
        draft = drafts.draft(registration, read.plan)
    except FlowerError:
        return None
    expected = Expected(registration.task_id, read.fingerprint, TaskDefinition.objects.fingerprint())
    with atomic() if _may_fail([draft]) else nullcontext():
        return draft.flow if _insert([draft], expected) else None


def register_many(
    registrations: Iterable[Registration | Mapping[str, Any] | str],
    *,
    actor: str = "",
    may_override: MayOverride = MayOverride.ANY,
) -> list[Flow]:
    """Register flows of any workflows in one commit, all or none, and return a flow for each item, in order.

    An item is a ``Registration``, a mapping with the fields of one, as ``{"task_id": "etl", "input": {"n": 1}}``, or
    the name of a workflow. The rules are those of ``register``: an item with the key of an earlier one, or a further
    one of a unique workflow, is answered by the flow of that one, with ``created`` false. At most
    ``FLOWER["MAX_REGISTRATIONS"]`` items, with ``MAX_TASKS`` tasks together. Raises RegistrationsRefusedError, which
    says of each refused item its place and why; InvalidError for a list that is empty or too long.
    """
    items = list(islice(registrations, conf.get().MAX_REGISTRATIONS + 1))
    check_number(len(items))
    return _write(_drafts_of(items, Caller(actor, may_override)))


def _drafts_of(items: Sequence[Any], caller: Caller) -> list[Draft]:
    """The drafts of all items; raises RegistrationsRefusedError."""
    drafts, plans = Drafts(caller), _Plans()
    made: list[Draft] = []
    refusals: list[RefusedRegistration] = []
    tasks = 0
    for index, item in enumerate(items):
        try:
            registration = Registration.of(item)
            made.append(drafts.draft(registration, plans.plan_of(registration.task_id)))
            tasks += len(made[-1].plan.nodes)
            _must_be_few_tasks(tasks)
        except FlowerError as error:
            refusals.append(RefusedRegistration(index, _name_in(item), error))
        if len(refusals) == MOST_PROBLEMS or tasks > conf.get().MAX_TASKS:
            break
    if refusals:
        raise RegistrationsRefusedError(refusals)
    return made


def _must_be_few_tasks(tasks: int) -> None:
    most = conf.get().MAX_TASKS
    if tasks > most:
        raise InvalidError(
            f"with this item the flows have {tasks:,} tasks; one call takes {most:,} (FLOWER['MAX_TASKS'])"
        )


def _name_in(item: Any) -> str:
    """The workflow's name in an item, if it has one."""
    name = item.get("task_id", "") if isinstance(item, Mapping) else getattr(item, "task_id", item)
    return name[:256] if isinstance(name, str) else ""


class _Plans:
    """The plans that one call has read."""

    def __init__(self) -> None:
        self._read: dict[str, Plan | UnknownWorkflowError] = {}

    def plan_of(self, task_id: str) -> Plan:
        """The plan, read once; raises UnknownWorkflowError."""
        if task_id not in self._read:
            try:
                self._read[task_id] = plan_of(task_id)
            except UnknownWorkflowError as error:
                self._read[task_id] = error
        plan = self._read[task_id]
        if isinstance(plan, UnknownWorkflowError):
            raise plan
        return plan


TRIES = 5
"""Times that registrations are tried while other calls register with the same keys."""


def _write(drafts: Sequence[Draft], tries: int = TRIES) -> list[Flow]:
    """Write the drafts that no other flow answers: the flow of each draft, in order.

    Raises RegistrationsRefusedError.
    """
    answers = Answers.found(drafts)
    try:
        _insert_unanswered(answers)
    except IntegrityError:  # another call has registered with one of the keys: its flow is the answer
        if tries <= 1 or not answers.have_keys:
            raise
        return _write(drafts, tries - 1)
    return list(_flows(answers))


def _insert_unanswered(answers: Answers) -> None:
    if not answers.new:
        return
    with atomic() if _may_fail(answers.new) else nullcontext():
        answers.look_under_lock()
        if answers.new:
            _insert(answers.new)


def _may_fail(drafts: Sequence[Draft]) -> bool:
    """Whether more than one statement is made, or one whose failure a caller's transaction has to survive."""
    special = any(draft.plan.unique or draft.flow.idempotency_key is not None for draft in drafts)
    return special or connection().in_atomic_block


def _flows(answers: Answers) -> Iterator[Flow]:
    for index, draft in enumerate(answers.drafts):
        answer = answers.by_index.get(index, draft.flow)
        if isinstance(answer, int):
            answer = copy.copy(answers.drafts[answer].flow)
            answer.created = False
        yield answer


def _insert(drafts: Sequence[Draft], expected: Expected | None = None) -> bool:
    """Write flows with their tasks, and send on commit what is ready; False if a workflow is not as expected."""
    sending = _sent_now(drafts) if executor.current().connected() else set()
    new = [NewFlow(draft.flow, draft.tasks.rows, draft.flow.pk in sending) for draft in drafts]
    if expected is None:
        Flow.objects.insert(new)
    elif not Flow.objects.insert_expected(new[0], expected):
        return False
    for draft in drafts:
        draft.flow.created = True
    _send(draft for draft in drafts if draft.flow.pk in sending)
    _start_others(drafts)
    return True


def _start_others(drafts: Sequence[Draft]) -> None:
    """On commit, send more of a wide flow, complete the gates that are ready, and admit what waits for a limit."""
    if wide := next((draft.flow.pk for draft in drafts if draft.tasks.has_deferred), None):
        on_commit(lambda: send_deferred(wide))  # of one; the others have sent some, and the watcher keeps workers busy
    if with_gates := [draft.flow.pk for draft in drafts if draft.tasks.has_gates]:
        on_commit(partial(complete_all_parked, with_gates))
    for task_id in {draft.flow.task_id for draft in drafts if not draft.flow.admitted}:
        on_commit(partial(admit_flows, task_id))
    if pools := {pool for draft in drafts if draft.flow.admitted for pool in draft.tasks.pools}:
        on_commit(lambda: admit(pools))


def _sent_now(drafts: Sequence[Draft]) -> set[str]:
    """Ids of the flows whose messages go out on commit, most urgent first; the watcher sends those of the others."""
    flow_ids: set[str] = set()
    room = SEND_BATCH if not executor.current().runs_here else sum(len(draft.tasks.first) for draft in drafts)
    for draft in sorted(drafts, key=lambda draft: draft.flow.task_priority):
        room -= len(draft.tasks.first)
        if flow_ids and room < 0:
            break
        flow_ids.add(draft.flow.pk)
    return flow_ids


def _send(drafts: Iterable[Draft]) -> None:
    messages: list[Message] = [message for draft in drafts for message in draft.tasks.messages(draft.flow.pk)]
    for batch in batched(messages, SEND_BATCH) if executor.current().runs_here else [messages]:
        send_on_commit(batch)
