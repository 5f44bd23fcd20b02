"""Imported by the process that child processes are forked from: Django is ready, and there are no threads yet."""

import django
from django.apps import apps

if not apps.ready:
    django.setup()
