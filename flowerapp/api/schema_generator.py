"""Our OpenAPI document: the views of flowerapp alone, by drf-spectacular's defaults, not by the host's settings."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from drf_spectacular import generators
from drf_spectacular.settings import SPECTACULAR_DEFAULTS, patched_settings

from flowerapp.api import examples, openapi
from flowerapp.api.base import ApiView

NOT_PATCHED = ("SERVE_", "DEFAULT_GENERATOR_CLASS")
"""Beginnings of the settings that drf-spectacular takes from the view instead."""

SETTINGS = {
    name: value for name, value in (SPECTACULAR_DEFAULTS | openapi.SETTINGS).items() if not name.startswith(NOT_PATCHED)
}
"""The settings of our document and its page; none is left to the host."""

_STARTS = re.compile(r"(?<!\[)\^")
"""What a route of ours begins with, behind whatever prefix the host gives it."""

_lock = threading.Lock()


class Endpoints(generators.EndpointEnumerator):
    """Our endpoints among those of the project; those outside ``api/`` without a slash at the end."""

    document = ApiView.document
    """Which of our documents."""

    def should_include_endpoint(self, path: str, callback: Any) -> bool:
        """Whether it is one of ours."""
        view: Any = getattr(callback, "cls", object)
        return issubclass(view, ApiView) and view.document == self.document

    def get_path_from_regex(self, path_regex: str) -> str:
        """The path of a route."""
        path = str(super().get_path_from_regex(path_regex))  # type: ignore[no-untyped-call]
        own = _STARTS.split(path_regex)[-1]
        return path if own.startswith("api/") else path.rstrip("/") or "/"


class SchemaGenerator(generators.SchemaGenerator):
    """Makes the document; for ``manage.py spectacular --generator-class`` too."""

    endpoint_inspector_cls = Endpoints

    def create_view(self, callback: Any, method: str, request: Any = None) -> Any:
        """The view with what we say about it."""
        view = SimpleNamespace(cls=_shown(callback.cls), initkwargs=callback.initkwargs)
        return super().create_view(view, method, request)  # type: ignore[no-untyped-call]


@functools.cache
def _shown(view: type[ApiView]) -> type[ApiView]:
    """The view as drf-spectacular looks at it."""
    own = {"schema": view.openapi, "__doc__": view.__doc__, "__module__": view.__module__}
    return type(view.__name__, (view,), own)


@contextmanager
def own_settings() -> Iterator[None]:
    """Within the block drf-spectacular has our settings, in the whole process; so keep it short."""
    with _lock, patched_settings(SETTINGS):
        yield


@functools.lru_cache(maxsize=32)
def document(urlconf: Any, language: str | None, generator: Any = SchemaGenerator) -> Any:
    """The document of the routes of a URL configuration, made once for each language."""
    with own_settings():
        return examples.with_answers(generator(urlconf=urlconf).get_schema(public=True))
