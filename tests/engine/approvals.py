"""Flows that ask for a decision, and users who may decide, for the tests of approvals."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group, Permission, User

from flowerapp import engine
from flowerapp.core.gates import APPROVAL
from flowerapp.core.plan import Node
from flowerapp.models import Approval, Flow
from flowerapp.testing import InlineRunner
from tests.engine.support import planned

FORM = {
    "type": "object",
    "properties": {"amount": {"type": "number", "title": "Amount", "minimum": 0}, "password": {"type": "string"}},
    "required": ["amount"],
}


def approval(seq: int, *before: int, name: str = "boss", **parameters: Any) -> Node:
    """A step that asks."""
    return Node(seq=seq, program=APPROVAL, name=name, depends_on=before, parameters=parameters)


def echo(seq: int, *before: int, **options: Any) -> Node:
    """A task that returns its input."""
    return Node(seq=seq, program="Echo", depends_on=before, **options)


def asking(runner: InlineRunner, *, actor: str = "", input: Any = None, **parameters: Any) -> Flow:
    """A flow of three steps whose second asks."""
    flow = planned(echo(1), approval(2, 1, **parameters), echo(3, 2), input={} if input is None else input, actor=actor)
    runner.run()
    return engine.get_flow(flow.pk)


def asked(flow: Flow, seq: int = 2) -> Approval:
    """The last approval of a task, as the database has it."""
    latest: Approval = Approval.objects.filter(task_flow=flow, task_exec_seq=seq).order_by("-id")[0]
    return latest


def user(name: str, *permissions: str, groups: tuple[str, ...] = ()) -> User:
    """A user with these permissions of flowerapp, in these groups."""
    made = User.objects.create_user(name)
    made.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    made.groups.set([Group.objects.get_or_create(name=group)[0] for group in groups])
    return made


def decider(name: str, *permissions: str, groups: tuple[str, ...] = ()) -> User:
    """A user who may decide."""
    return user(name, "decide_approval", *permissions, groups=groups)
