"""The reference project: a small Django project that uses flowerapp."""

from project.celery import app as celery_app

__all__ = ["celery_app"]
