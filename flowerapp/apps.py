"""The Django app ``flowerapp``."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig, apps
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import router
from django.db.models.signals import post_migrate, pre_migrate
from django.utils.module_loading import autodiscover_modules


class FlowerappConfig(AppConfig):
    """Imports programs and workflow classes, and connects the engine to Celery."""

    name = "flowerapp"
    verbose_name = "Workflows"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import ``programs.py`` and ``workflows.py`` of every installed app; set the executor and the masker of texts.

        Raises ImproperlyConfigured if django-celery-results, the base of the result backend, is not installed.
        """
        if not apps.is_installed("django_celery_results"):
            raise ImproperlyConfigured("flowerapp needs 'django_celery_results' in INSTALLED_APPS; add it")
        from flowerapp import checks  # noqa: F401 - registers the checks
        from flowerapp.core import masked_sources
        from flowerapp.executors.celery import install
        from flowerapp.workflows.arrow import masks

        masked_sources.use(masks.masked_text)
        autodiscover_modules("programs")
        autodiscover_modules("workflows")
        install.install()
        pre_migrate.connect(refuse_database, sender=self)
        post_migrate.connect(store_migrated, sender=self)


def refuse_database(using: str, **_: Any) -> None:
    """Before any table is made: raises CommandError where ``migrate`` would make ours in a database that is refused."""
    from flowerapp.querysets import db

    if not router.allow_migrate(using, "flowerapp") or (refusal := db.refused_database(using)) is None:
        return
    cure = refusal.cure
    if db.alias() != using:
        cure = "Let allow_migrate of your DATABASE_ROUTERS answer False for the app 'flowerapp' there"
    raise CommandError(f"{refusal.reason}. {cure}.")


def store_migrated(using: str, **_: Any) -> None:
    """Store the workflow classes after ``migrate``, if the migrated database is the one that holds workflows."""
    from flowerapp import models, workflows

    if router.db_for_write(models.Workflow) == using:
        workflows.store_all()
