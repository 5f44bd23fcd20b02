"""flowerapp in a second Django project: its own settings, user model, Celery app and chords."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.services import ROOT, WorkerProcess, fresh_database, fresh_redis

FILES = {
    "shop/__init__.py": "from shop.celery import app as celery_app\n",
    "shop/celery.py": """
        import os
        from celery import Celery

        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
        app = Celery("shop")
        app.config_from_object("django.conf:settings", namespace="SHOP_CELERY")
        app.autodiscover_tasks()
        """,
    "shop/settings.py": """
        import os
        from urllib.parse import urlsplit

        url = urlsplit(os.environ["SHOP_DATABASE"])
        DATABASES = {
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": url.path.strip("/"),
                "USER": url.username or "",
                "PASSWORD": url.password or "",
                "HOST": url.hostname,
                "PORT": url.port or 5432,
            }
        }
        SECRET_KEY = "a test's"
        ALLOWED_HOSTS = ["*"]
        INSTALLED_APPS = [
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django.contrib.messages",
            "rest_framework",
            "rest_framework.authtoken",
            "django_celery_results",
            "flowerapp",
            "people",
            "orders",
        ]
        MIDDLEWARE = [
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ]
        TEMPLATES = [{
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {"context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]},
        }]
        AUTH_USER_MODEL = "people.Person"
        DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
        ROOT_URLCONF = "shop.urls"
        STATIC_URL = "static/"
        USE_TZ = True
        SHOP_CELERY_BROKER_URL = os.environ["SHOP_BROKER"]
        SHOP_CELERY_RESULT_BACKEND = os.environ["SHOP_RESULTS"] or None
        SHOP_CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
        if os.environ["SHOP_RESULTS"] == "disabled":
            SHOP_CELERY_TASK_SERIALIZER = "pickle"
            SHOP_CELERY_ACCEPT_CONTENT = ["pickle", "json"]
        """,
    "shop/urls.py": """
        from importlib.util import find_spec

        from django.contrib import admin
        from django.urls import include, path

        urlpatterns = [path("admin/", admin.site.urls)]
        if find_spec("flowerapp.urls"):
            urlpatterns.append(path("flows/", include("flowerapp.urls")))
        """,
    "people/__init__.py": "",
    "people/models.py": """
        from django.contrib.auth.models import AbstractUser
        from django.db import models

        class Person(AbstractUser):
            nickname = models.CharField(max_length=50, default="")
        """,
    "orders/__init__.py": "",
    "orders/tasks.py": """
        from celery import shared_task

        @shared_task
        def add(x, y):
            return x + y

        @shared_task
        def total(numbers):
            return sum(numbers)
        """,
    "orders/programs.py": """
        from flowerapp.registry import program

        @program("Price")
        def price(amount: int = 1):
            return {"price": amount * 2}

        @program("Sum")
        def add_up(ctx):
            return {"sum": sum(each if isinstance(each, int) else each["price"] for each in ctx.input)}
        """,
    "use.py": """
        import json, os, sys
        import django

        os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
        django.setup()
        from celery import chord
        from django.contrib.auth import get_user_model
        from django.core.management import call_command
        from django.test import Client
        from orders.tasks import add, total

        found = {}
        if sys.argv[1] == "migrate":
            call_command("migrate", verbosity=0)
            call_command("check")
        else:
            from flowerapp import engine
            from flowerapp.models import TaskDefinition

            rows = [
                (1, "Price", [], {"amount": "1"}),
                (2, "Price", [1], {"amount": "20"}),
                (3, "orders.tasks.add", [1], {"x": 1, "y": 1}),
                (4, "Sum", [2, 3], {}),
            ]
            for seq, program, depends_on, parameters in rows:
                TaskDefinition.objects.create(
                    task_id="order", task_seq=seq, program=program, depends_on=depends_on, parameters=parameters
                )
            flow = engine.register("order").wait(60)
            found["status"] = flow.status.label
            found["output"] = flow.tasks.get(task_seq=4).output
            found["attempts"] = list(flow.tasks.values_list("attempt", flat=True))
            found["history"] = [f"{event} {event.reason}" for event in flow.history.all()]
            if os.environ["SHOP_RESULTS"].startswith("redis"):
                found["chord"] = chord([add.s(i, i) for i in range(5)])(total.s()).get(timeout=30)
            if "flows/" in str(__import__("shop.urls").urls.urlpatterns):
                get_user_model().objects.create_superuser("ann", "ann@example.org", "secret")
                client = Client()
                client.login(username="ann", password="secret")
                answer = client.generic("POST", "/flows/register/order", content_type="application/json")
                found["register"] = [answer.status_code, answer.json().get("status")]
        print(json.dumps(found))
        """,
}


class Shop:
    """The second project."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.directory = directory
        self.environment = {
            **environment,
            "PYTHONPATH": f"{directory}:{ROOT}",
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            "C_FORCE_ROOT": "1",  # Celery refuses pickled tasks to root
        }
        for name, text in FILES.items():
            path = directory / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(dedent(text))

    def use(self, *arguments: str) -> dict[str, Any]:
        """Run its script; what it found."""
        answer: dict[str, Any] = json.loads(self.python("use.py", *arguments).splitlines()[-1])
        return answer

    def python(self, *arguments: str) -> str:
        """Run Python in the project; what it printed."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.directory,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr[-5000:]
        return done.stdout


@pytest.fixture(params=["redis", "disabled"])
def shop(request: pytest.FixtureRequest, postgres_url: str, redis_url: str, tmp_path: Path) -> Iterator[Shop]:
    """The second project, migrated, with a worker; its app has a Redis result backend, or none and pickled tasks."""
    with ExitStack() as stack:
        broker = stack.enter_context(fresh_redis(redis_url))
        environment = {
            "SHOP_DATABASE": stack.enter_context(fresh_database(postgres_url)),
            "SHOP_BROKER": broker,
            "SHOP_RESULTS": broker if request.param == "redis" else "disabled",
            "FLOWER_PROBE_MESSAGES": "",
        }
        made = Shop(tmp_path, environment)
        made.python("-m", "django", "makemigrations", "people")
        made.use("migrate")
        worker = WorkerProcess("-c", "2", environment=made.environment, app="shop", cwd=tmp_path)
        stack.callback(worker.stop)
        worker.wait_ready()
        yield made


def test_a_second_project_runs_flows_and_its_own_chords(shop: Shop) -> None:
    answer = shop.use("run", secrets.token_hex(2))
    assert answer["history"] == []
    assert answer["status"] == "Finish"
    assert answer["output"] == {"sum": 42}
    assert answer["attempts"] == [1, 1, 1, 1]
    if shop.environment["SHOP_RESULTS"].startswith("redis"):
        assert answer["chord"] == 20
    if importlib.util.find_spec("flowerapp.urls"):
        assert answer["register"] == [200, "succeeded"]
