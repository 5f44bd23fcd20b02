"""Masks hide secrets: by the names of values, within texts, and where they are secrets."""

from __future__ import annotations

import base64
import html
import json
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from django.test import override_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from flowerapp.core import masking
from flowerapp.core.coercion import short
from flowerapp.core.masking import MASKED, masked

S = "hunter2-Zx9"
"""A secret."""
LONG_SECONDS = 60
"""More than any text of the size in these tests takes; a pattern that reads again and again would take hours."""


def test_masks_hide_what_looks_secret_at_any_depth() -> None:
    shown = masked({"API_KEY": "x", "a": [{"db_password": {"deep": 1}, "b": 2}], "token": "", "Authorization": None})
    assert shown == {
        "API_KEY": MASKED,
        "a": [{"db_password": MASKED, "b": 2}],
        "token": "",
        "Authorization": None,
    }
    with override_settings(FLOWER={"MASK": ["PIN"]}):
        assert masked({"pin": 1, "token": "x"}) == {"pin": MASKED, "token": "x"}


# Names


@pytest.mark.parametrize(
    "name",
    [
        *("password", "DB_PASSWORD", "dbPassword", "Passwd", "pwd", "passphrase", "pass", "SMTP_PASS", "dbPass"),
        *("apiKey", "API KEY", "api-key", "api.key", "X-Api-Key", "APIKEY", "aws_secret_access_key", "accessKey"),
        *("token", "X-Auth-Token", "refresh_tokens", "csrfToken", "client-secret", "secrets", "credential"),
        *(
            "Authorization",
            "Proxy-Authorization",
            "Cookie",
            "Set-Cookie",
            "private_key",
            "privateKey",
            "X-Auth",
            "auth",
        ),
        *("Ocp-Apim-Subscription-Key", "DD-APPLICATION-KEY", "AccountKey", "bearer", "signingKey"),
    ],
)
def test_values_of_these_names_are_secret(name: str) -> None:
    assert masked({name: S}) == {name: MASKED}
    assert masked([name, S]) == [name, MASKED]
    assert masked(f"a {name}={S} b") == f"a {name}={MASKED} b"
    assert masked({"key": name, "value": S})["value"] == MASKED


@pytest.mark.parametrize(
    "value",
    [
        {"max_tokens": 4096, "token_count": 3, "tokens": "12", "token_ttl": 60.5, "password_min_length": 8},
        {"tokenizer": "cl100k", "tokenization": "x", "passenger": "Bo", "author": "x", "compass": "N", "monkey": "y"},
        {"token": None, "password": "", "key": "a", "name": "b", "value": "c"},
        {"InvalidTokenError": "expired", "SecretWarning": "old"},
    ],
)
def test_other_values_are_shown(value: dict[str, Any]) -> None:
    assert masked(value) == value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"k": "password", "v": S}, {"k": "password", "v": MASKED}),
        ({"name": "DB_PASSWORD", "val": S}, {"name": "DB_PASSWORD", "val": MASKED}),
        ({"type": "password", "label": "a", "value": S}, {"type": "password", "label": "a", "value": MASKED}),
        ({"header": "X-Token", "content": S}, {"header": "X-Token", "content": MASKED}),
        ({"name": "token", "type": "text", "default": S}, {"name": "token", "type": "text", "default": MASKED}),
        (["mysql", "--password", S, "x"], ["mysql", "--password", MASKED, "x"]),
        (["x", "--token", "--verbose", "y"], ["x", "--token", "--verbose", "y"]),
        ({"\uff50assword": S, "\u017fecret": S}, {"password": MASKED, "secret": MASKED}),
    ],
)
def test_names_beside_their_values(value: Any, shown: Any) -> None:
    assert list(masked(value).values() if isinstance(value, dict) else masked(value)) == list(
        shown.values() if isinstance(shown, dict) else shown
    )


@pytest.mark.parametrize("value", [0, 4096, True, 1.5, ["a"], {"a": 1}, {}, "0"])
def test_a_secret_may_be_any_value_but_nothing(value: Any) -> None:
    assert masked({"token": value}) == {"token": MASKED}


def test_a_long_number_is_no_amount() -> None:
    assert masked({"max_token": "12345678901", "token_limit": 12_345_678_901}) == {
        "max_token": MASKED,
        "token_limit": MASKED,
    }


def test_an_empty_mask_hides_by_form_alone() -> None:
    with override_settings(FLOWER={"MASK": []}):
        assert masked({"token": S, "URL": f"https://u:{S}@h/"}) == {"token": S, "URL": f"https://u:{MASKED}@h/"}
    with override_settings(FLOWER={"MASK": ["", "=", "ключ"]}):
        assert masked({"a": S, "Ключ-1": S, "b": f"ключ={S}"}) == {"a": S, "Ключ-1": MASKED, "b": f"ключ={MASKED}"}


# Texts

IN_TEXT = [
    ("POST https://bob:{}@h/x failed", "POST https://bob:••••@h/x failed"),
    ("postgres://app:{}@db:5432/x", "postgres://app:••••@db:5432/x"),
    ("redis://:{}@h/0", "redis://:••••@h/0"),
    ("see //bob:{}@h/", "see //bob:••••@h/"),
    (r"https:\/\/bob:{}@h", r"https:\/\/bob:••••@h"),
    ("https://{}@github.com/x", "https://••••@github.com/x"),
    ("https://{}:x-oauth-basic@github.com", "https://••••:x-oauth-basic@github.com"),
    ("https://{}:@api.example.com", "https://••••:@api.example.com"),
    ("https://bob:p@{}@h/", "https://bob:••••@h/"),
    ("https://bob:p/{}@h/", "https://bob:••••@h/"),
    ("https://bob:{}@h/path?email=a@b.c", "https://bob:••••@h/path?email=a@b.c"),
    ("https://h/?token={}&a=1", "https://h/?token=••••&a=1"),
    ("https://h/?a=1;sig={}#top", "https://h/?a=1;sig=••••#top"),
    ("https://h/#access_token={}", "https://h/#access_token=••••"),
    ("x=1&password={}&y=2", "x=1&password=••••&y=2"),
    ("q=1&password%3D{}", "q=1&password%3D••••"),
    ("pwd={}", "pwd=••••"),
    ("export DB_PASS={};x", "export DB_PASS=••••"),
    ("the password: {} is wrong", "the password: •••• is wrong"),
    ("password: {} is long", "password: ••••"),
    ("a\n  - token: {} b\nc", "a\n  - token: ••••\nc"),
    ("Authorization: Bearer {}", "Authorization: ••••"),
    ("-H 'Authorization: Bearer {}' https://x", "-H 'Authorization: ••••' https://x"),
    ("Set-Cookie: sid={}; Path=/\nHost: h", "Set-Cookie: ••••\nHost: h"),
    ("used Bearer {} here", "used Bearer •••• here"),
    ("curl --password {} x", "curl --password •••• x"),
    ("['--token', '{}']", "['--token', '••••']"),
    ("{{'password': '{}'}}", "{'password': '••••'}"),
    ("got {{'a': 1, 'api-key': b'{}'}}", "got {'a': 1, 'api-key': b'••••'}"),
    ('{{\\"password\\": \\"{}\\", \\"a\\": 1}}', '{\\"password\\": \\"••••\\", \\"a\\": 1}'),
    ("[('Authorization', 'Basic {}')]", "[('Authorization', '••••')]"),
    ("<db:password type='x'>{}</db:password>", "<db:password type='x'>••••</db:password>"),
    ("x {{'key': 'token', 'value': '{}'}}", "x {'key': 'token', 'value': '••••'}"),
    ('x {{"headerName": "X-Api-Key", "headerValue": "{}"', 'x {"headerName": "X-Api-Key", "headerValue": "••••"'),
    ("d['token'] = '{}'", "d['token'] = '••••'"),
    ("login(user, password='{}', x=1)", "login(user, password='••••', x=1)"),
    ("login(user, password={})", "login(user, password=••••)"),
    ("secret: ['a]', '{}'] b", "secret: •••• b"),
    ("secret = {{'a': '}}', 'b': '{}'}} b", "secret = •••• b"),
    ('x password: "{} and more', 'x password: "••••'),
    ('"password":"","password":"{}"', '"password":"","password":"••••"'),
    ('{{"password":"{}","password":""}}', '{"password":"••••","password":""}'),
    ("eyJhbGciOi.eyJzdWIiOi.{}", "••••"),
    ("a -----BEGIN RSA PRIVATE KEY-----\n{}", "a -----BEGIN RSA PRIVATE KEY-----••••"),
    ("BEGIN PGP PRIVATE KEY BLOCK-----\n\n{}\n-----END", "BEGIN PGP PRIVATE KEY BLOCK-----••••-----END"),
    ("https://bob@example.com:{}@h/", "https://bob@example.com:••••@h/"),
    ("https://{}@example.com:8080/a@h", "https://••••@example.com:8080/a@h"),
    ("https://h/?X-Amz-Signature={}&a=1", "https://h/?X-Amz-Signature=••••&a=1"),
    ("https://h/?%74oken={}&a=1", "https://h/?%74oken=••••&a=1"),
    ("user%5Bpassword%5D={}&a=1", "user%5Bpassword%5D=••••&a=1"),
    ("next=https%3A%2F%2Fbob%3a{}%40h", "next=https%3A%2F%2Fbob%3a••••%40h"),
    ("next=https%3A%2F%2F{}%40h", "next=https%3A%2F%2F••••%40h"),
    ("a: 1\npassword: |\n  {}\n\n  more\nb: 2", "a: 1\npassword: |\n  ••••\nb: 2"),
    ("  - token: >- # folded\n      {}\n    b: 2", "  - token: >- # folded\n      ••••\n    b: 2"),
    ("password = '''{}\n'' x'''", "password = '''••••'''"),
    ('"{{""password"": ""{}"", ""a"": 1}}"', '"{""password"": ""••••"", ""a"": 1}"'),
    ("<password><![CDATA[{}]]></password>", "<password><![CDATA[••••]]></password>"),
    ("<password><value>{}</value></password>", "<password>••••</value></password>"),
    ("<password/><a>b</a> <token>{}</token>", "<password/><a>b</a> <token>••••</token>"),
    ("<entry key='password'>{}</entry>", "<entry key='password'>••••</entry>"),
    ("<entry key='password'>{}", "<entry key='password'>••••"),
    ('<add key="password" value="{}"/>', '<add key="password" value="••••"/>'),
    ('<input value="{}" name="csrf_token">', '<input value="••••" name="csrf_token">'),
    ('form-data; name="password"\r\n\r\n{}\r\n--x--', 'form-data; name="password"\r\n\r\n••••\r\n--x--'),
    ('authorization: Digest username="bob", response="{}"', "authorization: ••••"),
    ('-H "Authorization: Bearer {}" -d "a"', '-H "Authorization: ••••" -d "a"'),
    ("x {{'name': 'DB_PASSWORD', 'val': '{}'}}", "x {'name': 'DB_PASSWORD', 'val': '••••'}"),
]


@pytest.mark.parametrize(("text", "shown"), IN_TEXT)
def test_secrets_in_texts_are_hidden(text: str, shown: str) -> None:
    assert masked(text.format(S)) == shown
    assert masked(shown) == shown, "what is masked stays as it is"


@pytest.mark.parametrize("text", [text for text, _ in IN_TEXT if "eyJ" not in text])
def test_what_a_text_hides_is_known(text: str) -> None:
    assert S not in masking.secrets_of({"a": [text.format(S)]}).redact(f"<{S}>")


@pytest.mark.parametrize(
    "text",
    [
        "https://host:8080/a@b",
        "http://[::1]:8080/a@b",
        "https://host/path?email=a@b.c",
        "ssh://git@github.com/x",
        "mail bob@example.com: hi",
        "Bearer authentication is needed",
        "Basic understanding of things",
        "parameter token: HTTPPostRequest needs it",
        "step 1: parameter api_key: Echo has no such parameter; it takes: URL",
        "parameter pwd: Input should be a valid integer, unable to parse",
        "jwt.exceptions.InvalidTokenError: expired",
        "Unexpected token '}' at 3",
        "max_tokens=4096 tokenizer=gpt token_count: 3",
        "x {'kind': 'token', 'number': 'one'}",
        "password=None token: null",
        "a secret is a secret",
    ],
)
def test_other_texts_are_shown(text: str) -> None:
    assert masked(text) == text


def test_json_that_is_kept_as_text_is_masked_as_json() -> None:
    inner = json.dumps({"password": S, "n": [1, "ü"]})
    assert masked(inner) == '{"password": "••••", "n": [1, "ü"]}'
    twice = masked({"BODY": json.dumps(inner)})["BODY"]
    assert json.loads(json.loads(twice)) == {"password": MASKED, "n": [1, "ü"]}
    plain = '{ "a":1 }'
    assert masked(plain) == plain
    assert masked({"param1_key": "password", "param1_value": S}) == {"param1_key": "password", "param1_value": MASKED}


def test_keys_are_texts_too() -> None:
    assert masked({f"https://u:{S}@h": 1}) == {f"https://u:{MASKED}@h": 1}


def test_what_is_nested_too_deeply_is_hidden() -> None:
    value: Any = {"a": S}
    for _ in range(1000):
        value = [value]
    assert S not in json.dumps(masked(value))
    text = S
    for _ in range(10):
        text = json.dumps({"token": text})
    assert S not in masked(text)


@pytest.mark.parametrize(
    "piece",
    [
        *("%3A%2F%2Fa", "token%", "%40token%", "<a ", "<a name='token' ", "<a name='", "token: |\n ", "token: |\n\n"),
        *("token='''", '""token"": ""', 'form-data; name="token"\n', 'form-data; name="token"\r\n\r\nx'),
        *("token ", "token", "token=", "token= x ", "/", "//:", "//:a@", 'token="', 'token=\\"', "token=[", '\\"'),
        *(
            "token:" + " " * 20,
            "<token",
            "eyJaaaa.",
            "BEGIN PRIVATE KEY-----",
            "Bearer ",
            "İtoken ",
            "token='\n",
            "{[(",
        ),
    ],
)
def test_the_time_for_a_text_grows_with_its_length_alone(piece: str) -> None:
    started = time.monotonic()
    masked("secret=[" + piece * (300_000 // len(piece)) + "@")
    masked(piece * (300_000 // len(piece)) + "@")
    assert time.monotonic() - started < LONG_SECONDS


names = st.sampled_from(["token", "db_password", "X-Api-Key", "cookie"])
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def _at(value: Any, way: list[Any], secret: Any) -> Any:
    """``secret`` within lists, objects and texts of JSON."""
    for step in way:
        if step is list:
            secret = [value, secret]
        elif step is str:
            secret = json.dumps(secret)
        else:
            secret = {"a": value, step: secret}
    return secret


@settings(deadline=None, max_examples=300)
@given(plain_values, names, st.lists(st.sampled_from([list, str, "b", "c d"]), max_size=6))
def test_no_secret_is_shown_wherever_it_stands(value: Any, name: str, way: list[Any]) -> None:
    whole = _at(value, way, {name: S})
    shown = masked(whole)
    assert S not in json.dumps(shown)
    assert masked(shown) == shown
    assert S not in masked(f"it failed: {whole!r}")
    assert S not in masked(f"it failed: {json.dumps(whole)}")


# Known secrets

ODD = "a b/c&ü'\"<x>\\9"
FORMS: list[Callable[[str], str]] = [
    str,
    repr,
    json.dumps,
    quote,
    quote_plus,
    html.escape,
    lambda text: quote(text, safe=""),
    lambda text: re.sub("%..", lambda match: match[0].lower(), quote(text, safe="")),
    lambda text: json.dumps(text, ensure_ascii=False),
    lambda text: json.dumps(json.dumps({"a": text})),
    lambda text: repr(text.encode()),
    lambda text: quote_plus(json.dumps({"a": text})),
    lambda text: html.escape(json.dumps({"a": text})),
    lambda text: repr(json.dumps({"a": text})),
    lambda text: json.dumps(repr({"a": text})),
    lambda text: f"ValueError: {text} is wrong",
    lambda text: f"x{text}{text}y",
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", [S, ODD, "1234", "пароль"])
def test_a_known_secret_is_found_in_all_its_forms(form: Callable[[str], str], secret: str) -> None:
    redacted = masking.secrets_of({"a": {"token": secret}}).redact(form(secret))
    assert form(secret) not in redacted
    assert MASKED in redacted


@pytest.mark.parametrize("before", ["", "b", "bo", "bob"])
@pytest.mark.parametrize("after", ["", "z", "zz"])
def test_a_known_secret_is_found_in_base64(before: str, after: str) -> None:
    encoded = base64.b64encode(f"{before}:{S}{after}".encode()).decode()
    redacted = masking.secrets_of({"token": S}).redact(f"Authorized by {encoded}!")
    left = len(redacted) - len("Authorized by !") - len(MASKED)
    assert left <= len(encoded) - (len(S) * 8 // 6 - 1), "only what is around the secret is left"
    assert MASKED in redacted


def test_the_parts_of_a_secret_are_known_too() -> None:
    secrets = masking.secrets_of(
        {
            "HEADERS": {"Authorization": f"Bearer {S}1", "Cookie": f"a={S}2; b={S}3"},
            "auth": "Basic " + base64.b64encode(f"bob:{S}4".encode()).decode(),
            "credentials": {"deep": [f"{S}5", 123456]},
            "secret_json": json.dumps({"x": f"{S}6"}),
            "private_key": f"first line\n{S}-of-more\nlast line",
        }
    )
    assert {f"{S}{number}" for number in range(1, 7)} | {"123456", f"{S}-of-more"} <= secrets.values
    assert secrets.is_secret(123456)
    assert masked({"echo": [123456, f"x{S}2"], f"{S}1": 1}, secrets) == {"echo": [MASKED, f"x{MASKED}"], MASKED: 1}


def test_short_values_and_common_words_are_not_looked_for() -> None:
    secrets = masking.secrets_of({"token": "abc", "secret": "true", "pin": "longer", "password": MASKED})
    assert not secrets
    assert secrets.redact("abc is true") == "abc is true"


def test_many_known_secrets_are_found() -> None:
    secrets = masking.secrets_of({f"token{number}": f"pass{number:05}" for number in range(5000)})
    text = "".join(f"pass{number:05} pass" for number in range(5000))
    assert secrets.redact(text) == f"{MASKED} pass" * 5000


def test_of_too_many_secrets_no_text_is_shown() -> None:
    """To look for each of them would take seconds for every row."""
    secrets = masking.secrets_of({"password": [f"pass-{number}" for number in range(20_000)]})
    assert len(secrets.values) == 20_000
    assert secrets.redact("pass-77 or another text") == MASKED
    assert secrets.redact("abc") == "abc"
    assert masked({"a": ["quotes pass-77"], "b": 1}, secrets | masking.secrets_of({"token": S})) == {
        "a": [MASKED],
        "b": 1,
    }
    started = time.process_time()
    masking.secrets_of({"password": [f"pass-{number}" for number in range(70_000)]})
    assert time.process_time() - started < 1.5


def test_an_abridged_value_is_masked_before_it_is_cut() -> None:
    value = "x" * 40 + f" password='{S * 5}'"
    assert S[:5] not in short(value)
    assert S[:5] not in short({"a": "x" * 30, "token": S * 5})
    assert short([1, "a"]) == "[1, 'a']"
