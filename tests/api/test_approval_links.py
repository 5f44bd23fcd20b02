"""The page of a signed link: it decides once, without a login, and reading it decides nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.core import signing
from django.test import Client, override_settings

from flowerapp import engine
from flowerapp.engine import approval_links
from flowerapp.exceptions import FlowerError, InvalidValueError, StateConflictError
from flowerapp.models import Approval, Flow
from flowerapp.querysets import clock
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.engine.approvals import FORM, asked, asking, decider, user
from tests.engine.support import status

pytestmark = pytest.mark.django_db

BASE = "https://flows.example.org"


@pytest.fixture(autouse=True)
def links_are_on() -> Iterator[None]:
    with override_settings(FLOWER={"APPROVAL_LINKS": BASE}):
        yield
    clock.reset()


@pytest.fixture
def browser() -> Client:
    """A browser without a login, whose forms need a token of Django's unless a page is exempt."""
    return Client(enforce_csrf_checks=True)


def path(flow: Flow, **options: Any) -> str:
    """The path of a link to the second step."""
    link = engine.approval_link(flow.pk, 2, **options)
    assert link.startswith(f"{BASE}/approvals/")
    return link.removeprefix(BASE)


def press(client: Client, link: str, choice: str = "approve", **fields: str) -> Any:
    return client.post(link, {"choice": choice, **fields})


def test_the_page_shows_the_question_and_decides_nothing(runner: InlineRunner, browser: Client) -> None:
    flow = asking(runner, title="Pay <b>?", message="{input[text]}", input={"text": "line 1\nline 2"}, form=FORM)
    link = path(flow, reader="Ann")
    for _ in range(3):
        answer = browser.get(link)
        assert browser.head(link).status_code == 200
    page = answer.text
    assert answer.status_code == 200
    assert "Pay &lt;b&gt;?" in page
    assert "line 1\nline 2" in page
    assert "link:Ann" in page
    assert re.findall(r'<button type="submit" name="choice" value="(\w+)"', page) == ["approve", "reject"]
    assert '<label for="id_data-0">Amount:</label>' in page
    assert 'type="password"' in page
    assert page.index("Required.") < page.index("password")
    assert "<script" not in page
    assert "style=" not in page
    assert asked(flow).state == "open"
    assert asked(flow).tries == 0


def test_headers_keep_the_address_to_the_page(runner: InlineRunner, browser: Client) -> None:
    link = path(asking(runner))
    for answer in (browser.get(link), press(browser, link), press(browser, link), browser.get("/approvals/forged/")):
        assert answer["Cache-Control"] == "no-store, private"
        assert answer["Referrer-Policy"] == "no-referrer"
        assert answer["X-Robots-Tag"].startswith("noindex")
        assert answer["X-Frame-Options"] == "DENY"
        assert "default-src 'none'" in answer["Content-Security-Policy"]
        assert "Set-Cookie" not in answer


def test_no_log_has_the_address(runner: InlineRunner, browser: Client, caplog: pytest.LogCaptureFixture) -> None:
    flow = asking(runner)
    link = path(flow)
    for status_code, fields in ((400, {"choice": "maybe"}), (200, {"choice": "approve"}), (410, {"choice": "approve"})):
        assert browser.post(link, fields).status_code == status_code
    assert link.split("/")[2] not in caplog.text


def test_clicked_twice_it_decides_once(runner: InlineRunner, browser: Client) -> None:
    flow = asking(runner)
    link = path(flow, reader="Ann")
    first, second = press(browser, link, comment="fine"), press(browser, link, "reject")
    assert (first.status_code, second.status_code) == (200, 410)
    assert "link:Ann chose Approve at " in first.text
    assert "link:Ann chose Approve at " in second.text
    assert browser.get(link).status_code == 410
    assert (asked(flow).choice, asked(flow).comment, asked(flow).decided_by) == ("approve", "fine", "link:Ann")
    runner.run()
    assert status(flow) is Status.FINISH


def test_links_of_two_readers_decide_once(runner: InlineRunner, browser: Client) -> None:
    flow = asking(runner)
    ann, bob = path(flow, reader="Ann"), path(flow, reader="Bob")
    assert press(browser, ann, "reject").status_code == 200
    answer = press(browser, bob)
    assert (answer.status_code, "link:Ann chose Reject" in answer.text) == (410, True)


def test_a_form_is_filled_in_and_its_errors_are_shown(runner: InlineRunner, browser: Client) -> None:
    flow = asking(runner, form=FORM, comment="required")
    link = path(flow)
    answer = press(browser, link, **{"data-0": "", "data-1": "hunter2"})
    assert answer.status_code == 400
    assert "is required; fill it in" in answer.text
    assert "Approve needs a comment; say why" in answer.text
    assert "hunter2" not in answer.text
    assert browser.post(link, {}).status_code == 400
    assert press(browser, link, "maybe").status_code == 400
    assert press(browser, link, **{"data-0": "-1", "comment": "x"}).status_code == 400
    assert asked(flow).state == "open"
    assert press(browser, link, **{"data-0": "12.5", "comment": "x"}).status_code == 200
    assert asked(flow).data == {"amount": 12.5}


def test_a_rejection_takes_no_data(runner: InlineRunner, browser: Client) -> None:
    flow = asking(runner, form=FORM)
    assert press(browser, path(flow), "reject", **{"data-0": "1"}).status_code == 200
    assert (asked(flow).choice, asked(flow).data) == ("reject", None)


def test_after_the_time_out_it_decides_nothing(runner: InlineRunner, browser: Client) -> None:
    flow = asking(runner, timeout=60, default="approve")
    link = path(flow)
    clock.advance(61.5)
    assert (browser.get(link).status_code, press(browser, link, "reject").status_code) == (410, 410)
    assert asked(flow).state == "open"


def test_it_expires_after_the_days_of_the_setting(runner: InlineRunner, browser: Client) -> None:
    link = path(asking(runner))
    clock.advance(6.9 * 86_400)
    assert browser.get(link).status_code == 200
    clock.advance(0.2 * 86_400)
    answer = browser.get(link)
    assert (answer.status_code, "this link has expired" in answer.text) == (410, True)
    assert press(browser, link).status_code == 410


def test_a_link_to_another_run_decides_nothing(runner: InlineRunner, browser: Client) -> None:
    flow = asking(runner)
    link = path(flow)
    engine.rerun(flow.pk, all_tasks=True)
    runner.run()
    assert asked(flow).run == 2
    for answer in (browser.get(link), press(browser, link)):
        assert (answer.status_code, "the question was withdrawn" in answer.text) == (410, True)
    assert asked(flow).state == "open"
    assert press(browser, path(flow)).status_code == 200


def test_forged_links_are_refused_alike(runner: InlineRunner, browser: Client) -> None:
    flow, other = asking(runner), asking(runner)
    link = path(flow)
    token = link.split("/")[2]
    row = asked(flow)
    facts = signing.loads(token, salt=approval_links.SALT)

    def signed(**changed: Any) -> str:
        return f"/approvals/{signing.dumps({**facts, **changed}, salt=approval_links.SALT)}/"

    forged = [
        f"{link[:-3]}x/",
        "/approvals/x/",
        f"/approvals/{signing.dumps(facts, salt='other')}/",
        f"/approvals/{signing.dumps(facts, key='other', salt=approval_links.SALT)}/",
        f"/approvals/{signing.dumps([1], salt=approval_links.SALT)}/",
        signed(n="guessed"),
        signed(n=row.links[0]["digest"]),
        signed(a=asked(other).pk),
        signed(r=2),
        signed(a="x"),
        signed(e="soon"),
    ]
    texts = set()
    for url in forged:
        for answer in (browser.get(url), press(browser, url)):
            assert answer.status_code == 403, url
            texts.add(answer.text)
    assert len(texts) == 1
    assert (asked(flow).state, asked(other).state) == ("open", "open")
    assert browser.get(link).status_code == 200


def test_the_row_holds_a_digest_and_no_link(runner: InlineRunner) -> None:
    flow = asking(runner)
    token = path(flow, reader="Ann").split("/")[2]
    nonce = signing.loads(token, salt=approval_links.SALT)["n"]
    assert nonce not in str(list(Approval.objects.values()))
    assert asked(flow).links[0]["reader"] == "Ann"


def test_a_link_of_a_user_asks_for_the_rights_of_that_user(runner: InlineRunner, browser: Client) -> None:
    ann, eve = decider("ann"), user("eve")
    flow, own = asking(runner), asking(runner, actor="ann")
    answer = browser.get(path(flow, user="eve"))
    assert (answer.status_code, "lacks the permission" in answer.text) == (403, True)
    assert press(browser, path(flow, user="eve")).status_code == 403
    assert press(browser, path(own, user="ann")).status_code == 403
    link = path(flow, user="ann")
    ann.is_active = False
    ann.save()
    assert press(browser, link).status_code == 403
    ann.is_active = True
    ann.save()
    assert press(browser, link).status_code == 200
    assert asked(flow).decided_by == "link:ann"
    eve.delete()
    flow = asking(runner)
    link = path(flow, user="eve")
    assert press(browser, link).status_code == 403
    assert (asked(own).state, asked(flow).state) == ("open", "open")


def test_another_page_cannot_send_the_form(runner: InlineRunner, browser: Client) -> None:
    flow = asking(runner)
    link = path(flow)
    for site in ("cross-site", "same-site"):
        answer = browser.post(link, {"choice": "approve"}, headers={"Sec-Fetch-Site": site})
        assert answer.status_code == 403
    assert asked(flow).state == "open"
    assert browser.post(link, {"choice": "approve"}, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200


def test_forms_and_tries_are_bounded(runner: InlineRunner, browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = asking(runner)
    link = path(flow)
    assert press(browser, link, comment="x" * 200_000).status_code == 413
    assert press(browser, link, comment="a\0b").status_code == 400
    assert browser.put(link).status_code == 405
    monkeypatch.setattr(approval_links, "MOST_TRIES", 0)
    assert press(browser, link).status_code == 429
    assert asked(flow).state == "open"


def test_only_so_many_links_are_kept(runner: InlineRunner, browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approval_links, "MOST_LINKS", 2)
    flow = asking(runner)
    first, second, third = (path(flow) for _ in range(3))
    assert len(asked(flow).links) == 2
    assert [browser.get(link).status_code for link in (first, second, third)] == [403, 200, 200]


def test_links_that_cannot_be_made(runner: InlineRunner) -> None:
    flow = asking(runner)
    with override_settings(FLOWER={}), pytest.raises(FlowerError, match="links are off"):
        engine.approval_link(flow.pk, 2)
    with override_settings(ROOT_URLCONF="tests.api.no_urls"), pytest.raises(FlowerError, match="links have no page"):
        engine.approval_link(flow.pk, 2)
    with pytest.raises(InvalidValueError, match="U\\+202E"):
        engine.approval_link(flow.pk, 2, reader="a\u202eb")
    with pytest.raises(InvalidValueError, match="over 140 characters"):
        engine.approval_link(flow.pk, 2, reader="a" * 141)
    with pytest.raises(StateConflictError, match="asks for no decision"):
        engine.approval_link(flow.pk, 1)
    engine.decide(flow.pk, 2, "approve")
    with pytest.raises(StateConflictError, match="asks for no decision"):
        engine.approval_link(flow.pk, 2)


def test_while_links_are_off_there_is_no_page(runner: InlineRunner, browser: Client) -> None:
    flow = asking(runner)
    link = path(flow)
    with override_settings(FLOWER={}):
        assert (browser.get(link).status_code, press(browser, link).status_code) == (404, 404)
    assert asked(flow).state == "open"
