"""The reference project with the tests' app."""

import os

from kombu import Queue

from project.settings import *  # noqa: F403
from project.settings import FLOWER, INSTALLED_APPS, MIDDLEWARE

INSTALLED_APPS = [*INSTALLED_APPS, "tests.probe"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # quick, for tests
MIDDLEWARE = [name for name in MIDDLEWARE if not name.startswith("whitenoise.")]  # wants collected static files
if "FLOWER_TEST_CONTINUE_SECONDS" in os.environ:
    FLOWER = {**FLOWER, "CONTINUE_SECONDS": float(os.environ["FLOWER_TEST_CONTINUE_SECONDS"])}
if "FLOWER_TEST_REJECT_AFTER" in os.environ:
    FLOWER = {**FLOWER, "REJECT_AFTER": int(os.environ["FLOWER_TEST_REJECT_AFTER"])}
if "FLOWER_TEST_ONLY_QUEUES" in os.environ:  # a host that names all its queues
    CELERY_TASK_CREATE_MISSING_QUEUES = False
    CELERY_TASK_QUEUES = [Queue(name) for name in os.environ["FLOWER_TEST_ONLY_QUEUES"].split(",")]
if "FLOWER_TEST_STOP_GRACE" in os.environ:
    FLOWER = {**FLOWER, "STOP_GRACE": float(os.environ["FLOWER_TEST_STOP_GRACE"])}
if "FLOWER_TEST_SOFT_SHUTDOWN" in os.environ:
    CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = int(os.environ["FLOWER_TEST_SOFT_SHUTDOWN"])
if "FLOWER_TEST_SENT_EVENTS" in os.environ:
    CELERY_TASK_SEND_SENT_EVENT = True
if "FLOWER_TEST_SENTRY_DSN" in os.environ:
    import sentry_sdk

    sentry_sdk.init(dsn=os.environ["FLOWER_TEST_SENTRY_DSN"])  # its integrations find Celery and logging
