"""``manage.py standalone``; Django looks for its class ``Command`` here."""

from flowerapp.standalone.command import Command

__all__ = ["Command"]
