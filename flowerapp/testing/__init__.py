"""For tests of programs and workflows: flows run in the test's process, without a broker, a worker or a wait.

``docs/testing.md`` shows its use. Listed in ``INSTALLED_APPS`` of the test settings, as ``flowerapp.testing``, it keeps
all tests from sending flows to a broker. The names are imported when they are used, because Django imports this package
before its models, and pytest before its settings.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowerapp.executors.inline import InlineRunner
    from flowerapp.testing.cases import FlowerMixin, FlowerTestCase, FlowerTransactionTestCase
    from flowerapp.testing.contexts import DetachedContext, context_for
    from flowerapp.testing.runner import FlowRunner, flower, inline

__all__ = [
    "DetachedContext",
    "FlowRunner",
    "FlowerMixin",
    "FlowerTestCase",
    "FlowerTransactionTestCase",
    "InlineRunner",
    "context_for",
    "flower",
    "inline",
]

_MODULES = {
    "DetachedContext": "flowerapp.testing.contexts",
    "FlowRunner": "flowerapp.testing.runner",
    "FlowerMixin": "flowerapp.testing.cases",
    "FlowerTestCase": "flowerapp.testing.cases",
    "FlowerTransactionTestCase": "flowerapp.testing.cases",
    "InlineRunner": "flowerapp.executors.inline",
    "context_for": "flowerapp.testing.contexts",
    "flower": "flowerapp.testing.runner",
    "inline": "flowerapp.testing.runner",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
