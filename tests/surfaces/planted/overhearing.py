"""Keeps what leaves by other ways than pages and answers: logs, messages, events, signals, and the outbox of hooks."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from celery import signals
from celery.events.dispatcher import EventDispatcher

from flowerapp import signals as hooks
from flowerapp.executors.celery.routes import REGISTER
from flowerapp.models import Hook
from tests.surfaces.planted.programs import quoting

TASK_SIGNALS = (signals.task_failure, signals.task_retry, signals.task_success, signals.task_unknown)
HOOKS = (hooks.task_failed, hooks.task_exit, hooks.task_over)


class Overheard:
    """What was kept, by channel."""

    def __init__(self) -> None:
        self.log = io.StringIO()
        self.channels: dict[str, list[str]] = {
            name: [] for name in ("records", "messages", "signals", "events", "kr_hook")
        }

    @property
    def texts(self) -> dict[str, str]:
        """The text of each channel."""
        return {name: "\n".join(kept) for name, kept in self.channels.items()} | {"log": self.log.getvalue()}

    def keep(self, channel: str, what: Any) -> None:
        """Keep it as text."""
        self.channels[channel].append(str(what))

    def on_record(self, record: logging.LogRecord) -> bool:
        """A line of any log, with all that belongs to it."""
        self.keep("records", vars(record))
        return True

    def on_publish(self, body: Any = None, headers: Any = None, **more: Any) -> None:
        """A message; the body of one that registers a flow is the registration."""
        is_registration = (headers or {}).get("task") == REGISTER
        self.keep("messages", [headers, more] if is_registration else [body, headers, more])

    def on_task(self, **facts: Any) -> None:
        """A signal of Celery about a task; its receivers are code, which gets the arguments as they are."""
        shown = {name: repr(value) for name, value in facts.items() if name not in {"args", "kwargs", "signal"}}
        self.keep("signals", [shown, str(facts.get("einfo")), getattr(facts.get("request"), "argsrepr", "")])

    def on_event(self, kind: str, fields: Any) -> None:
        """An event for monitors."""
        self.keep("events", [kind, fields])

    def on_hook(self, event: Any, **_: Any) -> None:
        """An event of a hook, while its row is in the outbox; a listener's own error quotes what it gets."""
        self.keep("kr_hook", [*Hook.objects.values(), event.error])
        raise ValueError(quoting([event.task.parameters if event.task else {}, event.flow.input]))

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block, everything is kept; logs are at DEBUG."""
        handler = logging.StreamHandler(self.log)
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
        handler.addFilter(self.on_record)
        root, level, send = logging.getLogger(), logging.getLogger().level, EventDispatcher.send

        def sent(dispatcher: Any, kind: str, *arguments: Any, **fields: Any) -> Any:
            self.on_event(kind, fields)
            return send(dispatcher, kind, *arguments, **fields)

        with ExitStack() as stack:
            listeners = [(signal, self.on_task) for signal in TASK_SIGNALS] + [(hook, self.on_hook) for hook in HOOKS]
            for signal, listener in [*listeners, (signals.before_task_publish, self.on_publish)]:
                signal.connect(listener)
                stack.callback(signal.disconnect, listener)
            stack.enter_context(mock.patch.object(EventDispatcher, "send", sent))
            root.addHandler(handler)
            stack.callback(root.removeHandler, handler)
            root.setLevel(logging.DEBUG)
            stack.callback(root.setLevel, level)
            yield
