"""The request of a host task that runs for a flow, and the methods of Celery's Task that look whether it is there.

``retry``, ``replace`` and ``update_state`` of a task publish messages and write to the host's result backend. For a
task of a flow they ask the engine instead: a retry is noted, a replacement is refused, a state becomes the task's
progress.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from celery import Task, current_task
from celery.app.task import Context as Request
from celery.exceptions import Ignore
from celery.utils.nodenames import gethostname
from celery.utils.time import maybe_make_aware

from flowerapp.core.masking import masked
from flowerapp.engine.context import Context
from flowerapp.executors.celery import host_values
from flowerapp.executors.celery.routes import queue_of, ref_of

if TYPE_CHECKING:
    from celery import Signature

_OURS = "flowerapp"
"""Attribute of a request: the ``Asked`` of the flow's attempt that it belongs to."""


class Asked:
    """What the code of a host task asks for while it runs in a flow."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.refusal = ""
        """Why the attempt must fail, because of what it asked for."""
        self.retry: Signature[Any] | None = None
        """The call that ``self.retry`` would have published."""
        self.state: tuple[str | None, Any] = None, None
        """State and meta of the last ``self.update_state``."""

    def refuse(self, reason: str) -> None:
        """End the attempt; as Ignore it passes the task's autoretry."""
        self.refusal = reason
        raise Ignore(reason)

    def note_retry(self, signature: Signature[Any], task: Any) -> None:
        """Note the retry that would have been published; one with other arguments is refused."""
        before = task.request
        if _named(task, signature.args, signature.kwargs) != _named(task, before.args, before.kwargs):
            self.refuse(
                f"{task.name} called self.retry with other arguments, and a flow's task is retried with its own; "
                "keep what changes in ctx.state or in the database"
            )
        self.retry = signature

    def note_state(self, state: str | None, meta: Any) -> None:
        """Show a state as the task's progress."""
        self.state = state, meta
        shown = host_values.encode(_as_meta(meta), "meta of update_state")
        progress = {**_counts(shown), "state": state, "meta": shown}
        self.context.report(progress)


def _as_meta(meta: Any) -> Any:
    """An exception as Celery's result backends write it; any other value as it is."""
    if not isinstance(meta, BaseException):
        return meta
    return {"exc_type": type(meta).__name__, "exc_message": [str(argument) for argument in meta.args]}


def _counts(meta: Any) -> dict[str, Any]:
    """``{"done", "total"}`` where ``meta`` has numbers under the usual names."""
    if not isinstance(meta, dict):
        return {}
    done, total = meta.get("done", meta.get("current")), meta.get("total")
    numbers = all(isinstance(number, (int, float)) for number in (done, total))
    return {"done": done, "total": total} if numbers else {}


def _named(task: Any, args: Any, kwargs: Any) -> dict[Any, Any]:
    """Arguments by name as far as the signature has names, so that equal calls are equal."""
    items = inspect.signature(task.run).parameters.values()
    placed = [item.name for item in items if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)]
    return {**(kwargs or {}), **dict(zip([*placed, *range(len(args or ()))], args or (), strict=False))}


def seconds_until(when: Any, task: Any) -> float | None:
    """``countdown`` or ``eta`` of a retry in seconds; None if it is neither."""
    if isinstance(when, datetime):
        aware = maybe_make_aware(when, task.app.timezone)
        return max(0.0, (aware - datetime.now(UTC)).total_seconds())
    return float(when) if isinstance(when, (int, float)) else None


def delay_of(signature: Signature[Any], task: Any) -> float | None:
    """Seconds until the start of a retry that would have been published."""
    when = signature.options.get("eta") or signature.options.get("countdown")
    return seconds_until(when, task)


_NOT_IN_FLOWS = ("callbacks", "errbacks", "chain", "chord", "group", "group_index", "eta", "expires", "shadow")
"""Attributes of a request that its flow has in other ways, or not at all."""


class HostRequest(Request):
    """A request that describes its arguments, with secrets masked, to those who ask."""

    @property
    def argsrepr(self) -> str:
        """The positional arguments."""
        return repr(masked(self.args))

    @property
    def kwargsrepr(self) -> str:
        """The keyword arguments."""
        return repr(masked(self.kwargs))


def request_of(task: Any, asked: Asked, args: list[Any], kwargs: dict[str, Any]) -> Request:
    """The request that a host task sees: that of the flow's message, with the task's own name, arguments and retries.

    Its id is the same for all attempts of a run, as Celery keeps it over retries; its root is the flow.
    """
    claim = asked.context.claim
    own = {
        "task": task.name,
        "id": asked.context.idempotency_key,
        "correlation_id": asked.context.idempotency_key,
        "root_id": claim.flow_id,
        "retries": claim.retries,
        "args": args,
        "kwargs": kwargs,
        "called_directly": False,
        "is_eager": False,
        "ignore_result": task.ignore_result,
        **dict.fromkeys(_NOT_IN_FLOWS),
        "_children": None,
        "_protected": 0,
        _OURS: asked,
    }
    return HostRequest({**_carried(claim), **own})


def _carried(claim: Any) -> dict[str, Any]:
    """What the message of a task says of itself; something like it where no message brought the task."""
    carrier = getattr(current_task, "request", None)
    if carrier is not None and ref_of(carrier.id) == claim.ref:
        return dict(vars(carrier))
    queue = queue_of(claim.program, claim.queue)
    info = {"exchange": "", "routing_key": queue, "priority": None, "redelivered": False}
    return {"hostname": gethostname(), "delivery_info": info, "parent_id": None, "timelimit": [None, None]}


def _asked(task: Any) -> Asked | None:
    """What the flow's attempt asks for that runs this task; None if no flow runs it."""
    return getattr(task.request, _OURS, None)


def _signature_from_request(original: Callable[..., Any], asked: Asked, task: Any, *args: Any, **kwargs: Any) -> Any:
    signature = original(task, *args, **kwargs)
    signature.apply_async = lambda *_, **__: asked.note_retry(signature, task)
    return signature


def _replace(original: Callable[..., Any], asked: Asked, task: Any, *_: Any, **__: Any) -> Any:
    asked.refuse(
        f"{task.name} called self.replace, which a flow cannot follow; nothing was sent: make the replacement a step, "
        "or let a program add it by ctx.add_children"
    )


def _update_state(
    original: Callable[..., Any],
    asked: Asked,
    task: Any,
    task_id: str | None = None,
    state: str | None = None,
    meta: Any = None,
    **options: Any,
) -> Any:
    if task_id not in (None, task.request.id):
        return original(task, task_id, state, meta, **options)
    return asked.note_state(state, meta)


def install() -> None:
    """Let Celery's Task ask the engine where a flow runs it; any other call is Celery's own."""
    for name, instead in _INSTEAD.items():
        original = getattr(Task, name)
        if not hasattr(original, _OURS):
            setattr(Task, name, _looking(original, instead))


def _looking(original: Callable[..., Any], instead: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        asked = _asked(self)
        if asked is None:
            return original(self, *args, **kwargs)
        return instead(original, asked, self, *args, **kwargs)

    functools.update_wrapper(method, original)
    del method.__wrapped__  # type: ignore[attr-defined] # Celery takes what it wraps for the method to annotate
    setattr(method, _OURS, True)
    return method


_INSTEAD: dict[str, Callable[..., Any]] = {
    "signature_from_request": _signature_from_request,
    "replace": _replace,
    "update_state": _update_state,
}
