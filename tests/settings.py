"""The reference project with the tests' app."""

import os

from project.settings import *  # noqa: F403
from project.settings import FLOWER, INSTALLED_APPS, MIDDLEWARE

INSTALLED_APPS = [*INSTALLED_APPS, "tests.probe"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # quick, for tests
MIDDLEWARE = [name for name in MIDDLEWARE if not name.startswith("whitenoise.")]  # wants collected static files
if "FLOWER_TEST_CONTINUE_SECONDS" in os.environ:
    FLOWER = {**FLOWER, "CONTINUE_SECONDS": float(os.environ["FLOWER_TEST_CONTINUE_SECONDS"])}
