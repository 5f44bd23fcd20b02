"""The flows that answer requests in place of new ones: of the same idempotency key, or of a unique workflow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flowerapp.engine.registration import Draft
from flowerapp.exceptions import IdempotencyConflictError, RefusedRegistration, RegistrationsRefusedError
from flowerapp.models import Flow, Workflow
from flowerapp.querysets import batched
from flowerapp.states import ACTIVE


class Answers:
    """Which flow answers each draft of a call, where it is not the draft's own."""

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self.drafts = drafts
        self.by_index: dict[int, Flow | int] = {}
        """Place of a draft → the flow that answers it, or the place of the draft before it that does."""

    @classmethod
    def found(cls, drafts: Sequence[Draft]) -> Answers:
        """The answers as the database has them now.

        Raises RegistrationsRefusedError for keys that were used for other requests.
        """
        answers = cls(drafts)
        answers._look_for_keys()
        answers._look_for_active(lock=False)
        return answers

    @property
    def new(self) -> list[Draft]:
        """The drafts that no other flow answers."""
        return [draft for index, draft in enumerate(self.drafts) if index not in self.by_index]

    @property
    def have_keys(self) -> bool:
        """Whether a draft has an idempotency key."""
        return any(draft.flow.idempotency_key is not None for draft in self.drafts)

    def look_under_lock(self) -> None:
        """Look for active flows of unique workflows again, with the rows of these locked. In a transaction."""
        self._look_for_active(lock=True)

    def _look_for_keys(self) -> None:
        keyed = {index: draft.flow for index, draft in enumerate(self.drafts) if draft.flow.idempotency_key is not None}
        stored = _stored(keyed.values())
        first: dict[tuple[str, str | None], int] = {}
        refusals = []
        for index, flow in keyed.items():
            key = flow.task_id, flow.idempotency_key
            answer = stored.get(key)
            earlier = answer or keyed[first.setdefault(key, index)]
            if earlier.request_hash != flow.request_hash:
                refusals.append(RefusedRegistration(index, flow.task_id, _conflict(flow, answer)))
            elif earlier is not flow:
                self.by_index[index] = answer or first[key]
        if refusals:
            raise RegistrationsRefusedError(refusals)

    def _look_for_active(self, *, lock: bool) -> None:
        first: dict[str, int] = {}
        active: dict[str, Flow | None] = {}
        unique = {
            index: draft
            for index, draft in enumerate(self.drafts)
            if draft.plan.unique and not isinstance(self.by_index.get(index), Flow)
        }
        for task_id in sorted({draft.flow.task_id for draft in unique.values()}):
            if not lock or Workflow.objects.limit(task_id):
                active[task_id] = _active(task_id)
        for index, draft in unique.items():
            before = first.setdefault(draft.flow.task_id, index)
            if answer := active.get(draft.flow.task_id):
                self.by_index[index] = answer
            elif before != index:
                self.by_index[index] = before


def _stored(flows: Iterable[Flow]) -> dict[tuple[str, str | None], Flow]:
    """Flows that were registered with the keys of these, by workflow and key."""
    keys: dict[tuple[str, str], list[str | None]] = {}
    for flow in flows:
        keys.setdefault((flow.registered_by, flow.task_id), []).append(flow.idempotency_key)
    return {
        (task_id, earlier.idempotency_key): earlier
        for (actor, task_id), listed in keys.items()
        for batch in batched(listed)
        for earlier in Flow.objects.filter(registered_by=actor, task_id=task_id, idempotency_key__in=batch)
    }


def _active(task_id: str) -> Flow | None:
    """The flow of a unique workflow that is active, or waits to be admitted."""
    return Flow.objects.filter(task_id=task_id, exec_status__in=ACTIVE).order_by("-admitted", "registered_ts").first()


def _conflict(flow: Flow, earlier: Flow | None) -> IdempotencyConflictError:
    used = f"for flow {earlier.pk}" if earlier else "before in this list"
    return IdempotencyConflictError(
        f"Idempotency-Key {flow.idempotency_key!r} was used {used} with a different request; use a new key"
    )
