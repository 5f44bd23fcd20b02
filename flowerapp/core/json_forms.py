"""Forms that a JSON schema describes: which schemas may be used, and what is wrong with the data of a form.

The keywords are few, so that a check takes about as long as reading the data: none names another document, and none
holds a regular expression.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from flowerapp.core import masking, values
from flowerapp.core.masking import Secrets
from flowerapp.core.names import text_problems
from flowerapp.exceptions import InvalidValueError

MOST_BYTES = 32 * 1024
"""Of the JSON of a schema."""
MOST_DATA = 64 * 1024
"""Bytes of JSON of what a form takes."""
MOST_FIELDS = 100
DEEPEST = 5
LONGEST_FIELD = 100
"""Characters of the name of a field."""
MOST_VALUES = 500
"""Values that a field offers."""
MOST_PROBLEMS = 20
MOST_NAMED = 10

_OF_ALL = {"type", "title", "description", "default", "enum", "const"}
_OF_NUMBERS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
KEYWORDS: Mapping[str, set[str]] = {
    "string": {"minLength", "maxLength", "format"},
    "integer": _OF_NUMBERS,
    "number": _OF_NUMBERS,
    "boolean": set(),
    "array": {"items", "minItems", "maxItems"},
    "object": {"properties", "required", "additionalProperties"},
}
"""Type of a field → the keywords that it takes beside those of all."""
FORMATS = ("date", "email", "textarea")
"""What a text may be; the last is text of several lines."""
_NOT_IN_SECRETS = ("default", "enum", "const")
"""Keywords that would show the value of a secret."""
_TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
}


class FormProblem(NamedTuple):
    """Something that is wrong with the data of a form."""

    field: str
    """Name of the field; empty for the form as a whole."""
    place: str
    """The same, and where in the value of the field it is."""
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


def checked(schema: Any, what: str = "form") -> dict[str, Any]:
    """The schema of a form as it is stored: an object that takes no field that it does not name.

    Raises InvalidValueError that says where it is wrong; ``what`` names it.
    """
    if not isinstance(schema, dict) or schema.get("type") != "object" or not schema.get("properties"):
        raise InvalidValueError(f'{what} is no schema of an object; write {{"type": "object", "properties": {{…}}}}')
    if len(text := values.dumps(schema, what)) > MOST_BYTES:
        raise InvalidValueError(f"{what} has {len(text):,} characters of JSON; {MOST_BYTES:,} is the most")
    root = {key: value for key, value in schema.items() if key != "$schema"}
    for number, (place, field, is_secret) in enumerate(_walk(root, what, 0, is_secret=False)):
        if number > MOST_FIELDS:
            raise InvalidValueError(f"{what} has over {MOST_FIELDS} fields, which is the most")
        _check_field(field, place, is_secret=is_secret)
    _check_by_library(root, what)
    return _closed(root)


def _walk(field: Any, place: str, depth: int, *, is_secret: bool) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """The schema and those within it, each with its place, and whether its value is a secret."""
    if not isinstance(field, dict):
        raise InvalidValueError(f"{place} is no schema; write an object with a type")
    if depth > DEEPEST:
        raise InvalidValueError(f"{place} is nested too deeply; {DEEPEST} levels are the most")
    yield place, field, is_secret
    properties = field.get("properties", {})
    if not isinstance(properties, dict):
        raise InvalidValueError(f"{place}.properties is no object of fields by their names")
    for name, inner in properties.items():
        _check_name(name, place)
        secret = is_secret or masking.secret(name)
        yield from _walk(inner, f"{place}.{name}", depth + 1, is_secret=secret)
    if "items" in field:
        yield from _walk(field["items"], f"{place}[]", depth + 1, is_secret=is_secret)


def _check_name(name: str, place: str) -> None:
    wrong = list(text_problems(name, f"the name of a field of {place}", LONGEST_FIELD))
    if wrong or not name.strip():
        raise InvalidValueError(wrong[0] if wrong else f"a field of {place} has an empty name; give it one")


def _check_field(field: Mapping[str, Any], place: str, *, is_secret: bool) -> None:
    kind = field.get("type")
    if not isinstance(kind, str) or kind not in KEYWORDS:
        raise InvalidValueError(f"{place} needs a type: one of {', '.join(KEYWORDS)}")
    if unknown := sorted(set(field) - _OF_ALL - KEYWORDS[kind]):
        takes = ", ".join(sorted(_OF_ALL | KEYWORDS[kind]))
        raise InvalidValueError(f"{place} has {unknown[0]!r}, which a field of type {kind} does not take: {takes}")
    if field.get("format") not in (None, *FORMATS):
        raise InvalidValueError(f"{place}.format must be one of {', '.join(FORMATS)}")
    if is_secret and (shown := [key for key in _NOT_IN_SECRETS if key in field]):
        raise InvalidValueError(f"{place} is a secret by its name, so it has no {shown[0]}; leave it out")
    offered = field.get("enum", [])
    if not isinstance(offered, list) or len(offered) > MOST_VALUES or any(map(_is_container, offered)):
        raise InvalidValueError(f"{place}.enum must be a list of at most {MOST_VALUES} texts, numbers, true or false")


def _is_container(value: Any) -> bool:
    return isinstance(value, (dict, list))


def _check_by_library(schema: dict[str, Any], what: str) -> None:
    from jsonschema import Draft202012Validator  # it takes long to import
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        place = ".".join([what, *map(str, error.absolute_path)])
        raise InvalidValueError(f"{place} is no JSON schema: {values.cut(error.message, 300)}") from None


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, whose objects take no further fields unless they say so."""
    closed = dict(schema)
    if closed["type"] == "object":
        closed["properties"] = {name: _closed(field) for name, field in closed.get("properties", {}).items()}
        closed.setdefault("additionalProperties", False)
    if "items" in closed:
        closed["items"] = _closed(closed["items"])
    return closed


def masked(schema: dict[str, Any], secrets: Secrets) -> dict[str, Any]:
    """The schema with masks in its texts; a default that quotes a secret is left out."""
    shown = dict(schema)
    for key in ("title", "description"):
        if key in shown:
            shown[key] = masking.masked(shown[key], secrets)
    if "default" in shown and masking.masked(shown["default"], secrets) != shown["default"]:
        del shown["default"]
    if "properties" in shown:
        shown["properties"] = {name: masked(field, secrets) for name, field in shown["properties"].items()}
    if "items" in shown:
        shown["items"] = masked(shown["items"], secrets)
    return shown


def problems(schema: dict[str, Any], data: Any) -> list[FormProblem]:
    """What is wrong with the data of a form, in sentences that quote no value; the schema is a checked one."""
    if not isinstance(data, dict):
        return [FormProblem("", "", "must be an object with the fields of the form")]
    if len(json.dumps(data, ensure_ascii=False)) > MOST_DATA:
        return [FormProblem("", "", f"is larger than {MOST_DATA:,} bytes of JSON, which is the most")]
    from jsonschema import Draft202012Validator, FormatChecker  # it takes long to import

    validator = Draft202012Validator(schema, format_checker=FormatChecker(("date", "email")))
    errors = islice(validator.iter_errors(data), MOST_PROBLEMS)
    return list(dict.fromkeys(problem for error in errors for problem in _problems_of(error)))


def _problems_of(error: Any) -> Iterator[FormProblem]:
    path = list(error.absolute_path)
    if error.validator == "required":
        lacking = [name for name in error.validator_value if name not in error.instance]
        yield from (_problem([*path, name], "is required; fill it in") for name in lacking)
    elif error.validator == "additionalProperties":
        fields = error.schema.get("properties", {})
        unknown = [name for name in error.instance if name not in fields][:MOST_NAMED]
        yield from (_problem([*path, name], f"is no field; there is {', '.join(fields)}") for name in unknown)
    else:
        sentence = _SENTENCES.get(error.validator, lambda _: "is not what the form takes")
        yield _problem(path, sentence(error.validator_value))


def _problem(path: Sequence[Any], message: str) -> FormProblem:
    place = ""
    for part in path:
        place += f"[{part}]" if isinstance(part, int) else f".{str(part)[:100]}"
    return FormProblem(str(path[0])[:100] if path else "", place.removeprefix("."), message)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_SENTENCES: Mapping[str, Callable[[Any], str]] = {
    "type": lambda kind: f"must be {_TYPES[kind]}",
    "enum": lambda offered: f"must be one of {', '.join(map(_as_text, offered[:MOST_NAMED]))}",
    "const": lambda value: f"must be {_as_text(value)}",
    "minLength": lambda least: f"must have {least} characters or more",
    "maxLength": lambda most: f"must have {most} characters or fewer",
    "minimum": lambda least: f"must be {least} or more",
    "maximum": lambda most: f"must be {most} or less",
    "exclusiveMinimum": lambda bound: f"must be more than {bound}",
    "exclusiveMaximum": lambda bound: f"must be less than {bound}",
    "minItems": lambda least: f"must have {least} items or more",
    "maxItems": lambda most: f"must have {most} items or fewer",
    "format": lambda form: "must be a date, as 2026-11-29" if form == "date" else "must be an e-mail address",
}
"""Keyword → what a value that breaks it must be."""
