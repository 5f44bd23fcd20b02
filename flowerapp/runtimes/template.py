"""Sets Django up in the fork server, so that the processes forked from it start quickly. Imported for this effect."""

import django
from django.apps import apps

if not apps.ready:
    django.setup()
