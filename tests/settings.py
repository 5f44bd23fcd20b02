"""The reference project with the tests' app."""

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS, MIDDLEWARE

INSTALLED_APPS = [*INSTALLED_APPS, "tests.probe"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # quick, for tests
MIDDLEWARE = [each for each in MIDDLEWARE if not each.startswith("whitenoise.")]  # wants collected static files
