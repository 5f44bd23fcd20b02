"""The WSGI application."""

import os

from django.core.wsgi import get_wsgi_application

from flowerapp.standalone.charset import TextCharsets

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

application = TextCharsets(get_wsgi_application())
