"""Requests that say a charset which is none: Django fails to make a request of them before it looks at any page."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from typing import Any

from flowerapp.standalone.echo import Application, Environ

_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\s;\"]*)\"?", re.IGNORECASE)


class TextCharsets:
    """WSGI middleware: drops a charset that no text can have, such as ``rot13``, so that UTF-8 is taken."""

    def __init__(self, application: Application) -> None:
        self.application = application

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Handle one request."""
        kind = environ.get("CONTENT_TYPE") or ""
        if any(not _is_of_texts(name) for name in _CHARSET.findall(kind)):
            environ["CONTENT_TYPE"] = _CHARSET.sub("", kind)
        return self.application(environ, start_response)


def _is_of_texts(name: str) -> bool:
    """Whether bytes can be read as text by an encoding, whatever they are."""
    try:
        codecs.lookup(name)
        b"\xff".decode(name, "replace")
    except (LookupError, ValueError):
        return False
    return True
