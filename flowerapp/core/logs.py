"""The loggers of flowerapp: what they write quotes no secret, and shows characters that would mislead as escapes."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable

from flowerapp.core.masking import masked
from flowerapp.core.names import visible_lines


def logger(name: str) -> logging.Logger:
    """The logger of a module."""
    made = logging.getLogger(name)
    made.addFilter(mask)
    made.addFilter(_show)
    return made


def mask(record: logging.LogRecord) -> bool:
    """Mask what a record and the errors that it quotes show to be secret."""
    _rewrite(record, masked)
    if isinstance(record.exc_info, tuple) and record.exc_info[1] is not None and not record.exc_text:
        text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        shown = masked(text)
        record.exc_text = shown if shown != text else None
    return True


def _show(record: logging.LogRecord) -> bool:
    _rewrite(record, visible_lines)
    return True


def _rewrite(record: logging.LogRecord, as_shown: Callable[[str], str]) -> None:
    message = record.getMessage()
    shown = as_shown(message)
    if shown != message:
        record.msg, record.args = shown, None
