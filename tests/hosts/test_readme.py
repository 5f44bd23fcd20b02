"""README's "In your own project", pasted as it is into projects of several kinds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.hosts.host import Host, database, get
from tests.hosts.readme import README
from tests.hosts.shop import PERSON, pasted, typed
from tests.services import fresh_database, fresh_redis, until

REST_FRAMEWORK = {
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.DjangoModelPermissions"],
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.BasicAuthentication"],
    "DEFAULT_THROTTLE_CLASSES": ["rest_framework.throttling.AnonRateThrottle"],
    "DEFAULT_THROTTLE_RATES": {"anon": "1/day"},
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}
REST = f"""
    INSTALLED_APPS += ["rest_framework", "rest_framework.authtoken", "drf_spectacular"]
    REST_FRAMEWORK = {REST_FRAMEWORK!r}
    """
GERMAN = """
    LANGUAGE_CODE = "de"
    TIME_ZONE = "Europe/Berlin"
    USE_THOUSAND_SEPARATOR = True
    APPEND_SLASH = False
    MIDDLEWARE.insert(2, "django.middleware.locale.LocaleMiddleware")
    MIDDLEWARE.append("django.contrib.auth.middleware.LoginRequiredMiddleware")
    INSTALLED_APPS = (
        *INSTALLED_APPS,
        "rest_framework.apps.RestFrameworkConfig",
        "django_celery_results.apps.CeleryResultConfig",
    )
    CSRF_USE_SESSIONS = True
    """
EMAIL = """
    AUTH_USER_MODEL = "shop.Person"
    ATOMIC_REQUESTS = DATABASES["default"]["ATOMIC_REQUESTS"] = True
    DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
    """
TRANSLATED = """
    from django.conf.urls.i18n import i18n_patterns
    from django.http import HttpResponse
    from django.urls import re_path

    urlpatterns = i18n_patterns(path("admin/", admin.site.urls), re_path(".*", lambda request: HttpResponse("page")))
    """


@pytest.fixture(params=["plain", "rest", "german", "email"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    """A project, before anything is pasted."""
    made = Host(tmp_path)
    own = {"plain": "", "rest": REST, "german": GERMAN, "email": EMAIL}
    made.add("mysite/settings.py", own[request.param])
    if request.param == "email":
        made.write("shop/models.py", PERSON)
        made.manage("makemigrations", "shop")
        made.write("mysite/urls.py", "urlpatterns = ()\n")
        made.add("mysite/settings.py", 'INSTALLED_APPS.remove("django.contrib.admin")\n')
    if request.param == "german":
        made.add("mysite/urls.py", TRANSLATED)
    return made


def test_it_works_as_pasted(host: Host) -> None:
    host.paste(*pasted())
    with host.served() as address:
        printed = host.shell(typed().replace("localhost:8000/", address))
        answer = json.loads(printed.splitlines()[-1])
        assert (answer["status"], answer["taskId"]) == ("succeeded", "sums")
        assert [get(f"http://{address}flows/livez")[0] for _ in range(3)] == [200] * 3
        assert get(f"http://{address}flows/api/flows/")[0] == 401
    after = """
        from django.conf import settings
        from django.core.management import call_command
        from flowerapp.models import Flow

        call_command("check")
        flows = [list(row) for row in Flow.objects.values_list("task_id", "registered_by")]
        answer = [flows, getattr(settings, "REST_FRAMEWORK", None)]
        """
    own = (host.directory / "mysite/settings.py").read_text()
    assert host.ask(after) == [[["sums", "robot@example.org"]], REST_FRAMEWORK if "Throttle" in own else None]


def test_its_flow_ends(tmp_path: Path, postgres_url: str, redis_url: str) -> None:
    with fresh_database(postgres_url) as url, fresh_redis(redis_url) as broker:
        host = Host(tmp_path)
        host.add(
            "mysite/settings.py", f'CELERY_BROKER_URL = "{broker}"\nDATABASES = {{"default": {database(url)!r}}}\n'
        )
        host.paste(*pasted())
        with host.working() as log, host.served() as address:
            host.shell(typed().replace("localhost:8000/", address))
            script = "from flowerapp.models import Flow\nanswer = [flow.status.label for flow in Flow.objects.all()]"
            until(lambda: host.ask(script) == ["Finish"], 60, poll=1, what=log.read_text)


def test_it_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 120


def test_its_lines_only_add() -> None:
    text = "\n".join(block.text for block in pasted())
    assert "REST_FRAMEWORK =" not in text
    assert "SPECTACULAR_SETTINGS =" not in text
    assert "INSTALLED_APPS = [" not in text.replace("INSTALLED_APPS = [*INSTALLED_APPS", "")
