"""A Django project with nothing but django-celery-results, on connections that are kept."""

import environ

SECRET_KEY = "benchmarks"  # noqa: S105 - nothing is signed
DATABASES = {"default": {**environ.Env().db("DATABASE_URL"), "CONN_MAX_AGE": None}}
INSTALLED_APPS = ["django.contrib.contenttypes", "django_celery_results"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
