"""The registry of programs: the names for host projects, defined in ``flowerapp.core.programs``."""

from flowerapp.core.context import CONTEXT, Context
from flowerapp.core.programs import (
    Call,
    Program,
    Source,
    add_source,
    calls_of,
    find,
    get,
    program,
    programs,
    register,
    registered,
)

__all__ = [
    "CONTEXT",
    "Call",
    "Context",
    "Program",
    "Source",
    "add_source",
    "calls_of",
    "find",
    "get",
    "program",
    "programs",
    "register",
    "registered",
]
