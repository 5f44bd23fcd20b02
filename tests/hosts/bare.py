"""A host without admin and sessions: two databases, times without zones, small keys, JSON web tokens."""

from __future__ import annotations

from pathlib import Path

from tests.hosts.host import Host
from tests.hosts.shop import PROGRAMS, TASKS

SETTINGS = """
    INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "rest_framework", "shop"]
    REST_FRAMEWORK = {{"DEFAULT_AUTHENTICATION_CLASSES": [], "UNAUTHENTICATED_USER": None}}
    MIDDLEWARE = ["django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware"]
    TEMPLATES = []
    DATABASES = {{"default": {default!r}, "flows": {flows!r}}}
    DATABASE_ROUTERS = ["mysite.routers.Flows"]
    DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
    USE_TZ = False
    TIME_ZONE = "America/New_York"
    ALLOWED_HOSTS = ["localhost"]
    CELERY_BROKER_URL = {broker!r}
    CELERY_TIMEZONE = TIME_ZONE
    """
URLS = """
    from django.urls import path
    from rest_framework_simplejwt.views import TokenObtainPairView

    urlpatterns = [path("token/", TokenObtainPairView.as_view())]
    """
ROUTER = """
    class Flows:
        apps = {"flowerapp", "django_celery_results"}

        def db_for_read(self, model, **hints):
            return "flows" if model._meta.app_label in self.apps else None

        db_for_write = db_for_read

        def allow_relation(self, one, other, **hints):
            return None

        def allow_migrate(self, db, app_label, **hints):
            return (db == "flows") == (app_label in self.apps)
    """
PERSON = """
    from django.contrib.auth import get_user_model

    answer = str(get_user_model().objects.create_superuser("ann", "", "secret"))
    """
PLACES = """
    from django.db import connections

    answer = {name: sorted(connections[name].introspection.table_names()) for name in ("default", "flows")}
    """


def bare(directory: Path, python: str, default: object, flows: object, broker: str) -> Host:
    """The host, before flowerapp."""
    host = Host(directory, python=python)
    host.write("shop/models.py", "")
    host.write("shop/admin.py", "")
    host.write("shop/tasks.py", TASKS)
    host.write("shop/programs.py", PROGRAMS)
    host.write("mysite/routers.py", ROUTER)
    host.write("mysite/urls.py", URLS)
    host.add("mysite/settings.py", SETTINGS.format(default=default, flows=flows, broker=broker))
    return host
