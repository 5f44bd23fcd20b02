"""The echo page by itself."""

from __future__ import annotations

import io
from typing import Any

import pytest

from flowerapp.standalone.echo import PATH, EchoPage


@pytest.mark.parametrize(
    ("length", "status"), [("2", "200 OK"), ("", "200 OK"), ("many", "400 Bad Request"), ("-1", "400 Bad Request")]
)
def test_any_content_length_is_answered(length: str, status: str) -> None:
    answers: list[str] = []
    environ: dict[str, Any] = {
        "PATH_INFO": PATH,
        "REMOTE_ADDR": "127.0.0.1",
        "REQUEST_METHOD": "POST",
        "CONTENT_LENGTH": length,
        "wsgi.input": io.BytesIO(b"{}"),
        "wsgi.url_scheme": "http",
        "SERVER_NAME": "localhost",
    }
    assert EchoPage(lambda *_: [], {"127.0.0.1"}.__contains__)(environ, lambda status, _: answers.append(status))
    assert answers == [status]
