"""Calls of the command line, and workflows for them."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

from django.core.management import CommandError, call_command

from flowerapp.models import TaskDefinition


@dataclass
class Answer:
    """What a call printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def flow(*arguments: object, **options: Any) -> Answer:
    """Call ``manage.py flow``; ``options`` are those of Django's commands."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    try:
        call_command("flow", *map(str, arguments), stdout=out, stderr=err, **options)
    except CommandError as error:
        code = error.returncode
        err.write(str(error))
    except SystemExit as error:
        code = int(error.code or 0)
    return Answer(code, out.getvalue(), err.getvalue())


def define(name: str, *steps: dict[str, Any]) -> None:
    """Store a workflow; seqs count from 1."""
    for seq, step in enumerate(steps, start=1):
        TaskDefinition.objects.create(task_id=name, task_seq=seq, **step)
