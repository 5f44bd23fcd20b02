"""The parameters of a step that waits for a person."""

from __future__ import annotations

from typing import Any

import pytest

from flowerapp.core.approval_options import Choice, options_of
from flowerapp.exceptions import InvalidValueError


def test_defaults() -> None:
    options = options_of({})
    assert options.choices == (
        Choice(name="approve", label="Approve", approved=True, comment="optional", form=False),
        Choice(name="reject", label="Reject", approved=False, comment="optional", form=False),
    )
    assert (options.timeout, options.default, options.on_reject, options.self_approval) == (None, "", "fail", False)
    assert (options.permission, options.groups, options.users, options.notify) == ("", (), (), ())


def test_named_choices() -> None:
    listed: list[Any] = ["yes", {"name": "not_now", "approved": False, "comment": "required"}]
    form = {"type": "object", "properties": {"a": {"type": "string"}}}
    options = options_of({"choices": listed, "comment": "none", "form": form, "timeout": "1m", "default": "not_now"})
    assert options.choices == (
        Choice(name="yes", label="Yes", approved=True, comment="none", form=True),
        Choice(name="not_now", label="Not now", approved=False, comment="required", form=False),
    )
    assert (options.timeout, options.default) == (60.0, "not_now")


def test_one_name_is_a_list_of_one() -> None:
    assert options_of({"groups": "finance", "users": ["ann", "ann"]}).groups == ("finance",)
    assert options_of({"users": ["ann", "ann"]}).users == ("ann",)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"group": "finance"}, "no parameter 'group'"),
        ({"title": 1}, "title must be text"),
        ({"title": "x" * 201}, "200 is the most"),
        ({"message": "a\u202e"}, "U+202E"),
        ({"permission": "decide"}, "write APP.CODENAME"),
        ({"groups": [1]}, "groups must be a list of names"),
        ({"groups": [" "]}, "groups must be a list of names"),
        ({"users": ["a\nuser:root"]}, "U+000A"),
        ({"users": ["a"] * 51}, "50 is the most"),
        ({"users": ["a" * 151]}, "150 is the most"),
        ({"choices": []}, "choices must be a list"),
        ({"choices": "approve"}, "choices must be a list"),
        ({"choices": ["a"] * 21}, "choices must be a list"),
        ({"choices": ["a", "a"]}, "the same choice twice"),
        ({"choices": [{"label": "A"}]}, "a choice needs a name"),
        ({"choices": ["a b"]}, "a choice needs a name"),
        ({"choices": [1]}, "a choice needs a name"),
        ({"choices": [{"name": "a", "color": "red"}]}, "choice a has 'color'"),
        ({"choices": [{"name": "a", "approved": 1}]}, "approved must be true or false"),
        ({"choices": [{"name": "a", "comment": "maybe"}]}, "comment must be one of optional, required, none"),
        ({"form": {}}, "form is no schema"),
        ({"comment": True}, "comment must be one of"),
        ({"remind_after": 0}, "remind_after must be more than 0 seconds"),
        ({"timeout": "soon"}, "timeout 'soon' is no duration"),
        ({"timeout": float("inf")}, "timeout inf is no duration"),
        ({"timeout": 1e12}, "out of range"),
        ({"default": "approve"}, "give timeout"),
        ({"default": "maybe", "timeout": 1}, "which is no choice; the choices are approve, reject"),
        ({"on_reject": "retry"}, "on_reject must be one of fail, continue"),
        ({"self_approval": "yes"}, "self_approval must be true or false"),
        ({"notify": ["ann"]}, "no e-mail address"),
        ({"notify": ["a@b.example, c@d.example"]}, "no e-mail address"),
        ({"notify": ["a@b.example\nBcc: c@d.example"]}, "U+000A"),
        ({"links": 0}, "links must be true or false"),
    ],
)
def test_a_wrong_parameter_is_named(parameters: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidValueError) as refusal:
        options_of(parameters)
    assert says in str(refusal.value)
