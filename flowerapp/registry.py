"""The registry of programs: the names for host projects, defined in ``flowerapp.core.programs``."""

from flowerapp.core.programs import (
    CONTEXT,
    Context,
    Program,
    Source,
    add_source,
    find,
    get,
    program,
    programs,
    register,
    registered,
)

__all__ = [
    "CONTEXT",
    "Context",
    "Program",
    "Source",
    "add_source",
    "find",
    "get",
    "program",
    "programs",
    "register",
    "registered",
]
