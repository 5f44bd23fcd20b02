"""A host as the usual template for Django projects makes it: REST framework, an email user, beat, Redis, German."""

from __future__ import annotations

from pathlib import Path

from tests.hosts.host import Host
from tests.hosts.shop import PERSON, PROGRAMS, TASKS

REST = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.BasicAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"],
    "DEFAULT_THROTTLE_CLASSES": ["rest_framework.throttling.AnonRateThrottle"],
    "DEFAULT_THROTTLE_RATES": {"anon": "1/day"},
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}
SETTINGS = """
    INSTALLED_APPS += ["rest_framework", "rest_framework.authtoken", "drf_spectacular", "django_celery_beat"]
    REST_FRAMEWORK = {rest!r}
    SPECTACULAR_SETTINGS = {{"TITLE": "shop", "SERVE_PERMISSIONS": ["rest_framework.permissions.IsAdminUser"]}}
    AUTH_USER_MODEL = "shop.Person"
    DATABASES = {{"default": {{**{database!r}, "ATOMIC_REQUESTS": True, "CONN_MAX_AGE": 60}}}}
    ALLOWED_HOSTS = ["localhost"]
    LANGUAGE_CODE = "de"
    TIME_ZONE = "Europe/Berlin"
    USE_THOUSAND_SEPARATOR = True
    APPEND_SLASH = False
    MIDDLEWARE.insert(2, "django.middleware.locale.LocaleMiddleware")
    CELERY_BROKER_URL = CELERY_RESULT_BACKEND = {broker!r}
    CELERY_BROKER_TRANSPORT_OPTIONS = {{"global_keyprefix": "shop:"}}
    CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS = {{"global_keyprefix": "shop-results:"}}
    CELERY_RESULT_EXTENDED = True
    CELERY_TIMEZONE = TIME_ZONE
    CELERY_ACCEPT_CONTENT = ["json"]
    CELERY_TASK_TIME_LIMIT = 5 * 60
    CELERY_TASK_SOFT_TIME_LIMIT = 60
    CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
    CELERY_WORKER_SEND_TASK_EVENTS = CELERY_TASK_SEND_SENT_EVENT = True
    """
URLS = """
    from django.conf.urls.i18n import i18n_patterns
    from rest_framework.response import Response
    from rest_framework.views import APIView


    class Goods(APIView):
        serializer_class = None

        def get(self, request):
            return Response([])


    urlpatterns = [*i18n_patterns(path("verwaltung/", admin.site.urls)), path("goods/", Goods.as_view())]
    """
SCHEDULE = """
    from datetime import timedelta

    from django_celery_beat.models import IntervalSchedule, PeriodicTask

    second, _ = IntervalSchedule.objects.get_or_create(every=1, period=IntervalSchedule.SECONDS)
    PeriodicTask.objects.create(
        name="jede Sekunde",
        interval=second,
        task="flowerapp.tasks.register",
        args='["sums"]',
        kwargs='{"input": {"lines": [[1], [2]]}}',
    )
    answer = None
    """
"""A schedule as the admin of django-celery-beat writes it."""
PAGES = """
    from django.contrib.auth import get_user_model
    from django.test import Client
    from django_celery_beat.admin import TaskSelectWidget
    from flowerapp.models import Flow

    person = get_user_model()(email="ann@example.org", is_superuser=True)
    person.set_password("secret")
    person.save()
    client = Client(HTTP_HOST="localhost")
    client.force_login(person)
    flow = Flow.objects.order_by("registered_ts").first().pk
    pages = ["flow/", f"flow/{flow}/change/", "task/", "workflow/", "worker/", "pool/"]
    answer = {
        "pages": {page: client.get(f"/de/verwaltung/flowerapp/{page}").status_code for page in pages},
        "beat": client.get("/de/verwaltung/django_celery_beat/periodictask/add/").status_code,
        "offered": [name for name, _ in TaskSelectWidget().choices if "flowerapp" in name],
    }
    """
CHORD = """
    from celery import chord
    from shop.tasks import add, total

    answer = chord([add.s(number, number) for number in range(3)])(total.s()).get(timeout=60)
    """


def cookie(directory: Path, python: str, database: object, broker: str) -> Host:
    """The host, before flowerapp."""
    host = Host(directory, python=python)
    host.write("shop/models.py", PERSON)
    host.write("shop/tasks.py", TASKS)
    host.write("shop/programs.py", PROGRAMS)
    host.add("mysite/settings.py", SETTINGS.format(rest=REST, database=database, broker=broker))
    host.add("mysite/urls.py", URLS)
    host.manage("makemigrations", "shop")
    return host
