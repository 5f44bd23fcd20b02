"""What both hosts have had before flowerapp: Celery tasks; and the flow that is made of them."""

from __future__ import annotations

from typing import Any

from tests.hosts.host import Host
from tests.hosts.readme import INSTALLATION, Block, blocks

TASKS = """
    from pathlib import Path

    from celery import shared_task

    STOCK = Path(__file__).resolve().parent.parent / "stock"


    @shared_task
    def count():
        return 5


    @shared_task
    def add(x, y):
        return x + y


    @shared_task
    def total(numbers):
        return sum(numbers)


    @shared_task(bind=True)
    def take(self, number):
        if not STOCK.exists():
            raise RuntimeError(f"no stock for {number}")
        return number * 10
    """
PERSON = """
    from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
    from django.contrib.auth.models import PermissionsMixin
    from django.db import models


    class People(BaseUserManager):
        pass


    class Person(AbstractBaseUser, PermissionsMixin):
        email = models.EmailField(unique=True)
        is_staff = is_active = True
        objects = People()
        USERNAME_FIELD = "email"
    """
"""The users of a host that log in by their email addresses."""
PROGRAMS = """
    from flowerapp.registry import program

    from shop.tasks import add


    @program("Spread")
    def spread(ctx):
        ctx.add_children([add.s(number, ctx.input) for number in range(3)])
    """
STEPS = [
    (1, "shop.tasks.count", [], {}),
    (2, "shop.tasks.add", [1], {"y": 1}),
    (3, "shop.tasks.add", [1], {"y": 2}),
    (4, "shop.tasks.total", [2, 3], {}),
    (5, "shop.tasks.take", [4], {}),
    (6, "Spread", [5], {}),
    (7, "shop.tasks.total", [6], {}),
]
"""``(task_seq, program, depends_on, parameters)``: a chord (2 and 3 to 4), a task that fails (5), children (6)."""
BEFORE = {"1": 5, "2": 6, "3": 7, "4": 13}
"""The outputs of the steps before the one that fails."""
AFTER = {"5": 130, "6": [130, 131, 132], "7": 393}
"""The outputs of the others, once there is stock."""

DEFINE = f"""
    from flowerapp import engine
    from flowerapp.models import TaskDefinition

    rows = [
        TaskDefinition(task_id="order", task_seq=seq, program=program, depends_on=depends_on, parameters=parameters)
        for seq, program, depends_on, parameters in {STEPS!r}
    ]
    engine.define("order", rows)
    answer = None
    """
LOOK = """
    from flowerapp.models import Flow, HistoryEntry

    answer = [
        {
            "workflow": flow.task_id,
            "id": flow.pk,
            "status": flow.status.label,
            "by": flow.registered_by,
            "outputs": {
                str(task.task_exec_seq): task.output
                for task in flow.tasks.all()
                if task.parent_seq is None and task.status.label == "Finish"
            },
            "attempts": {str(task.task_exec_seq): task.attempt for task in flow.tasks.all() if task.parent_seq is None},
            "errors": [task.error for task in flow.tasks.all() if task.error],
            "history": [str(entry) for entry in HistoryEntry.objects.filter(task_flow_id=flow.pk)],
        }
        for flow in Flow.objects.order_by("registered_ts")
    ]
    """


def pasted(*headings: str) -> list[Block]:
    """The blocks to paste: README's class and lines, and those of the installation page under headings."""
    sections = [blocks(heading="A workflow in Python"), blocks(heading="In your own project")]
    sections += [blocks(INSTALLATION, heading) for heading in headings]
    return [block for section in sections for block in section if block.file]


def typed() -> str:
    """What README says to type."""
    return "\n".join(block.text for block in blocks(heading="In your own project") if block.language == "sh")


def flows(host: Host, workflow: str) -> list[dict[str, Any]]:
    """The flows of a workflow, the oldest first."""
    return [flow for flow in host.ask(LOOK) if flow["workflow"] == workflow]
