"""The app's configuration."""

from django.apps import AppConfig


class ProbeConfig(AppConfig):
    """Test programs and the table they write to."""

    name = "tests.probe"
    label = "probe"
    default_auto_field = "django.db.models.BigAutoField"
