"""The reference project: a small Django project around flowerapp."""

from project.celery import app as celery_app

__all__ = ["celery_app"]
