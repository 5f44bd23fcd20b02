"""The parameters of a step ``wait:approval``: who decides, between what, until when."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from flowerapp.core import json_forms
from flowerapp.core.durations import seconds_of
from flowerapp.core.format_templates import template_problems
from flowerapp.core.names import text_problems, unseen_problems
from flowerapp.core.permissions import DECIDE
from flowerapp.exceptions import InvalidValueError

LONGEST_TITLE, LONGEST_MESSAGE = 200, 20_000
"""Characters."""
MOST_NAMES = 50
"""Groups, users or addresses."""
MOST_CHOICES = 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
_PERMISSION = re.compile(r"\w+\.\w+\Z", re.ASCII)
_ADDRESS = re.compile(r"[^\s@<>,;\"]+@[^\s@<>,;\"]+\Z")
COMMENTS = ("optional", "required", "none")
ON_REJECT = ("fail", "continue")
REJECT = "reject"
"""The choice that does not count as approved, if its name is all that is said of it."""


class ApprovalState(StrEnum):
    """Whether a decision is still asked for, and how that ended."""

    OPEN = "open"
    """A person may decide."""
    DECIDED = "decided"
    """A person has decided."""
    EXPIRED = "expired"
    """Its time ran out; the choice is the default, or there is none."""
    CLOSED = "closed"
    """It is no longer asked for: its task was cancelled, skipped, rerun or ended otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One way to decide."""

    name: str
    label: str
    """What its button says."""
    approved: bool
    """Whether the flow continues as approved; else ``on_reject`` says what happens."""
    comment: str
    """Whether it takes a comment: one of ``COMMENTS``."""
    form: bool
    """Whether it takes the data of the form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalOptions:
    """What a step asks for."""

    title: str
    """A template over the input; empty for the name of the step."""
    message: str
    """A template too."""
    permission: str
    """Users with it may decide; empty if it does not matter."""
    groups: tuple[str, ...]
    """Their members may decide."""
    users: tuple[str, ...]
    """These may decide. Without permission, groups and users, all may who may decide at all."""
    choices: tuple[Choice, ...]
    form: dict[str, Any] | None
    """A JSON schema, as ``json_forms.checked`` makes it."""
    remind_after: float | None
    """Seconds."""
    timeout: float | None
    """Seconds."""
    default: str
    """The choice at the time-out; empty if the step then fails."""
    on_reject: str
    """One of ``ON_REJECT``."""
    self_approval: bool
    """Whether the user who registered the flow may decide."""
    notify: tuple[str, ...]
    """Addresses of e-mails."""
    links: bool
    """Whether these e-mails carry links by which their readers decide."""


NAMES = frozenset(ApprovalOptions.__dataclass_fields__) | {"comment"}
"""The parameters."""


def options_of(parameters: Mapping[str, Any]) -> ApprovalOptions:
    """The options of a step; raises InvalidValueError that names the parameter and says what it takes."""
    if unknown := sorted(set(parameters) - NAMES):
        raise InvalidValueError(f"an approval has no parameter {unknown[0]!r}; it takes: {', '.join(sorted(NAMES))}")
    comment = _word(parameters, "comment", COMMENTS)
    form = parameters.get("form")
    options = ApprovalOptions(
        title=_text(parameters, "title", LONGEST_TITLE),
        message=_text(parameters, "message", LONGEST_MESSAGE),
        permission=_permission(parameters),
        groups=_names(parameters, "groups"),
        users=_names(parameters, "users"),
        choices=_choices(parameters.get("choices"), comment, has_form=form is not None),
        form=None if form is None else json_forms.checked(form),
        remind_after=_seconds(parameters, "remind_after"),
        timeout=_seconds(parameters, "timeout"),
        default=_text(parameters, "default", LONGEST_TITLE),
        on_reject=_word(parameters, "on_reject", ON_REJECT),
        self_approval=_flag(parameters, "self_approval", default=False),
        notify=_addresses(parameters),
        links=_flag(parameters, "links", default=True),
    )
    _check_default(options)
    return options


def option_problems(parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with the parameters whatever the input is: pairs of field and sentence."""
    try:
        options = options_of(parameters)
    except InvalidValueError as error:
        yield "parameters", str(error)
        return
    for name, template in (("title", options.title), ("message", options.message)):
        yield from ((f"parameters.{name}", f"{name}: {problem}") for problem in template_problems(template))


def _check_default(options: ApprovalOptions) -> None:
    if options.default and options.timeout is None:
        raise InvalidValueError("default is the choice at the time-out; give timeout, in seconds, too")
    if options.default and options.default not in [choice.name for choice in options.choices]:
        listed = ", ".join(choice.name for choice in options.choices)
        raise InvalidValueError(f"default is {options.default!r}, which is no choice; the choices are {listed}")


def _choices(listed: Any, comment: str, *, has_form: bool) -> tuple[Choice, ...]:
    listed = ["approve", REJECT] if listed is None else listed
    if not isinstance(listed, list) or not 0 < len(listed) <= MOST_CHOICES:
        raise InvalidValueError(f'choices must be a list of at most {MOST_CHOICES}, such as ["approve", "reject"]')
    choices = tuple(_choice(entry, comment, has_form=has_form) for entry in listed)
    if len({choice.name for choice in choices}) < len(choices):
        raise InvalidValueError("choices names the same choice twice; give each a name of its own")
    return choices


_OF_CHOICE = ("name", "label", "approved", "comment", "form")


def _choice(entry: Any, comment: str, *, has_form: bool) -> Choice:
    facts: Any = {"name": entry} if isinstance(entry, str) else entry
    name = facts.get("name") if isinstance(facts, dict) else None
    if not isinstance(name, str) or not _NAME.match(name):
        raise InvalidValueError("a choice needs a name: letters, digits, _, - and ., 64 characters at most")
    if unknown := sorted(set(facts) - set(_OF_CHOICE)):
        raise InvalidValueError(f"choice {name} has {unknown[0]!r}; it takes {', '.join(_OF_CHOICE)}")
    approved = _flag(facts, "approved", default=name != REJECT)
    label = _text(facts, "label", LONGEST_TITLE).strip() or name.replace("_", " ").capitalize()
    return Choice(
        name=name,
        label=label,
        approved=approved,
        comment=_word({"comment": comment, **facts}, "comment", COMMENTS),
        form=has_form and _flag(facts, "form", default=approved),
    )


def _text(facts: Mapping[str, Any], name: str, longest: int) -> str:
    value = facts.get(name, "")
    if not isinstance(value, str):
        raise InvalidValueError(f"{name} must be text")
    if problems := list(text_problems(value, name, longest)):
        raise InvalidValueError(problems[0])
    return value


def _flag(facts: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = facts.get(name, default)
    if not isinstance(value, bool):
        raise InvalidValueError(f"{name} must be true or false")
    return value


def _word(facts: Mapping[str, Any], name: str, words: Collection[str]) -> str:
    value = facts.get(name, next(iter(words)))
    if value not in words:
        raise InvalidValueError(f"{name} must be one of {', '.join(words)}")
    return str(value)


def _seconds(facts: Mapping[str, Any], name: str) -> float | None:
    value = facts.get(name)
    seconds = None if value is None else seconds_of(value, name)
    if seconds == 0:
        raise InvalidValueError(f"{name} must be more than 0 seconds; leave it out for none")
    return seconds


def _permission(facts: Mapping[str, Any]) -> str:
    value = _text(facts, "permission", LONGEST_TITLE)
    if value and not _PERMISSION.match(value):
        raise InvalidValueError(f"permission is {value!r}; write APP.CODENAME, such as {DECIDE}")
    return value


def _names(facts: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A list of names, or one."""
    value = facts.get(name, [])
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(item, str) and item.strip() for item in listed):
        raise InvalidValueError(f"{name} must be a list of names")
    if len(listed) > MOST_NAMES:
        raise InvalidValueError(f"{name} has {len(listed)} names; {MOST_NAMES} is the most")
    if problems := list(_of_names(listed, name)):
        raise InvalidValueError(problems[0])
    return tuple(dict.fromkeys(listed))


def _of_names(listed: Collection[str], name: str) -> Iterator[str]:
    for item in listed:
        if len(item) > 150:
            yield f"{name} holds a name of {len(item)} characters; 150 is the most"
        yield from unseen_problems(item, f"a name in {name}")


def _addresses(facts: Mapping[str, Any]) -> tuple[str, ...]:
    addresses = _names(facts, "notify")
    if wrong := [address for address in addresses if not _ADDRESS.match(address)]:
        raise InvalidValueError(f"notify holds {wrong[0]!r}, which is no e-mail address")
    return addresses
