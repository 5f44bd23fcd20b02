"""Approvals: steps that wait for a person's decision, without a worker, a connection or a message.

``begin`` asks; ``decisions`` records what a person decides, or that the time ran out. Links and e-mails are in
``approval_links`` and ``approval_mails``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from flowerapp import signals
from flowerapp.core import json_forms, masking, values
from flowerapp.core.approval_options import (
    LONGEST_MESSAGE,
    LONGEST_TITLE,
    ApprovalOptions,
    options_of,
)
from flowerapp.core.format_templates import filled
from flowerapp.core.masking import Secrets
from flowerapp.engine import hooks
from flowerapp.engine.masks import secrets_of
from flowerapp.models import Approval, Hook, Task
from flowerapp.models.approvals import GROUP, USER, decider
from flowerapp.querysets.approvals import in_seconds

ASKED, REMINDED = "approval_asked", "approval_reminded"
"""Hooks."""


def begin(task: Task, parameters: Mapping[str, Any], value: Any) -> float | None:
    """Ask for a decision: the seconds until the time-out, or None. In a transaction, with the task's row locked.

    ``value`` is the input of the step. Raises FlowerError for parameters that cannot be used.
    """
    options = options_of(parameters)
    secrets = secrets_of(*task.ref) | masking.secrets_of(value)
    texts = {
        "title": _text(options.title or task.label or "Approval", value, parameters, secrets, LONGEST_TITLE),
        "message": _text(options.message, value, parameters, secrets, LONGEST_MESSAGE),
    }
    Approval.objects.close(task.task_flow_id, [task.task_exec_seq])
    Approval.objects.create(
        task_flow_id=task.task_flow_id,
        task_exec_seq=task.task_exec_seq,
        run=task.run,
        due_ts=in_seconds(options.timeout),
        remind_ts=in_seconds(options.remind_after),
        **texts,
        **_columns(options, secrets),
    )
    announce(ASKED, task.task_flow_id, task, notifies=bool(options.notify))
    return options.timeout


def _text(template: str, value: Any, parameters: Mapping[str, Any], secrets: Secrets, longest: int) -> str:
    """A template, filled in, with masks for what it quotes."""
    text = values.text(filled(template, value, parameters))
    return values.cut(str(masking.masked(text, secrets)), longest - 60)[:longest]


def _columns(options: ApprovalOptions, secrets: Secrets) -> dict[str, Any]:
    lines = [*(decider(GROUP, name) for name in options.groups), *(decider(USER, name) for name in options.users)]
    choices = [asdict(choice) | {"label": masking.masked(choice.label, secrets)} for choice in options.choices]
    return {
        "permission": options.permission,
        "deciders": "".join(lines),
        "choices": choices,
        "form": None if options.form is None else json_forms.masked(options.form, secrets),
        "default_choice": options.default,
        "on_reject": options.on_reject,
        "self_approval": options.self_approval,
        "notify": list(options.notify),
        "mails_links": options.links,
    }


def announce(hook: str, flow_id: str, task: Task, *, notifies: bool) -> None:
    """Have listeners and, where addresses are to be notified, the sender of e-mails called. In a transaction."""
    if notifies or signals.has_listeners(task.task_id, hook):
        Hook.objects.record(hook, flow_id, task.task_exec_seq, attempt=None)
        hooks.deliver_on_commit(flow_id)


def close(flow_id: str, seqs: Collection[int] | None = None) -> int:
    """Ask no longer about these tasks, or about all of a flow, as their wait has ended otherwise; the number closed."""
    if seqs is None:
        return Approval.objects.close(flow_id)
    asked = Approval.objects.open().filter(task_flow_id=flow_id).values_list("task_exec_seq", flat=True)
    mine = set(asked) & set(seqs)
    return Approval.objects.close(flow_id, mine) if mine else 0


def facts_of(approval: Approval) -> dict[str, Any]:
    """What the history says of an approval."""
    return {"approval": approval.pk, **({"choice": approval.choice} if approval.choice else {})}
