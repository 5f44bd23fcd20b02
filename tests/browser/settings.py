"""The tests' settings, with a Content-Security-Policy that allows only what the server itself serves."""

from tests.settings import *  # noqa: F403
from tests.settings import FLOWER, MIDDLEWARE

MIDDLEWARE = ["tests.browser.server.strict", *MIDDLEWARE]
FLOWER = {**FLOWER, "APPROVAL_LINKS": "http://127.0.0.1"}
