"""E-mails about approvals, to the addresses that a step names, through Django's mail backend.

They are sent by the worker that delivers the event, so a slow mail server delays no flow. An error is written to the
history of the task.
"""

from __future__ import annotations

from django.core.mail import EmailMessage

from flowerapp import conf
from flowerapp.core.messages import TaskRef
from flowerapp.engine import approval_links, approvals, hooks
from flowerapp.engine.hooks import HookEvent
from flowerapp.models import Approval
from flowerapp.selectors import times
from flowerapp.selectors.approvals import deciders, shown_approvals


def send(event: HookEvent) -> None:
    """Send an e-mail to each address of an open approval; raises the last error after all were tried."""
    asked = shown_approvals().open().of(TaskRef(event.flow_id, event.seq or 0))
    approval: Approval | None = asked.first()
    failed: Exception | None = None
    for address in approval.notify if approval is not None else ():
        try:
            _message(approval, address, event.name).send()  # type: ignore[arg-type]
        except Exception as error:
            failed = error
    if failed is not None:
        raise failed


def _message(approval: Approval, address: str, name: str) -> EmailMessage:
    again = "Reminder: " if name == approvals.REMINDED else ""
    subject = " ".join(f"{again}{approval.title}".split())
    return EmailMessage(subject, "\n".join(_lines(approval, address)), to=[address])


def _lines(approval: Approval, address: str) -> list[str]:
    flow = approval.task_flow
    lines = [*([approval.message, ""] if approval.message else [])]
    lines += [f"Workflow {flow.task_id}, flow {flow.pk}, task {approval.task_exec_seq}."]
    lines += [f"The decision is one {deciders(approval)}: {', '.join(way.label for way in approval.ways)}."]
    if approval.due_ts:
        lines += [f"It is asked for until {times.with_zone(approval.due_ts)}."]
    if approval.mails_links and conf.get().APPROVAL_LINKS:
        link = approval_links.link_to(approval.pk, address)
        lines += ["", "Decide here, once; the link is yours alone:", link]
    return lines


for _name in (approvals.ASKED, approvals.REMINDED):
    hooks.OWN[_name] = send
