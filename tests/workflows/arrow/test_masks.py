"""Texts as people may see them: no value with a secret is shown, however YAML or JSON writes it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from flowerapp.core import masked_sources, masking
from flowerapp.core.masking import MASKED, NO_SECRETS
from flowerapp.models import Flow
from flowerapp.selectors.shown import shown
from flowerapp.workflows import arrow
from flowerapp.workflows.arrow import masks
from tests.core.test_masking import plain_values
from tests.effort import examples, quick

S = "hunter2-Zx9"
"""A secret, in words that may stand on several lines: none of them may be shown."""
WORDS = ("hunter2", "Zx9", "sesame")


def seen(text: str, **columns: Any) -> str:
    """What people see of a flow's text."""
    return str(shown(Flow(source=text, **columns)).source)


def leaks(text: str) -> list[str]:
    """What a text shows of the secrets."""
    return [word for word in WORDS if word in text]


PLACES = [
    "A({}) → B",
    "A|B({}) → C",
    "{{ A → ? `$.a` {{ B({}) }} }}",
    "@task a = b ({}) '''About''' a",
    "@task a {{ B({}) }} a",
    "<{}> → A",
    "A → <https://example.com>({})",
]
FORMS = [
    "- password: |\n    hunter2\n    sesame\n-",
    "- password: |2-\n    hunter2\n    sesame\n-",
    "-\n  password: |+\n    hunter2\n\n    sesame\n\n-",
    "- password: >\n    hunter2\n    sesame\n-",
    "- password: >-1 # folded\n    hunter2\n    sesame\n-",
    "-\na:\n  - password: |-\n      hunter2\n      sesame\n    b: 2\n-",
    "- - - password: |\n        hunter2\n        sesame\n-",
    "-\n? password\n: hunter2\n  sesame\n-",
    "- password: hunter2\n    sesame\n-",
    "- password:\n          hunter2\n          sesame\n-",
    "- password: 'hunter2\n\n    sesame'\n-",
    '- password: "hunter2\\\n    sesame\n\n    Zx9"\n-',
    '- "pass\\x77ord": hunter2 sesame\n-',
    '- {"password": hunter2 sesame, b: 1} -',
    "- {password: [hunter2, sesame], b: 1} -",
    "- {password: {a: hunter2, b: sesame}} -",
    "-\npassword:\n- hunter2\n- sesame\n-",
    "-\ncredentials:\n  user: hunter2\n  pin: sesame\n-",
    "-\nb: &x hunter2 sesame\npassword: *x\n-",
    "-\npassword: &x hunter2 sesame\nb: *x\n-",
    "- password: !!str hunter2 sesame\n-",
    "- password: &x !!str |\n    hunter2\n    sesame\n-",
    "-\na: &a {password: hunter2 sesame}\nb: {<<: *a}\n-",
    "-\npassword: >\n  hunter2\n  sesame\n# once it was hunter2\n-",
    "- [password, hunter2 sesame] -",
    "- {name: password, value: hunter2 sesame} -",
    "- headers: {Authorization: hunter2\n    sesame} -",
    '{"password": "hunter2 sesame"}',
    '{"pass\\u0077ord": "hunter2 sesame"}',
    '{"a": [{"password": {"b": ["hunter2", "sesame"]}}]}',
    '{"password":\n\n\n\n\n\n\n\n\n\n  "hunter2 sesame"}',
    '{"body": "{\\"password\\": \\"hunter2 sesame\\"}"}',
]


def _in(place: str, form: str) -> str:
    """A text with a literal, whose hyphen or brackets are those of the form."""
    end = "-" if form.startswith("-") else ""
    return place.format(form.removesuffix("-") + end)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_hidden_however_it_is_written(form: str, place: str) -> None:
    text = _in(place, form)
    result = seen(text)
    assert leaks(text)
    assert leaks(result) == []
    assert MASKED in result
    assert seen(result) == result, "what is masked stays as it is"
    masked, steps = arrow.compile_text(result).steps, arrow.compile_text(text).steps
    for shown_step, step in zip(masked, steps, strict=True):
        assert shown_step.parameters == masking.masked(step.parameters, masking.secrets_of(step.parameters))


def test_all_else_stays_as_it_is_written() -> None:
    text = "A(- a: 1 # one\n-) # B\n→ ? `$.a` B(- password: |\n   hunter2\n-) '''x'''\n→ C({'n':  2})"
    text = text.replace(" '''x'''", "").replace("'n'", '"n"')
    assert seen(text) == 'A(- a: 1 # one\n-) # B\n→ ? `$.a` B({"password": "••••"})\n→ C({"n":  2})'
    assert seen("A(- a: 1 -) → B # c") == "A(- a: 1 -) → B # c"


def test_a_secret_is_hidden_where_the_text_quotes_it_again() -> None:
    text = "A(- password: |\n    hunter2\n-)\n→ B(- say: hunter2 -) # hunter2\n@task c '''hunter2'''\n<hunter2> → c"
    assert leaks(seen(text)) == []
    assert leaks(seen("A(- say: hunter2 -)", input={"token": "hunter2"})) == []
    assert leaks(seen("A(- password: x1, say: hunter2 -)", input={"token": "hunter2"})) == []


@pytest.mark.parametrize(
    "text",
    [
        "A → <https://bob:hunter2@example.com/?token=sesame1>",
        "A # token: hunter2",
        "@task a '''password=hunter2'''\na",
        '? `input.password == "hunter2"` A',
        "A(- url: https://bob:hunter2@example.com/ -)",
        "password = hunter2 (- [ -)",
        "password: |\n  hunter2\n",
    ],
)
def test_other_parts_and_texts_are_masked_as_any_text(text: str) -> None:
    assert leaks(seen(text)) == []


def test_values_beyond_a_limit_are_hidden_as_a_whole() -> None:
    literal = "A(- password: |\n    hunter2\n-)\n"
    number = masks.MOST_READ // (len(literal) - len("A\n")) + 1
    result = seen(literal * number)
    assert leaks(result) == []
    assert result.startswith('A({"password": "••••"})\n')
    assert result.endswith('A(- "••••" -)\n')
    large = f"A(- {{password: hunter2, b: {'x' * masks.MOST_READ}}} -)"
    assert seen(large) == 'A(- "••••" -)'


STYLES: list[dict[str, Any]] = [
    {"default_style": style, "default_flow_style": flow, "width": width, "allow_unicode": True}
    for style in [None, '"', "'", "|", ">"]
    for flow in [True, False]
    for width in [20, 100]
]


@settings(quick, max_examples=examples(300))
@given(plain_values, st.sampled_from(["token", "db_password", "cookie"]), st.sampled_from(STYLES), st.integers(0, 4))
def test_no_style_of_yaml_shows_a_secret(value: Any, name: str, style: dict[str, Any], indent: int) -> None:
    """As PyYAML writes it, with the value beside it, and with aliases."""
    secret = f"{S} and\nmore sesame  "
    whole = {"a": value, "b": [{name: [secret, value], "c": {name: secret}}]}
    body = yaml.safe_dump(whole, indent=indent + 2, **style)
    text = f"A(-\n{body}\n-)\n→ B"
    try:
        arrow.compile_text(text)
    except arrow.ArrowError:  # what YAML reads as another value is refused, such as a number as a key
        return
    assert leaks(seen(text)) == []
    as_json = f"A({json.dumps(whole)})"
    assert leaks(seen(as_json)) == []


def test_the_text_of_a_process_without_a_masker_is_masked_as_any_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masked_sources, "_masker", masked_sources._nothing)
    assert masked_sources.masked("A(- password: hunter2 -)", NO_SECRETS) == "A(- password: •••• -)"
