"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig, apps
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import autodiscover_modules


class FlowerappConfig(AppConfig):
    """Discovers programs and connects the engine to Celery."""

    name = "flowerapp"
    verbose_name = "Workflows"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import every app's ``programs.py`` and fill the engine's ports."""
        if not apps.is_installed("django_celery_results"):
            raise ImproperlyConfigured("flowerapp needs 'django_celery_results' in INSTALLED_APPS")
        from flowerapp import canvas, checks, dispatch, guard, memory, registry, tasks, watcher  # noqa: F401 - checks

        autodiscover_modules("programs")
        memory.register()
        guard.install()
        registry.add_source(registry.Source(canvas.host_program, canvas.host_program_names))
        tasks.add_all()
        watcher.install()
        dispatch.use(canvas.Sender())
