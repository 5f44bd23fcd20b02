"""What all tables share."""

from __future__ import annotations

from typing import Any

from django.db import models

from flowerapp.querysets.db import PrimaryManager


class PrimaryModel(models.Model):
    """Rows that are read from the database that is written to: by queries, by relations, and by ``refresh_from_db``."""

    objects: models.Manager[Any] = PrimaryManager()

    class Meta:
        abstract = True
        base_manager_name = "objects"
