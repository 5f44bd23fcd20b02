"""The tests' settings, with a Content-Security-Policy that allows only what the server itself serves."""

from tests.settings import *  # noqa: F403
from tests.settings import MIDDLEWARE

MIDDLEWARE = ["tests.browser.server.strict", *MIDDLEWARE]
