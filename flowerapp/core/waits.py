"""What the parameters of waits mean, and which events a wait matches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flowerapp.core import values
from flowerapp.core.durations import seconds_of
from flowerapp.core.format_templates import filled
from flowerapp.core.masking import MASKED
from flowerapp.core.names import name_problems
from flowerapp.core.passing import NULL
from flowerapp.core.unmasking import holds_mask
from flowerapp.exceptions import InvalidValueError

Object = dict[str, Any]

MOST_MEMBERS = 200
"""Members that an event or a match may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventWait:
    """What a step of ``wait:event`` waits for."""

    event: str
    """Kind of the event."""
    match: Object | None
    """Members that the event must have; None for any event of the kind."""
    receipt: bool
    """Whether it consumes the event."""
    any_time: bool
    """Whether events count that came before the flow was registered."""
    timeout: float | None
    """Seconds after which it fails."""


def event_wait(parameters: Mapping[str, Any], value: Any) -> EventWait:
    """The wait of a step with these parameters and this input; raises InvalidValueError."""
    match = parameters.get("match")
    since = parameters.get("since", "registered")
    if since not in ("registered", "any"):
        raise InvalidValueError(f"since {since!r:.100} is unknown; use any, or leave it out")
    return EventWait(
        event=_name(filled_in(parameters.get("event"), value, parameters), "event"),
        match=_match(match, value, parameters),
        receipt=_flag(parameters.get("receipt", True), "receipt"),
        any_time=since == "any",
        timeout=timeout_of(parameters, value),
    )


def _match(match: Any, value: Any, parameters: Mapping[str, Any]) -> Object | None:
    if match is None or match == "none":
        return None
    wanted = subject_of(value) if match == "input" else filled_in(match, value, parameters)
    if not isinstance(wanted, dict):
        raise InvalidValueError("match is no object; use input, or an object with the members that the event must have")
    if len(wanted) > MOST_MEMBERS:
        raise InvalidValueError(f"match has {len(wanted):,} members; the limit is {MOST_MEMBERS}")
    return wanted


def subject_of(value: Any) -> Any:
    """The object of an input: itself, or the first of a list."""
    first = value[0] if isinstance(value, list) and value else value
    return {} if first == [] else first


def delay_of(parameters: Mapping[str, Any], value: Any) -> float:
    """The seconds of a ``wait:delay``; raises InvalidValueError."""
    return seconds_of(filled_in(parameters.get("duration"), value, parameters), "duration")


def constant_delay(parameters: Mapping[str, Any]) -> float | None:
    """The same where no input is needed to tell it; None where one may be, or it is wrong."""
    duration = parameters.get("duration")
    if isinstance(duration, bool) or not isinstance(duration, (int, float)):
        return None
    try:
        return seconds_of(duration, "duration")
    except InvalidValueError:
        return None


def timeout_of(parameters: Mapping[str, Any], value: Any) -> float | None:
    """The seconds after which a wait fails, if it names them; raises InvalidValueError."""
    timeout = parameters.get("timeout")
    return None if timeout is None else seconds_of(filled_in(timeout, value, parameters), "timeout")


def latch_name(parameters: Mapping[str, Any], value: Any) -> str:
    """Name of the latch of a step; raises InvalidValueError."""
    return _name(filled_in(parameters.get("name"), value, parameters), "name")


def filled_in(template: Any, value: Any, parameters: Mapping[str, Any]) -> Any:
    """A parameter with the templates in it filled in, whatever it is; raises InvalidValueError."""
    if isinstance(template, str):
        return filled(template, value, parameters)
    if isinstance(template, list):
        return [filled_in(item, value, parameters) for item in template]
    if isinstance(template, dict):
        return {key: filled_in(item, value, parameters) for key, item in template.items()}
    return template


def _flag(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidValueError(f"{what} {value!r:.100} is neither true nor false")
    return value


def _name(name: Any, what: str) -> str:
    text = str(name) if isinstance(name, int) and not isinstance(name, bool) else name
    if not isinstance(text, str) or not text.strip():
        raise InvalidValueError(f"{what} {name!r:.100} is no name; use text")
    for problem in name_problems(text, what):
        raise InvalidValueError(problem)
    return text


def start_problems(kind: str, match: Any) -> Iterator[tuple[str, str]]:
    """Fields and sentences about the events that start flows of a workflow."""
    for problem in name_problems(kind, "start_event") if kind else ():
        yield "start_event", problem
    if match is None:
        return
    if not isinstance(match, dict):
        yield "start_match", 'start_match is no object; use one such as {"country": "DE"}, or null for any event'
    elif not kind:
        yield "start_match", "start_match has no event to look at; name its kind in start_event"
    elif len(match) > MOST_MEMBERS:
        yield "start_match", f"start_match has {len(match):,} members; the limit is {MOST_MEMBERS}"
    elif holds_mask(match):
        yield (
            "start_match",
            f"start_match holds {MASKED}, which keeps a stored value; nothing is stored: give the value",
        )
    else:
        try:
            values.dumps(match, "start_match")
        except InvalidValueError as error:
            yield "start_match", str(error)


# Matching.


def matches(match: Object | None, data: Object) -> bool:
    """Whether an event with this data has every member of a match."""
    return match is None or all(name in data and _equal(data[name], value) for name, value in match.items())


def _equal(one: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1, but 1 is 1.0."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def anchor_of(match: Object | None) -> str:
    """A digest of the member of a match that is likely to differ most; empty for a match without members."""
    if not match:
        return ""
    return _digest(*max(match.items(), key=lambda member: (len(_key(member[1])), member[0])))


def anchors_of(data: Object) -> Iterator[str]:
    """The digests of all members of an event: that of each match that it satisfies is among them."""
    return (_digest(name, value) for name, value in data.items())


def _digest(name: str, value: Any) -> str:
    return hashlib.sha256(json.dumps([name, _key(value)]).encode()).hexdigest()[:32]


def _key(value: Any) -> str:
    """A text that is the same for equal values; one for all lists and objects."""
    if isinstance(value, (list, dict)):
        return ""
    number = isinstance(value, float) and value.is_integer()
    return json.dumps(int(value) if number else value)


def output_of_event(match: Object | None, data: Object) -> Any:
    """What a wait gives after an event: its match with the event's ``output``, ``NULL`` for null.

    None if the event has no output: then the wait passes its input on.
    """
    if "output" not in data:
        return None
    output = data["output"]
    if isinstance(output, dict):
        return {**(match or {}), **output}
    return NULL if output is None else output
