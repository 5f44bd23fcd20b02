"""Celery tasks as a host has them: nothing in them knows of flowerapp."""

import time
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery import Celery, Task, current_app, current_task, shared_task
from celery._state import connect_on_app_finalize
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.log import get_task_logger
from pydantic import BaseModel

if TYPE_CHECKING:
    from nowhere import Nothing  # type: ignore[import-not-found] # as hosts import names that only checkers need

CALLS: list[tuple[Any, ...]] = []
"""What the handlers of ``Watched`` were called with, in order."""


class ListedError(Exception):
    """A listed error."""


class Watched(Task):  # type: ignore[type-arg]
    """A base class that notes each call of a handler."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        CALLS.append(("__call__", self.request.id, list(args), kwargs))
        return super().__call__(*args, **kwargs)

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        CALLS.append(("before_start", task_id, list(args), kwargs))

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        CALLS.append(("on_success", task_id, retval))

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        CALLS.append(("on_retry", task_id, repr(exc), bool(einfo.traceback)))

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        CALLS.append(("on_failure", task_id, repr(exc), bool(einfo.traceback)))

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        CALLS.append(("after_return", task_id, status, repr(retval)))


@shared_task
def add(x, y):  # type: ignore[no-untyped-def] # as hosts write them
    """Add two numbers."""
    return x + y


@shared_task
def mul(x, y=10):  # type: ignore[no-untyped-def]
    return x * y


@shared_task
def total(numbers):  # type: ignore[no-untyped-def]
    return sum(numbers)


@shared_task
def total_of(*numbers, start=0):  # type: ignore[no-untyped-def]
    return sum(numbers, start)


@shared_task
def keywords(**options):  # type: ignore[no-untyped-def]
    return options


@shared_task
def only_keyword(*, name):  # type: ignore[no-untyped-def]
    return name


@shared_task
def mixed(first, /, second, *rest, key=None):  # type: ignore[no-untyped-def]
    return [first, second, list(rest), key]


@shared_task
def optional(x=None):  # type: ignore[no-untyped-def]
    return ["got", x]


@shared_task
def none():  # type: ignore[no-untyped-def]
    return None


@shared_task(typing=False)
def untyped(*args, **kwargs):  # type: ignore[no-untyped-def]
    return [list(args), kwargs]


@shared_task
def with_ctx(ctx, x: int = None, hint: "Nothing | None" = None):  # type: ignore[no-untyped-def, assignment] # noqa: RUF013
    return [ctx, x]


@shared_task
async def coroutine(x):  # type: ignore[no-untyped-def]
    return x


class Order(BaseModel):
    """An argument and result of a pydantic task."""

    number: int
    day: date = date(2026, 1, 31)


@shared_task(pydantic=True)
def order(order: Order) -> Order:
    return Order(number=order.number + 1)


@shared_task(bind=True)
def request(self, x, y=2):  # type: ignore[no-untyped-def]
    own = self.request
    assert current_task.name == self.name
    names = ("id", "root_id", "parent_id", "retries", "hostname", "delivery_info", "called_directly", "is_eager")
    more = ("args", "kwargs", "task", "correlation_id", "chain", "chord", "callbacks", "group", "timelimit")
    return {name: getattr(own, name) for name in (*names, *more)}


@shared_task(bind=True, base=Watched)
def watched(self, x, fail=""):  # type: ignore[no-untyped-def]
    if fail == "retry" and not self.request.retries:
        raise self.retry(exc=ListedError("once"), countdown=0)
    if fail == "error":
        raise ListedError("for good")
    return x + 1


class Broken(Task):  # type: ignore[type-arg]
    """A base class whose handlers fail."""

    abstract = True

    def on_success(self, *args: Any) -> None:
        raise RuntimeError("on_success")

    after_return = on_failure = on_success  # type: ignore[assignment]


@shared_task(base=Broken)
def broken_handlers(fail=False):  # type: ignore[no-untyped-def]
    if fail:
        raise ListedError("the task's own")
    return 1


@shared_task(bind=True, max_retries=2, default_retry_delay=7)
def retried(self, how):  # type: ignore[no-untyped-def]
    """Ask for a retry at each start."""
    try:
        raise ListedError(f"start {self.request.retries + 1}")
    except ListedError as error:
        match how:
            case "default":
                raise self.retry(exc=error) from None
            case "countdown":
                raise self.retry(exc=error, countdown=50) from None
            case "eta":
                raise self.retry(exc=error, eta=datetime.now(UTC) + timedelta(seconds=90)) from None
            case "no exc":
                raise self.retry() from None
            case "more":
                raise self.retry(exc=error, max_retries=4, countdown=0) from None
            case "not thrown":
                self.retry(throw=False, countdown=0)
                return "returned"
            case "same arguments":
                raise self.retry(args=[how], kwargs={}, countdown=0) from None
            case "other arguments":
                raise self.retry(args=["default"]) from None
            case "raised":
                raise Retry("by hand", when=3) from None  # type: ignore[arg-type] # says numbers.Real


@shared_task(bind=True, autoretry_for=(ListedError,), retry_kwargs={"max_retries": 2, "countdown": 0})
def autoretried(self, until=99):  # type: ignore[no-untyped-def]
    if self.request.retries + 1 < until:
        raise ListedError(f"start {self.request.retries + 1}")
    return self.request.retries


@shared_task(autoretry_for=(ListedError,), retry_backoff=4, retry_jitter=False)
def backed_off():  # type: ignore[no-untyped-def]
    raise ListedError("again")


@shared_task(bind=True, autoretry_for=(Exception,), retry_kwargs={"countdown": 0})
def replaced(self, swallow=False):  # type: ignore[no-untyped-def]
    try:
        return self.replace(add.s(1, 2))
    except Exception:
        if not swallow:
            raise
        return "swallowed"


@shared_task(bind=True)
def ignored(self, state=None):  # type: ignore[no-untyped-def]
    if state:
        self.update_state(state=state, meta={"why": "set by hand"})
    raise Ignore


@shared_task
def rejected(requeue=False):  # type: ignore[no-untyped-def]
    raise Reject("not now", requeue=requeue)


@shared_task(bind=True)
def reports(self, meta=None):  # type: ignore[no-untyped-def]
    self.update_state(state="PROGRESS", meta=meta)


VALUES: dict[str, Any] = {
    "datetime": datetime(2026, 1, 31, 12, 30, tzinfo=UTC),
    "date": date(2026, 1, 31),
    "decimal": Decimal("1.10"),
    "uuid": uuid.UUID("12345678123456781234567812345678"),
    "bytes": b"abc",
    "tuple": (1, 2),
}


@shared_task
def gives(kind):  # type: ignore[no-untyped-def]
    return VALUES[kind]


@shared_task
def type_of(value):  # type: ignore[no-untyped-def]
    kinds = [type(item).__name__ for item in value] if isinstance(value, list) else type(value).__name__
    return [kinds, str(value)]


@shared_task
def wait_for(begun, end):  # type: ignore[no-untyped-def]
    """Run until the file ``end`` exists."""
    Path(begun).touch()
    while not Path(end).exists():
        time.sleep(0.02)
    Path(end).write_text("seen")


@shared_task
def unstorable():  # type: ignore[no-untyped-def]
    return {1, 2}


@shared_task(ignore_result=True)
def not_kept():  # type: ignore[no-untyped-def]
    return {1, 2}


class Counter(Task):  # type: ignore[type-arg]
    """A task as a class."""

    name = "tests.probe.tasks.Counter"
    autoretry_for = (ListedError,)
    retry_kwargs = {"countdown": 0}
    steps = 0

    def run(self, by: int = 1) -> int:
        """Count up."""
        if not self.request.retries:
            raise ListedError("first")
        return by + self.request.retries


def _register(app: Celery) -> None:
    app.register_task(Counter())


connect_on_app_finalize(_register)
if current_app.finalized:  # type: ignore[attr-defined] # missing in the types
    _register(current_app)


@shared_task(bind=True)
def speaking(self, x):  # type: ignore[no-untyped-def]
    get_task_logger(__name__).info("by the task's logger %d", x)
    print("printed", x)  # noqa: T201 - what is tested
