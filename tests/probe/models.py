"""What the test programs write."""

from django.db import models
from django.db.models.functions import Now


class Start(models.Model):
    """One start of a test program."""

    flow_id = models.CharField(max_length=256)
    seq = models.IntegerField()
    attempt = models.IntegerField()
    key = models.CharField(max_length=300)
    pid = models.IntegerField()
    ts = models.DateTimeField(db_default=Now())
    ended_ts = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.flow_id} {self.seq}"


class Effect(models.Model):
    """What a test program does to the world, at most once for each idempotency key."""

    key = models.CharField(max_length=300, unique=True)
    flow_id = models.CharField(max_length=256)
    seq = models.IntegerField()

    def __str__(self) -> str:
        return self.key
