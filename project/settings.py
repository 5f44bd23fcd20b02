"""The settings of the reference project, read from environment variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import environ
from django.core.exceptions import ImproperlyConfigured

from flowerapp.api import openapi
from flowerapp.executors.celery import memory_transport
from project import state

env = environ.Env()
BASE_DIR = Path(__file__).resolve().parent.parent
STATE_DIR = Path(env.str("FLOWER_STATE_DIR", default=".flower")).resolve()
"""The directory of the secret key, and of the SQLite database if DATABASE_URL is not set."""
if not (env.str("DJANGO_SECRET_KEY", default="") and env.str("DATABASE_URL", default="")):
    state.prepare(Path(env.str("FLOWER_STATE_DIR", default=".flower")))
SECRET_KEY = env.str("DJANGO_SECRET_KEY", default="") or state.secret_key(STATE_DIR)
DEBUG = env.bool("DJANGO_DEBUG", default=False)
ALLOWED_HOSTS = env.list("DJANGO_ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("DJANGO_CSRF_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework.authtoken",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_results",
    "flowerapp",
]
MIDDLEWARE = [
    "project.middleware.RefuseUnusable",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "project.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
WSGI_APPLICATION = "project.wsgi.application"
ASGI_APPLICATION = "project.asgi.application"


def _database() -> dict[str, Any]:
    """The database of DATABASE_URL, or SQLite in the state directory."""
    if env.str("DATABASE_URL", default=""):
        database: dict[str, Any] = env.db("DATABASE_URL")
    else:
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": state.database(STATE_DIR)}
    if database["ENGINE"].endswith("sqlite3"):
        database["OPTIONS"] = {
            "timeout": 30,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
    else:
        database["CONN_MAX_AGE"] = env.int("DATABASE_CONN_MAX_AGE", default=60)
        database["CONN_HEALTH_CHECKS"] = True
    if database["ENGINE"].endswith("postgresql"):
        # With these the client notices an unreachable server within a worker's lease instead of after several minutes.
        keepalives = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}
        database["OPTIONS"] = {"connect_timeout": 10, **keepalives, **database.get("OPTIONS", {})}
    return database


DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = env.str("DJANGO_STATIC_ROOT", default="") or None
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"

DATA_UPLOAD_MAX_NUMBER_FIELDS = 6000  # a workflow's form in the admin has about 25 fields for each step

SECURE_SSL_REDIRECT = env.bool("DJANGO_HTTPS", default=False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT
SECURE_HSTS_SECONDS = 3600 if SECURE_SSL_REDIRECT else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SECURE_SSL_REDIRECT
if env.bool("DJANGO_BEHIND_PROXY", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.SessionAuthentication",
        "rest_framework.authentication.TokenAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}

SPECTACULAR_SETTINGS = openapi.SETTINGS

FLOWER: dict[str, Any] = {
    "OPEN_API": env.bool("FLOWER_OPEN_API", default=False),
    "OPEN_API_CLIENTS": env.list("FLOWER_OPEN_API_CLIENTS", default=[]),
    "HTTP_ALLOW_PRIVATE": env.list("FLOWER_HTTP_ALLOW_PRIVATE", default=[]),
    "RESOURCE_ROOT": env.str("FLOWER_RESOURCE_ROOT", default="") or None,
    "REQUEST_URLS": env.json("FLOWER_REQUEST_URLS", default={}),
    "REQUEST_HEADERS": env.json("FLOWER_REQUEST_HEADERS", default={}),
    "REDIS_TASKS": env.str("FLOWER_REDIS_TASKS", default="") or None,
    "REDIS_COMMANDS": env.list("FLOWER_REDIS_COMMANDS", default=["*"]),
    "STREAM_URL": env.str("FLOWER_STREAM_URL", default=None),
    "HEARTBEAT_FILE": env.str("FLOWER_HEARTBEAT_FILE", default="") or None,
}


def _broker_url() -> Any:
    """CELERY_BROKER_URL, or Redis if a REDIS_ variable is set, or else the in-memory broker of standalone.

    Raises ImproperlyConfigured for a user without a password.
    """
    if url := env.str("CELERY_BROKER_URL", default=""):
        return url
    names = ("REDIS_HOST", "REDIS_PORT", "REDIS_USERNAME", "REDIS_PASSWORD")
    host, port, user, password = (env.str(name, default="") for name in names)
    port = port and env.int("REDIS_PORT")
    if not (host or port or user or password):
        return memory_transport.URL
    if user and not password:
        raise ImproperlyConfigured("REDIS_USERNAME is set without REDIS_PASSWORD; set both, or none of them")
    login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if password else ""
    return f"redis://{login}{host or '127.0.0.1'}:{port or 6379}/0"


CELERY_BROKER_URL = _broker_url()
CELERY_RESULT_BACKEND = "django-db"
CELERY_RESULT_EXTENDED = True
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ACKS_LATE = CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_ACKS_ON_FAILURE = CELERY_TASK_ACKS_ON_TIMEOUT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 25
CELERY_WORKER_ENABLE_SOFT_SHUTDOWN_ON_IDLE = True
CELERY_ACCEPT_CONTENT = CELERY_RESULT_ACCEPT_CONTENT = ["json"]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_DEFAULT_QUEUE_TYPE = env.str("CELERY_TASK_DEFAULT_QUEUE_TYPE", default="classic")
_PRIORITIES = CELERY_BROKER_URL.startswith(("amqp", "pyamqp")) and CELERY_TASK_DEFAULT_QUEUE_TYPE == "classic"
CELERY_TASK_QUEUE_MAX_PRIORITY = 9 if _PRIORITIES else None
CELERY_DB_REUSE_MAX = 1_000_000
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {}
if CELERY_BROKER_URL.startswith(("redis", "rediss", "sentinel")):
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "priority_steps": list(range(10)),
        "queue_order_strategy": "priority",
        "visibility_timeout": 3600,
        "socket_timeout": 5,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "master_name": env.str("REDIS_SENTINEL_MASTER", default=None),
    }

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["stderr"], "level": env.str("DJANGO_LOG_LEVEL", default="WARNING")},
}
