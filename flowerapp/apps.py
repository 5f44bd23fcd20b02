"""The Django app."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig, apps
from django.core.exceptions import ImproperlyConfigured
from django.db import router
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules


class FlowerappConfig(AppConfig):
    """Discovers programs and workflow classes, and connects the engine to Celery."""

    name = "flowerapp"
    verbose_name = "Workflows"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import every app's ``programs.py`` and ``workflows.py``, and fill the engine's ports."""
        if not apps.is_installed("django_celery_results"):
            raise ImproperlyConfigured("flowerapp needs 'django_celery_results' in INSTALLED_APPS")
        from flowerapp import canvas, checks, dispatch, guard, memory, registry, tasks, watcher  # noqa: F401 - checks

        autodiscover_modules("programs")
        autodiscover_modules("workflows")
        memory.register()
        guard.install()
        registry.add_source(registry.Source(canvas.host_program, canvas.host_program_names))
        tasks.add_all()
        watcher.install()
        dispatch.use(canvas.Sender())
        post_migrate.connect(store_migrated, sender=self)


def store_migrated(using: str, **_: Any) -> None:
    """Store the workflow classes in the database that has been migrated, if it is the one of the workflows."""
    from flowerapp import models, workflows

    if router.db_for_write(models.Workflow) == using:
        workflows.store_all()
