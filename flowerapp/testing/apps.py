"""The Django app ``flowerapp.testing``, for test settings."""

from __future__ import annotations

from django.apps import AppConfig


class TestingConfig(AppConfig):
    """Where it is installed, no test sends a flow to a broker; ``executors.celery.install`` looks for it."""

    name = "flowerapp.testing"
    label = "flowerapp_testing"
    verbose_name = "Workflows in tests"
