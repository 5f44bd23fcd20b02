"""Fail tasks that no worker takes: their messages cannot be published, or no worker knows their program."""

from __future__ import annotations

from flowerapp import conf
from flowerapp.core import executor
from flowerapp.core.messages import TaskRef
from flowerapp.engine import recovery
from flowerapp.engine.dispatching import REFUSAL_PAUSE
from flowerapp.models import Task
from flowerapp.querysets.db import each_isolated
from flowerapp.watcher.pages import Pages


class Reject:
    """Pages through the tasks that were refused for ``REJECT_AFTER`` seconds; while the broker is reachable, for only
    then were they tried."""

    def __init__(self) -> None:
        self.pages = Pages()

    def __call__(self) -> int:
        """One page; the number rejected."""
        Task.objects.all().take_back_refusals(REFUSAL_PAUSE)
        if not executor.current().connected():
            return 0
        seconds = conf.get().REJECT_AFTER
        refused = Task.objects.refused_for(seconds)
        rows = self.pages.next(refused, "task_flow_id", "task_exec_seq")
        return each_isolated(rows, lambda row: recovery.reject(TaskRef(*row[1:]), seconds))
