"""``flowerapp.testing`` in a small project of a user: with ``manage.py test``, with pytest, and beside other suites."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from tests.services import ROOT

FILES = {
    "manage.py": """
        import os, sys

        os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
        """,
    "pytest.ini": """
        [pytest]
        DJANGO_SETTINGS_MODULE = shop.settings
        python_files = pytest_*.py
        """,
    "shop/__init__.py": "from shop.celery import app as celery_app\n",
    "shop/celery.py": """
        import os
        from celery import Celery

        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
        app = Celery("shop")
        app.config_from_object("django.conf:settings", namespace="CELERY")
        app.autodiscover_tasks()
        """,
    "shop/settings.py": """
        import os

        DATABASES = {
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.sqlite3", "TEST": {"MIGRATE": False}}
        }
        SECRET_KEY = "a test's"
        INSTALLED_APPS = [
            "django.contrib.auth", "django.contrib.contenttypes", "rest_framework", "rest_framework.authtoken",
            "django_celery_results", *os.environ["SHOP_APPS"].split(), "orders",
        ]
        ROOT_URLCONF = "orders.urls"
        USE_TZ = True
        CELERY_BROKER_URL = os.environ["SHOP_BROKER"]
        CELERY_TASK_ALWAYS_EAGER = bool(os.environ.get("SHOP_EAGER"))
        ATOMIC_REQUESTS = True
        """,
    "orders/__init__.py": "",
    "orders/urls.py": """
        from django.http import HttpResponse
        from django.urls import path

        from orders.workflows import Nightly

        def start(request):
            return HttpResponse(Nightly.register(input=[3]).pk)

        urlpatterns = [path("start/", start)]
        """,
    "orders/tasks.py": """
        from celery import shared_task

        @shared_task
        def double(number):
            return number * 2
        """,
    "orders/workflows.py": """
        from flowerapp.workflows import Workflow, task

        class Nightly(Workflow):
            task_id = "nightly"

            @task(max_retries=3, retry_delay=3600)
            def split(self, ctx):
                if ctx.attempt < 3:
                    raise OSError("not yet")
                ctx.add_children(ctx.input)

            @split.child
            def square(self, ctx):
                return ctx.input ** 2

            @task
            def report(self, ctx):
                return sum(ctx.input)
        """,
    "orders/tests.py": """
        from django.test import Client, TestCase, TransactionTestCase

        from flowerapp import engine
        from flowerapp.models import Flow
        from flowerapp.testing import FlowerMixin, FlowerTestCase, FlowerTransactionTestCase, context_for
        from orders.workflows import Nightly

        class Shapes:
            def setUp(self):
                self.early = self.flower.run(Nightly, input=[5])

            def test_a_class(self):
                flow = self.flower.run(Nightly, input=[1, 2, 3])
                self.flower.assert_finished(flow)
                self.assertEqual(flow.output, 14)
                self.assertEqual(self.early.output, 25)

            def test_a_view(self):
                pk = Client().get("/start/").content.decode()
                self.flower.run_all()
                self.assertEqual(engine.get_flow(pk).output, 9)

            def test_celery_tasks(self):
                rows = [{"program": "orders.tasks.double", "parameters": {"number": 4}},
                        {"program": "orders.tasks.double"}]
                self.assertEqual(self.flower.run(rows).output, 16)

            def test_the_clock_is_back(self):
                flow = self.flower.run(Nightly, input=[1], skip_delays=False)
                self.assertIn("not yet", flow.tasks.get(task_seq=1).error)

        class RolledBack(Shapes, FlowerTestCase):
            pass

        class Committed(Shapes, FlowerTransactionTestCase):
            pass

        class Mixed(FlowerMixin, Shapes, TestCase):
            pass

        class Alone(TestCase):
            def test_a_method(self):
                context = context_for(Nightly.square, input=4)
                self.assertEqual(Nightly().square(context), 16)
        """,
    "orders/committing.py": """
        from django.test import TransactionTestCase

        from orders.workflows import Nightly

        class Committing(TransactionTestCase):
            def test_it(self):
                flow = Nightly.register(input=[1])
                flow.refresh_from_db()
                self.assertEqual(flow.status.label, "Wait")
        """,
    "orders/silent.py": """
        from django.test import TestCase

        from orders.workflows import Nightly

        class Silent(TestCase):
            def test_it(self):
                with self.assertLogs("flowerapp", "WARNING") as logs:
                    Nightly.register(input=[1])
                self.assertIn("run them with flowerapp.testing", logs.output[0])
                with self.assertNoLogs("flowerapp", "WARNING"):
                    Nightly.register(input=[1])
        """,
    "orders/eager.py": """
        from django.test import TestCase, TransactionTestCase

        from orders.workflows import Nightly

        class Eager:
            def test_it(self):
                flow = Nightly.register(input=[1, 2])
                flow.refresh_from_db()
                self.assertEqual((flow.status.label, flow.output), ("Finish", 5))

        class RolledBack(Eager, TestCase):
            pass

        class Committed(Eager, TransactionTestCase):
            pass
        """,
    "orders/pytest_flows.py": """
        import pytest
        from django.test import TestCase

        from flowerapp.models import Flow
        from orders.workflows import Nightly

        def run(flower):
            assert not Flow.objects.exists()
            flow = flower.run(Nightly, input=[1, 2, 3])
            flower.assert_finished(flow)
            assert flow.output == 14

        def test_alone(flower):
            run(flower)

        def test_with_db(db, flower):
            run(flower)

        def test_committed(transactional_db, flower):
            run(flower)

        @pytest.mark.django_db(transaction=True)
        def test_committed_by_the_mark(flower):
            run(flower)

        @pytest.mark.django_db
        def test_marked(flower):
            run(flower)

        class Cased(TestCase):
            @pytest.fixture(autouse=True)
            def _flower(self, flower):
                self.flower = flower

            def test_in_a_class_of_django(self):
                run(self.flower)
        """,
}


class Broker:
    """The developer's broker: it listens, and counts who comes."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.visits = 0
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def url(self) -> str:
        """Its URL."""
        return f"redis://127.0.0.1:{self.socket.getsockname()[1]}/0"

    def _listen(self) -> None:
        while True:
            try:
                visitor, _ = self.socket.accept()
            except OSError:
                return
            self.visits += 1
            visitor.close()


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A broker that no test is to reach."""
    broker = Broker()
    yield broker
    broker.socket.close()


class Project:
    """A user's project, and its runs."""

    def __init__(self, directory: Path, broker: Broker) -> None:
        self.directory, self.broker = directory, broker
        for name, text in FILES.items():
            path = directory / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(dedent(text))

    def python(self, *arguments: str, apps: str = "flowerapp", **environment: str) -> str:
        """Run Python in it; what was printed. Fails if that fails."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.directory,
            env={
                **os.environ,
                "PYTHONPATH": f"{self.directory}:{ROOT}",
                "SHOP_APPS": apps,
                "SHOP_BROKER": self.broker.url,
                "DJANGO_SETTINGS_MODULE": "shop.settings",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
        return done.stdout + done.stderr


@pytest.fixture
def project(tmp_path: Path, broker: Broker) -> Project:
    """The user's project."""
    return Project(tmp_path, broker)


def test_manage_py_test_runs_flows_in_cases_of_django(project: Project) -> None:
    output = project.python("-W", "error", "manage.py", "test", "orders.tests")
    assert "Ran 13 tests" in output
    assert project.broker.visits == 0


@pytest.mark.parametrize("named", [[], ["-p", "flowerapp.testing.pytest_plugin"]])
def test_pytest_runs_flows_with_the_fixture(project: Project, named: list[str]) -> None:
    """The plugin is installed; a suite may name it all the same."""
    _announce_plugin(project.directory)
    output = project.python("-m", "pytest", *named, "-W", "error", "-q")
    assert "6 passed" in output
    assert project.broker.visits == 0


def _announce_plugin(directory: Path) -> None:
    """What an installation writes about the entry points of the package."""
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    plugins = metadata["project"]["entry-points"]["pytest11"]
    installed = directory / "announced-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: announced\nVersion: 1.0\n")
    lines = [f"{name} = {module}" for name, module in plugins.items()]
    (installed / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines]))


@pytest.mark.parametrize("apps", ["flowerapp flowerapp.testing", "flowerapp.testing flowerapp"])
def test_a_committing_test_sends_nothing_where_the_app_is_installed(project: Project, apps: str) -> None:
    project.python("manage.py", "test", "orders.committing", apps=apps)
    assert project.broker.visits == 0
    project.python("manage.py", "test", "orders.committing")
    assert project.broker.visits > 0


def test_the_log_says_why_nothing_starts_in_a_test_case(project: Project) -> None:
    project.python("manage.py", "test", "orders.silent")
    assert project.broker.visits == 0


@pytest.mark.parametrize("apps", ["flowerapp", "flowerapp flowerapp.testing"])
def test_eager_flows_run_at_once_in_both_cases_of_django(project: Project, apps: str) -> None:
    assert "Ran 2 tests" in project.python("manage.py", "test", "orders.eager", apps=apps, SHOP_EAGER="1")
    assert project.broker.visits == 0


def test_the_installed_app_passes_the_checks(project: Project) -> None:
    project.python("manage.py", "makemigrations", "--check", "--dry-run", apps="flowerapp flowerapp.testing")


def test_the_plugin_leaves_suites_without_django_alone(tmp_path: Path) -> None:
    (tmp_path / "test_plain.py").write_text(
        dedent("""
            import sys

            def test_plain():
                assert not {"django", "celery", "kombu"} & {name.partition(".")[0] for name in sys.modules}
            """)
    )
    command = ["-m", "pytest", "-q", "-W", "error", "-p", "no:django", "-p", "flowerapp.testing.pytest_plugin"]
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_flowerapp_does_not_need_pytest(project: Project) -> None:
    script = "import sys, django; django.setup(); import flowerapp.testing as t; [getattr(t, n) for n in t.__all__]"
    project.python("-c", f"{script}; assert 'pytest' not in sys.modules and '_pytest' not in sys.modules")
