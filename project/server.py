"""gunicorn's configuration: ``gunicorn --config python:project.server project.wsgi``."""

from __future__ import annotations

import logging
from typing import Any

bind = "0.0.0.0:8000"
workers = 2
threads = 4
accesslog = "-"
access_log_format = '%(h)s %(t)s "%(m)s %(U)s" %(s)s %(b)s bytes %(M)s ms'  # without queries, which may hold secrets
worker_tmp_dir = "/dev/shm"  # noqa: S108 - gunicorn's heartbeat file, which must not lie on a slow disk
control_socket_disable = True

HEALTH = ("/livez", "/readyz")


def on_starting(server: Any) -> None:
    """Leave health checks that are answered with 200 out of the access log."""
    logging.getLogger("gunicorn.access").addFilter(_is_worth_logging)


def _is_worth_logging(record: logging.LogRecord) -> bool:
    facts = record.args if isinstance(record.args, dict) else {}
    return not (facts.get("U") in HEALTH and facts.get("s") == "200")
