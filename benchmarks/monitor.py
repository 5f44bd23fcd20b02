"""``python -m benchmarks.monitor BROKER``: what a monitor such as Flower does with the events of workers.

It receives all events and feeds them to Celery's ``State``, in a process of its own; it shows nothing. Flower's web
server would only add to that what someone looks at.
"""

from __future__ import annotations

import sys

from celery import Celery


def main(broker: str) -> None:
    """Consume events until the process is ended."""
    app = Celery("monitor", broker=broker, set_as_current=False)
    app.conf.broker_url = broker
    state = app.events.State()
    with app.connection_for_read() as connection:
        app.events.Receiver(connection, handlers={"*": state.event}).capture(limit=None, timeout=None, wakeup=False)


if __name__ == "__main__":
    main(sys.argv[1])
