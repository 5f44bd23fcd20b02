"""The choice of tasks in django-celery-beat's admin, without those that only flowerapp itself can send."""

from __future__ import annotations

from typing import Any

from django.apps import apps

from flowerapp.executors.celery.routes import is_internal


def install() -> None:
    """Shorten the choice, if the host has django-celery-beat."""
    if not apps.is_installed("django_celery_beat"):
        return
    from django_celery_beat.admin import TaskSelectWidget

    offer_all = TaskSelectWidget.tasks_as_choices
    if getattr(offer_all, "is_shortened", False):
        return

    def offer(widget: Any) -> Any:
        return tuple(choice for choice in offer_all(widget) if not is_internal(choice[0]))

    offer.is_shortened = True  # type: ignore[attr-defined] # a mark
    TaskSelectWidget.tasks_as_choices = offer
