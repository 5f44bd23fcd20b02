"""A mask that is given back keeps what is stored in its place, and nothing else."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowerapp.core.masking import MASKED, masked
from flowerapp.core.unmasking import equal, holds_mask, unmasked

SECRET_TEXTS = [
    "https://ann:p4ssw0rd@example.com/?token=t0ken&n=1",
    '{"password": "in text", "n": 1}',
    "Bearer abcdefgh12345678",
    "password=hunter22 and more",
    "see https://a:one1@one/ and https://a:two2@two/",
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from(SECRET_TEXTS)
)
NAMES = st.sampled_from(["token", "password", "url", "key", "value", *SECRET_TEXTS[:1]]) | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=20
)
PARAMETERS = st.dictionaries(NAMES, VALUES, max_size=4)


@settings(deadline=None)
@given(PARAMETERS)
def test_what_shows_comes_back_as_it_is_stored(stored: dict[str, Any]) -> None:
    before = copy.deepcopy(stored)
    assert equal(unmasked(masked(stored), stored), before)
    assert equal(stored, before)


@settings(deadline=None)
@given(PARAMETERS, st.sampled_from(["n", "note"]), SCALARS)
def test_one_other_value_changes_alone(stored: dict[str, Any], name: str, value: Any) -> None:
    assert equal(unmasked(masked(stored) | {name: value}, stored), stored | {name: value})


@settings(deadline=None)
@given(PARAMETERS)
def test_nothing_is_made_up_without_a_stored_value(stored: dict[str, Any]) -> None:
    shown = masked(stored)
    assert equal(unmasked(shown, {}), shown)


@pytest.mark.parametrize("secret", ["s3cret", 7, 0, False, ["a"], {"a": 1}, {"token": "deeper"}, " "])
def test_secret_may_be_any_value(secret: Any) -> None:
    stored = {"token": secret, "n": 1}
    assert unmasked({"token": MASKED, "n": 2}, stored) == {"token": secret, "n": 2}
    assert equal(unmasked({"x": [{"token": MASKED}]}, {"x": [{"token": secret}]}), {"x": [{"token": secret}]})


@pytest.mark.parametrize(
    "stored", [{}, {"other_token": "s3cret"}, {"token": None}, {"token": ""}, {"x": {"token": "s"}}]
)
def test_mask_stays_where_nothing_is_stored(stored: dict[str, Any]) -> None:
    assert unmasked({"token": MASKED}, stored) == {"token": MASKED}


@pytest.mark.parametrize(
    "value",
    [
        {"copy": MASKED},
        {"x": {"copy": MASKED}},
        {"x": {"token": {"a": MASKED}}},
        {"x": [MASKED]},
        {"x": [{"token": MASKED}]},
        {"token": MASKED},
        {"x": f"Bearer {MASKED}"},
        {"x": {"token": f"Bearer {MASKED}"}},
        {"x": {"token": f" {MASKED}"}},
        {"x": {"token": f"{MASKED}!"}},
    ],
)
def test_secret_cannot_be_moved(value: Any) -> None:
    """To another name, deeper, out of its object, into a list, or into a text."""
    stored = {"x": {"token": "s3cret"}, "list": ["s3cret"]}
    assert unmasked(value, stored) == value
    assert holds_mask(unmasked(value, stored))


def test_whole_object_may_stand_for_itself() -> None:
    """A mask in place of what shows in part keeps all of it."""
    assert unmasked({"x": MASKED}, {"x": {"token": "s3cret", "n": 1}}) == {"x": {"token": "s3cret", "n": 1}}


def test_number_that_becomes_true_beside_a_mask_is_a_change() -> None:
    stored = {"x": [{"token": "s3cret", "n": 1}]}
    (item,) = unmasked({"x": [{"token": MASKED, "n": True}]}, stored)["x"]
    assert item == {"token": "s3cret", "n": 1}
    assert item["n"] is True


# Lists


def account(name: str, token: str = MASKED, **more: Any) -> dict[str, Any]:
    return {"name": name, "token": token, **more}


STORED = {"accounts": [account("a", "A"), account("b", "B"), account("b", "C"), "plain"]}


def tokens(*accounts: Any) -> list[str]:
    """The tokens of a list that is given back in place of the stored one."""
    items = unmasked({"accounts": list(accounts)}, STORED)["accounts"]
    return [item["token"] for item in items if isinstance(item, dict)]


def test_items_in_their_places() -> None:
    assert tokens(account("a"), account("b"), account("b"), "plain") == ["A", "B", "C"]
    assert tokens(account("a"), account("b"), account("b"), "changed") == ["A", "B", "C"]
    assert tokens(account("a"), account("b", n=1), account("b"), "plain") == ["A", "B", "C"]
    assert tokens(account("a"), account("b", "new"), account("b"), "plain") == ["A", "new", "C"]


def test_item_that_is_as_it_shows_keeps_its_secret_where_it_is_moved() -> None:
    assert tokens(account("b"), account("a"), account("b"), "plain") == ["B", "A", "C"]
    assert tokens("new", account("a")) == ["A"]
    assert tokens(account("a"), account("a")) == ["A", "A"]


def test_item_that_may_be_one_of_several_keeps_none() -> None:
    assert tokens(account("b")) == [MASKED]
    assert tokens(account("a"), account("b"), "plain") == ["A", MASKED]


def test_changed_item_does_not_take_the_secret_of_a_moved_one() -> None:
    assert tokens(account("z"), account("a"), account("b"), "plain") == [MASKED, "A", "C"]
    assert tokens(account("a"), account("z")) == ["A", MASKED]


# Names that stand beside their values


NAMED = {"key": "token", "value": "s3cret"}


def test_value_whose_name_stands_beside_it() -> None:
    stored = {"env": [NAMED, ["password", "p4ss"]], "n": 1}
    shown = masked(stored)
    assert MASKED in str(shown["env"][0]), "this test is about values that are hidden by a name beside them"
    assert unmasked(shown | {"n": 2}, stored) == stored | {"n": 2}


@pytest.mark.parametrize(
    "value",
    [
        {"env": [{"key": "note", "value": MASKED}, ["password", MASKED]]},
        {"env": [{"key": "token", "value": MASKED}, ["note", MASKED]]},
        {"env": [{"value": MASKED}, ["password", MASKED]]},
    ],
)
def test_value_whose_name_is_another_now_does_not_show(value: Any) -> None:
    stored = {"env": [NAMED, ["password", "p4ss"]]}
    result = unmasked(value, stored)
    assert holds_mask(result)
    assert str(masked(result)).count(MASKED) == str(result).count(MASKED) + 1


def test_names_that_hold_secrets() -> None:
    stored = {"https://ann:p4ss@host/": {"token": "s3cret"}, "n": 1}
    shown = masked(stored)
    assert "p4ss" not in str(shown)
    assert unmasked(shown | {"n": 2}, stored) == stored | {"n": 2}


# Text

URL = "https://ann:p4ssw0rd@example.com:8443/hook?token=t0ken123&n=1#end"
LOGIN, QUERY = f"ann:{MASKED}@example.com:8443", f"token={MASKED}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"https://{LOGIN}/hook?{QUERY}&n=1#end", URL),
        (f"https://{LOGIN}/hook?{QUERY}&n=2", "https://ann:p4ssw0rd@example.com:8443/hook?token=t0ken123&n=2"),
        (f"https://{LOGIN}/other?n=1&{QUERY}", "https://ann:p4ssw0rd@example.com:8443/other?n=1&token=t0ken123"),
        (f"https://{LOGIN}/", "https://ann:p4ssw0rd@example.com:8443/"),
        (f"https://example.com:8443/?{QUERY}", "https://example.com:8443/?token=t0ken123"),
        (f"https://ann:new@example.com:8443/?{QUERY}", "https://ann:new@example.com:8443/?token=t0ken123"),
        (f"https://ann:{'%E2%80%A2' * 4}@example.com:8443/", "https://ann:p4ssw0rd@example.com:8443/"),
        (f"https://example.com:8443/?token={'%e2%80%a2' * 4}", "https://example.com:8443/?token=t0ken123"),
        (MASKED, URL),
    ],
)
def test_parts_of_a_url(value: str, expected: str) -> None:
    assert unmasked({"URL": value}, {"URL": URL}) == {"URL": expected}


@pytest.mark.parametrize(
    "value",
    [
        f"https://ann:{MASKED}@evil.example/",
        f"https://ann:{MASKED}@example.com/",
        f"http://{LOGIN}/",
        f"https://bob:{MASKED}@example.com:8443/",
        f"https://{MASKED}@example.com:8443/",
        f"https://{LOGIN}:{MASKED}/",
        f"https://{LOGIN}@evil.example/",
        f"https://evil.example/{LOGIN}/",
        f"https://evil.example/?{QUERY}",
        f"https://example.com:8443/?note={MASKED}",
        f"https://example.com:8443/?n={MASKED}",
        f"https://example.com:8443/{MASKED}",
        f"https://example.com:8443/?{QUERY}&{QUERY}",
        f"//{LOGIN}/",
        f"{LOGIN}",
        f"see https://evil.example/ {QUERY}",
        QUERY,
    ],
)
def test_part_of_a_url_is_kept_for_the_same_user_host_and_name_only(value: str) -> None:
    result = unmasked({"URL": value}, {"URL": URL})
    assert "p4ssw0rd" not in str(result)
    assert "t0ken123" not in str(result)
    assert holds_mask(result)


TEXTS = [
    "https://ghp0token0of0github@github.com/x.git",
    "Authorization: Bearer abcdefgh12345678\nX-Trace: 1",
    "curl -H 'Authorization: Bearer abcdefgh12345678' --data x",
    "mysql --password hunter22 --user ann",
    "password=one1 other_password=two2 user=ann",
    '{"password": "in text",   "n": 1}',
    '  [{"token": "a"}, {"token": "b"}]',
    '{"inner": "{\\"token\\": \\"deep\\"}", "n": 1}',
    '"https://ann:p4ss@host/"',
    "see https://a:secret1@one/ and https://b:secret2@two/?key=k3y for more",
    "-----BEGIN RSA PRIVATE KEY-----\nabc\ndef\n-----END RSA PRIVATE KEY-----",
    "postgres://ann:p@ss:w0rd@db/flower",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", ["BODY", "token"])
def test_text_that_shows_in_part(text: str, name: str) -> None:
    stored = {name: text, "list": [text, {"x": text}], "n": 1}
    shown = masked(stored)
    assert holds_mask(shown[name])
    assert unmasked(shown | {"n": 2}, stored) == stored | {"n": 2}


def test_words_beside_a_secret_may_change() -> None:
    stored = {"BODY": "Authorization: Bearer abcdefgh12345678\nX-Trace: 1"}
    value = masked(stored)["BODY"].replace("X-Trace: 1", "X-Trace: 2")
    assert unmasked({"BODY": value}, stored) == {"BODY": "Authorization: Bearer abcdefgh12345678\nX-Trace: 2"}


def test_secret_in_a_text_is_kept_where_it_stays_hidden_only() -> None:
    stored = {"BODY": "password=hunter22 x"}
    for value in (f"word={MASKED} x", f"{MASKED} x", f"password=a {MASKED} x"):
        assert unmasked({"BODY": value}, stored) == {"BODY": value}
    assert unmasked({"BODY": f"now password={MASKED} x"}, stored) == {"BODY": "now password=hunter22 x"}


# JSON that is kept as text

JSON_TEXT = '{"token": "s3cret",  "n": 1, "x": [{"password": "p4ss"}]}'


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_json_that_a_client_writes_in_its_own_way(indent: int | None, ascii_only: bool) -> None:
    shown = json.loads(masked(JSON_TEXT))
    same = json.dumps(shown, indent=indent, ensure_ascii=ascii_only)
    assert unmasked({"BODY": same}, {"BODY": JSON_TEXT}) == {"BODY": JSON_TEXT}
    other = json.dumps(shown | {"n": 2}, indent=indent, ensure_ascii=ascii_only)
    result = unmasked({"BODY": other}, {"BODY": JSON_TEXT})["BODY"]
    assert json.loads(result) == json.loads(JSON_TEXT) | {"n": 2}


@pytest.mark.parametrize("change", [{"copy": MASKED}, {"x": [{"note": MASKED}]}, {"n": {"token": MASKED}}])
def test_secret_in_json_text_cannot_be_moved(change: dict[str, Any]) -> None:
    value = json.dumps(json.loads(masked(JSON_TEXT)) | change)
    result = unmasked({"BODY": value}, {"BODY": JSON_TEXT})
    assert holds_mask(result)
    again = masked(result)["BODY"]
    assert "s3cret" not in again
    assert "p4ss" not in again


def test_json_text_that_is_nested_too_deeply_is_left_alone() -> None:
    deep = "[" * 5000 + f'"{MASKED}"' + "]" * 5000
    assert holds_mask(unmasked({"BODY": deep}, {"BODY": deep.replace(MASKED, "x")}))


# Large values

MIB = 1024 * 1024
LONG_SECONDS = 60
"""More than any of these takes; work that grows with the square of the size would take hours."""


@pytest.mark.parametrize(
    ("stored", "edit"),
    [
        ("https://h/?" + "&".join(f"token{n}=hunter{n}" for n in range(40_000)), "{}&n=1"),
        (" ".join(f"https://u{n}:hunter{n}@h/" for n in range(40_000)), "{} n"),
        (" ".join(f"password=hunter{n}" for n in range(50_000)), "{} n"),
        ("https://a:b@h/" + "c" * MIB, "{}c"),
        ("https://a:b@h/", "https://" + MASKED * 90_000 + "@h/"),
        ("token=a", "x" * MIB + MASKED),
        ("token=a", "\\" * MIB + MASKED),
        ("token=a", "\\u2022" * (MIB // 6) + MASKED),
        ("token=a", "%E2%80%A" * (MIB // 8) + MASKED),
        ([{"token": f"hunter{n}", "n": n} for n in range(20_000)], lambda items: items[1:] + items[:1]),
        ([{"token": f"hunter{n}", "n": n} for n in range(20_000)], lambda items: [it | {"n": 0} for it in items]),
        ({f"token{n}": n for n in range(40_000)}, lambda tokens: tokens | {"n": 1}),
    ],
    ids=[*"abcdefghijkl"],
)
def test_time_grows_with_the_size_alone(stored: Any, edit: Any) -> None:
    shown = masked({"x": stored})["x"]
    value = edit(shown) if callable(edit) else edit.format(shown)
    before = time.monotonic()
    unmasked({"x": value}, {"x": stored})
    assert time.monotonic() - before < LONG_SECONDS


# What a mask is


@pytest.mark.parametrize(
    "value",
    [
        MASKED,
        [MASKED],
        {"a": {"b": [1, MASKED]}},
        f"https://ann:{MASKED}@host/",
        f"https://host/?token={MASKED}&n=1",
        "https://host/?token=" + "%e2%80%a2" * 4,
        f'{{"token": "{MASKED}"}}',
        r'{"token": "\u2022\u2022\u2022\u2022"}',
        r'{"text": "{\"token\": \"\\u2022\\u2022\\u2022\\u2022\"}"}',
    ],
)
def test_masks(value: Any) -> None:
    assert holds_mask(value)
    assert holds_mask({"x": [value]})


@pytest.mark.parametrize("value", [None, 1, "", "•••", "• • • •", "\\u2022", {"•••": "."}, [], object()])
def test_no_masks(value: Any) -> None:
    assert not holds_mask(value)


def test_values_that_json_refuses_hold_none() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert not holds_mask(endless)
    assert not holds_mask({1: {(): 2}})


@pytest.mark.parametrize(
    ("one", "other"), [(1, True), (1, 1.0), (0, False), ("1", 1), (None, ""), ([], {}), ({}, None)]
)
def test_values_that_python_may_take_for_the_same(one: Any, other: Any) -> None:
    assert not equal(one, other)
    assert not equal({"x": [one]}, {"x": [other]})
    assert equal({"a": one, "b": other}, {"b": other, "a": one})
