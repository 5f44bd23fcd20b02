"""The acts of users, the permission of each, and the doors to it; ``python -m tests.permissions`` writes the table of
docs/security.md."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flowerapp.core import permissions

PAGE = Path(__file__).resolve().parent.parent / "docs" / "security.md"
BEGIN, END = "<!-- The table is made by `python -m tests.permissions`. -->", "<!-- The end of the table. -->"

READS = ("changelist", "change", "history")
"""Pages of a row's admin that show it."""
FLOW_ACTIONS = ("rerun_failed", "resume", "suspend", "cancel")


@dataclass(frozen=True)
class Act:
    """What a user does, through any door."""

    name: str
    permission: str
    """Empty for what needs none."""
    api: tuple[str, ...] = ()
    """``METHOD name`` of routes."""
    admin: tuple[str, ...] = ()
    """``METHOD model page`` of pages, ``ACTION model name`` of actions on lists, ``VERB model name`` of buttons."""
    commands: tuple[str, ...] = ()
    """Subcommands of ``manage.py flow``."""
    api_text: str = "–"
    admin_text: str = "–"

    @property
    def row(self) -> str:
        """Its line of the table."""
        needed = f"`{self.permission}`" if self.permission else "none"
        included = permissions.INCLUDED_IN.get(self.permission)
        needed += f", or `{included}`" if included else ""
        commands = ", ".join(f"`flow {name}`" for name in self.commands) or "–"
        return f"| {self.name} | {needed} | {self.api_text} | {self.admin_text} | {commands} |"


def _reads(*models: str) -> tuple[str, ...]:
    return tuple(f"GET {model} {page}" for model in models for page in READS)


DEFINE = (permissions.ADD_DEFINITION, permissions.CHANGE_DEFINITION, permissions.DELETE_DEFINITION)
DEFINE_POOL = (permissions.ADD_POOL, permissions.CHANGE_POOL, permissions.DELETE_POOL)


def _writes(model: str, name: str, add: str, change: str, delete: str) -> Iterator[Act]:
    """What is done to a workflow or a pool."""
    many = f"/api/{model}s/"
    for verb, permission, method, pages, button in (
        ("make", add, "POST", ("GET add", "POST add"), "*Add*"),
        ("change", change, "PUT", ("POST change",), "*Save*"),
        ("delete", delete, "DELETE", ("GET delete", "POST delete"), "*Delete*"),
    ):
        yield Act(
            f"{verb} a {model}",
            permission,
            api=(f"{method} {model}s" if method == "POST" else f"{method} {model}",),
            admin=tuple(page.replace(" ", f" {model} ") for page in pages),
            api_text=f"`{method} {many}`" if method == "POST" else f"`{method} {many}{name}/`",
            admin_text=button,
        )


ACTS = [
    Act(
        "see flows, tasks, events, latches, queues, workers, and the API's document",
        permissions.VIEW_FLOW,
        api=(
            *("GET flows", "GET flow", "GET tasks", "GET task", "GET flow-history", "GET flow-graph"),
            *("GET flow-logs", "GET task-logs", "GET flow-archive"),
            *("GET events", "GET event", "GET latches", "GET latch"),
            *("GET root", "GET queues", "GET workers", "GET schema", "GET docs"),
        ),
        admin=(*_reads("flow", "task", "event", "latch", "worker"), "GET flow archive"),
        commands=(
            *("list", "show", "follow", "task", "logs", "graph", "inspect", "archive", "events", "latches"),
            *("workers", "queues"),
        ),
        api_text="`GET` of `/api/`, `/api/flows/…`, `/api/events/…`, `/api/latches/…`, `/api/queues/`, "
        "`/api/workers/`, `/api/schema/`, `/api/docs/`",
        admin_text="Flows, Tasks, Events, Latches, Workers",
    ),
    Act(
        "see workflows and programs",
        permissions.VIEW_DEFINITION,
        api=("GET workflows", "GET workflow", "GET programs"),
        admin=_reads("workflow"),
        commands=("workflows", "programs"),
        api_text="`GET` of `/api/workflows/…`, `/api/programs/`",
        admin_text="Workflows",
    ),
    Act(
        "see pools",
        permissions.VIEW_POOL,
        api=("GET pools", "GET pool"),
        admin=_reads("pool"),
        commands=("pools",),
        api_text="`GET` of `/api/pools/…`",
        admin_text="Pools",
    ),
    Act(
        "see which outputs are kept",
        permissions.VIEW_CACHE,
        api=("GET cache", "GET cache-entry"),
        admin=_reads("cachedoutput"),
        commands=("cache",),
        api_text="`GET` of `/api/cache/…`",
        admin_text="Cached outputs",
    ),
    Act(
        "forget outputs",
        permissions.DELETE_CACHE,
        api=("POST cache-forget", "DELETE cache-entry"),
        admin=("ACTION cachedoutput forget",),
        api_text="`DELETE /api/cache/ID/`, `POST /api/cache/forget/`",
        admin_text="*Forget the selected outputs*",
    ),
    Act(
        "register a flow",
        permissions.REGISTER,
        api=("POST register", "POST register-named"),
        admin=("GET workflow register", "POST workflow register"),
        commands=("run",),
        api_text="`POST /register`, `/register/ID`",
        admin_text="*Register…*",
    ),
    Act(
        "suspend, resume, cancel or rerun a flow; skip, change, end, fail or wake a task; release a latch",
        permissions.OPERATE,
        api=(
            *("POST flow-suspend", "POST flow-resume", "POST flow-cancel", "POST flow-rerun"),
            *("POST task-skip", "POST task-end", "POST task-fail", "POST task-wake", "PATCH task"),
            "POST latch-release",
        ),
        admin=(
            *(f"ACTION flow {name}" for name in FLOW_ACTIONS),
            *(f"VERB flow {name}" for name in ("rerun-failed", "rerun-all", "resume", "suspend", "cancel")),
            *(f"VERB task {name}" for name in ("rerun-failed", "rerun-from", "skip", "change", "end", "fail", "wake")),
            "VERB latch release",
        ),
        commands=("suspend", "resume", "cancel", "rerun", "skip", "end", "fail", "wake", "set", "release"),
        api_text="`POST` of `/api/flows/ID/…`, `PATCH` of a task, `POST /api/latches/NAME/release/`",
        admin_text="buttons and actions",
    ),
    Act(
        "report an event",
        permissions.EMIT_EVENT,
        api=("POST events",),
        admin=("GET event add", "POST event add"),
        commands=("event",),
        api_text="`POST /api/events/`",
        admin_text="*Add*",
    ),
    Act(
        "see approvals",
        permissions.VIEW_APPROVAL,
        api=("GET approvals", "GET approval"),
        admin=_reads("approval"),
        commands=("approvals",),
        api_text="`GET` of `/api/approvals/…`",
        admin_text="Approvals",
    ),
    Act(
        "decide about an approval, if it is for the user",
        permissions.DECIDE,
        api=("POST approval-decide",),
        admin=("VERB approval decide",),
        commands=("approve", "reject"),
        api_text="`POST /api/approvals/ID/decide/`",
        admin_text="buttons",
    ),
    Act(
        "restore a flow from its archive",
        permissions.ADD_FLOW,
        api=("POST flow-restore",),
        admin=("GET flow restore", "POST flow restore"),
        commands=("restore",),
        api_text="`POST /api/flows/restore/`",
        admin_text="*Restore…*",
    ),
    Act(
        "claim remote tasks, with the secrets that they hold, and end them",
        permissions.REMOTE_WORKER,
        api=("POST remote-claim", "POST remote-heartbeat", "POST remote-end"),
        api_text="`POST` of `/api/remote/…`",
    ),
    Act(
        "delete a flow that has ended",
        permissions.DELETE_FLOW,
        admin=("GET flow delete", "POST flow delete", "ACTION flow delete_selected"),
        admin_text="*Delete*",
    ),
    *_writes(
        "workflow", "ID", permissions.ADD_DEFINITION, permissions.CHANGE_DEFINITION, permissions.DELETE_DEFINITION
    ),
    *_writes("pool", "NAME", *DEFINE_POOL),
    Act("ask for the server's health", "", api=("GET livez", "GET readyz"), api_text="`GET /livez`, `/readyz`"),
]
OTHER_COMMANDS = {"token", "lint", "format", "simulate", "receipts"}
"""The first makes the token of a user; in the admin, the pages of ``rest_framework.authtoken`` do that. The next two
read the caller's own files. The last two stand in for workers."""
CLOSED = (
    *(
        f"{method} {model} add"
        for model in ("approval", "cachedoutput", "flow", "task", "latch", "worker")
        for method in ("GET", "POST")
    ),
    *(
        f"{method} {model} delete"
        for model in ("approval", "cachedoutput", "task", "event", "latch", "worker")
        for method in ("GET", "POST")
    ),
    *(f"POST {model} change" for model in ("approval", "cachedoutput", "flow", "task", "event", "latch", "worker")),
)
"""Pages of Django's admin that no user may open: the engine alone does this."""


def table() -> str:
    """The table as Markdown."""
    head = ["| act | permission | API | admin | command line |", "|---|---|---|---|---|"]
    return "\n".join([*head, *(act.row for act in ACTS)])


def written(page: str) -> str:
    """The page with the table as it is now."""
    return re.sub(f"(?<={re.escape(BEGIN)}\n\n).*(?=\n\n{re.escape(END)})", lambda _: table(), page, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.exit(0)
