"""What is read is written back through each door: the database stays as it is, but for what the user changes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from flowerapp import engine
from flowerapp.core.masking import MASKED, masked
from flowerapp.exceptions import InvalidPlanError, InvalidValueError
from flowerapp.models import Flow, HistoryEntry, Task, TaskDefinition
from flowerapp.models.definitions import PAIRS
from flowerapp.querysets.db import connection
from flowerapp.registry import Context
from flowerapp.testing import InlineRunner, inline
from flowerapp.workflows import Workflow, classes, rows, task
from tests.cli.support import flow as command

pytestmark = pytest.mark.django_db(transaction=True)

Values = dict[str, Any]

STORED: Values = {
    "URL": "https://ann:p4ssw0rd@example.com/hook?token=t0ken&n=1",
    "HEADERS": {"Authorization": "Bearer s3cret", "X-Trace": "1"},
    "BODY": {
        "accounts": [{"name": "a", "password": "A"}, {"name": "b", "password": "B"}],
        "token": {"any": ["value", 1]},
        "text": '{"password": "in text",  "n": 1}',
        "n": 1,
    },
}
SHOWN = masked(STORED)
SECRETS = ("s3cret", '"A"', '"B"')


@pytest.fixture(autouse=True)
def runner() -> Iterator[InlineRunner]:
    """What is sent waits."""
    step = {"task_seq": 1, "program": "HTTPPostRequest", "parameters": STORED}
    rows.store({"task_id": "pays", "tasks": [step]})
    with inline() as runner:
        yield runner


@pytest.fixture
def root(runner: InlineRunner) -> User:
    return User.objects.create_superuser("root")


@pytest.fixture
def api(root: User) -> APIClient:
    client = APIClient()
    client.force_authenticate(root)
    return client


@pytest.fixture
def admin(root: User) -> Client:
    client = Client()
    client.force_login(root)
    return client


def row_of(table: str) -> dict[str, Any]:
    """The only row as the database has it, but for the surrogate key."""
    with connection().cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table}")  # noqa: S608 - a name of ours
        names = [column[0] for column in cursor.description]
        (row,) = cursor.fetchall()
    return {name: value for name, value in zip(names, row, strict=True) if name != "id"}


def changed(parameters: Values) -> Values:
    """The same with one other value deep in it."""
    result = copy.deepcopy(parameters)
    result["BODY"]["accounts"][1]["name"] = "z"
    return result


# The definition

Define = Callable[[Callable[[Values], Values]], None]


@pytest.fixture(params=["api", "python", "admin"])
def define(request: pytest.FixtureRequest) -> Define:
    """Read the workflow, edit the parameters of its step, and write it."""
    door: Any = request.getfixturevalue(request.param) if request.param != "python" else None

    def by_api(edit: Callable[[Values], Values]) -> None:
        document = door.get("/api/workflows/pays/").json()
        document["tasks"][0]["parameters"] = edit(document["tasks"][0]["parameters"])
        answer = door.put("/api/workflows/pays/", document, format="json")
        assert answer.status_code == 200, answer.content

    def by_python(edit: Callable[[Values], Values]) -> None:
        document = rows.document("pays")
        document["tasks"][0]["parameters"] = edit(masked(document["tasks"][0]["parameters"]))
        rows.store(document)

    def by_admin(edit: Callable[[Values], Values]) -> None:
        answer = door.post(PAGE, form_of(door, edit))
        assert answer.status_code == 302, answer.text

    return {"api": by_api, "python": by_python, "admin": by_admin}[request.param]


PAGE = reverse("admin:flowerapp_workflow_change", args=["pays"])


def form_of(admin: Client, edit: Callable[[Values], Values]) -> dict[str, str]:
    """What a browser sends of the page, with the parameters edited in the boxes where they stand."""
    page = admin.get(PAGE)
    formset = page.context["inline_admin_formsets"][0].formset
    fields = [field for form in [formset.management_form, *formset.forms] for field in form]
    fields += list(page.context["adminform"].form)
    data = {field.html_name: text_of(field.value()) for field in fields if field.value() is not False}
    names = {number: data[f"steps-0-param{number}_key"] for number in PAIRS}
    values = {name: data[f"steps-0-param{number}_value"] for number, name in names.items() if name}
    new = edit(values | json.loads(data["steps-0-parameters"] or "{}"))
    data |= {f"steps-0-param{number}_value": new.pop(name) for number, name in names.items() if name}
    return data | {"steps-0-parameters": json.dumps(new)}


def text_of(value: Any) -> str:
    if value is None:
        return ""
    return "on" if value is True else value if isinstance(value, str) else str(value)


def test_definition_that_is_written_back_is_as_it_was(define: Define) -> None:
    before = row_of("ms_task_definition")
    define(lambda parameters: parameters)
    assert row_of("ms_task_definition") == before


def test_one_value_of_a_definition_changes_alone(define: Define) -> None:
    define(changed)
    assert TaskDefinition.objects.get().all_parameters == changed(STORED)
    define(lambda parameters: parameters | {"TIMEOUT": 5})
    assert TaskDefinition.objects.get().all_parameters == changed(STORED) | {"TIMEOUT": 5}


def test_definition_does_not_take_a_mask_for_nothing(api: APIClient, admin: Client) -> None:
    before = row_of("ms_task_definition")
    document = api.get("/api/workflows/pays/").json()
    document["tasks"][0]["parameters"]["TIMEOUT"] = MASKED
    answer = api.put("/api/workflows/pays/", document, format="json")
    assert answer.status_code == 400
    assert MASKED in answer.json()["tasks"][0]["parameters"]["TIMEOUT"][-1]
    data = form_of(admin, lambda parameters: parameters)
    page = admin.post(PAGE, data | {"steps-0-param2_key": "TIMEOUT", "steps-0-param2_value": MASKED})
    assert f"parameter TIMEOUT holds {MASKED}" in page.text
    renamed = admin.post(PAGE, data | {"steps-0-param1_key": "BODY", "steps-0-param1_value": MASKED})
    assert renamed.status_code == 200
    assert row_of("ms_task_definition") == before
    new = {**document, "task_id": "copy"}
    assert api.post("/api/workflows/", new, format="json").status_code == 400
    assert not TaskDefinition.objects.filter(task_id="copy").exists()


def test_pair_that_json_of_the_same_name_hides_keeps_its_own_value(admin: Client) -> None:
    odd = {"param1_key": "token", "param1_value": "in the pair", "parameters": {"token": "in JSON"}}
    empty = {f"param{number}_{part}": None for number in (2, 3, 4, 5) for part in ("key", "value")}
    TaskDefinition.objects.update(program="tests.probe.tasks.untyped", **empty, **odd)
    before = row_of("ms_task_definition")
    data = form_of(admin, lambda parameters: {"token": MASKED})
    more = {"steps-0-parameters": json.dumps({"token": MASKED}), "steps-0-queue": "q"}
    assert admin.post(PAGE, data | more).status_code == 302
    assert row_of("ms_task_definition") == before | {"queue": "q"}


def test_steps_that_change_numbers_in_the_admin_keep_their_own(admin: Client) -> None:
    second = {"task_seq": 2, "program": "HTTPPostRequest", "parameters": STORED | {"HEADERS": {"token": "other"}}}
    rows.store({"task_id": "pays", "tasks": [{**rows.document("pays")["tasks"][0], "depends_on": []}, second]})
    page = admin.get(PAGE)
    formset = page.context["inline_admin_formsets"][0].formset
    fields = [field for form in [formset.management_form, *formset.forms] for field in form]
    data = {field.html_name: text_of(field.value()) for field in fields if field.value() is not False}
    data |= {"description": "", "steps-0-task_seq": "2", "steps-1-task_seq": "1", "steps-1-depends_on": "none"}
    assert admin.post(PAGE, data).status_code == 302
    headers = {row.task_seq: row.all_parameters["HEADERS"] for row in TaskDefinition.objects.all()}
    assert headers == {2: STORED["HEADERS"], 1: {"token": "other"}}


def test_pair_that_names_another_hides_it(admin: Client) -> None:
    pairs = {"param1_key": "key", "param1_value": "api_token", "param2_key": "value", "param2_value": "abc-in-pair"}
    empty = {f"param{number}_{part}": None for number in (3, 4, 5) for part in ("key", "value")}
    TaskDefinition.objects.update(program="tests.probe.tasks.untyped", **pairs, **empty, parameters={})
    before = row_of("ms_task_definition")
    assert "abc-in-pair" not in admin.get(PAGE).text
    data = form_of(admin, lambda parameters: parameters)
    assert admin.post(PAGE, data | {"steps-0-queue": "q"}).status_code == 302
    assert row_of("ms_task_definition") == before | {"queue": "q"}
    renamed = admin.post(PAGE, data | {"steps-0-param1_value": "note"})
    assert (renamed.status_code, "abc-in-pair" in renamed.text) == (200, False)
    assert row_of("ms_task_definition") == before | {"queue": "q"}


# A task

Change = Callable[[Flow, Callable[[Values], Values]], None]
DOORS = ["patch", "rerun", "form", "set", "rerun_set", "python", "rerun_python"]


@pytest.fixture(params=DOORS)
def change(request: pytest.FixtureRequest, api: APIClient, admin: Client) -> Change:
    """Read the only task of a flow, edit its parameters, and write them."""

    def by_patch(flow: Flow, edit: Callable[[Values], Values]) -> None:
        url = f"/api/flows/{flow.pk}/tasks/1/"
        answer = api.patch(url, {"parameters": edit(api.get(url).json()["parameters"])}, format="json")
        assert answer.status_code == 200, answer.content

    def by_rerun(flow: Flow, edit: Callable[[Values], Values]) -> None:
        shown = api.get(f"/api/flows/{flow.pk}/tasks/1/").json()["parameters"]
        body = {"all": True, "parameters": {"1": edit(shown)}}
        assert api.post(f"/api/flows/{flow.pk}/rerun/", body, format="json").status_code == 200

    def by_form(flow: Flow, edit: Callable[[Values], Values]) -> None:
        url = reverse("admin:flowerapp_task_verb", args=[flow.tasks.get().pk, "change"])
        form = admin.get(url).context["form"]
        data = {"priority": "0", "queue": "", "parameters": json.dumps(edit(json.loads(form["parameters"].value())))}
        answer = admin.post(url, {**data, "confirmed": "1"})
        assert answer.status_code == 302, answer.text

    def by_set(flow: Flow, edit: Callable[[Values], Values]) -> None:
        shown = command("show", flow.pk, "--json").json["tasks"][0]["parameters"]
        pairs = [f"{name}:={json.dumps(value)}" for name, value in edit(shown).items()]
        assert command("set", flow.pk, 1, *pairs).code == 0

    def by_rerun_set(flow: Flow, edit: Callable[[Values], Values]) -> None:
        shown = command("show", flow.pk, "--json").json["tasks"][0]["parameters"]
        pairs = [f"--set=1.{name}:={json.dumps(value)}" for name, value in edit(shown).items()]
        assert command("rerun", flow.pk, "--all", *pairs).code == 0

    def by_python(flow: Flow, edit: Callable[[Values], Values]) -> None:
        engine.change(flow.pk, 1, parameters=edit(masked(flow.tasks.get().parameters)))

    def by_rerun_python(flow: Flow, edit: Callable[[Values], Values]) -> None:
        engine.rerun(flow.pk, all_tasks=True, parameters={1: edit(masked(flow.tasks.get().parameters))})

    doors = [by_patch, by_rerun, by_form, by_set, by_rerun_set, by_python, by_rerun_python]
    return dict(zip(DOORS, doors, strict=True))[request.param]


def test_task_that_is_written_back_is_as_it_was(change: Change) -> None:
    flow = engine.register("pays")
    before = row_of("kr_task_stat")
    change(flow, lambda parameters: parameters)
    assert row_of("kr_task_stat") == before
    assert not [secret for secret in SECRETS if secret in str(HistoryEntry.objects.values_list("details", flat=True))]


def test_one_value_of_a_task_changes_alone(change: Change) -> None:
    flow = engine.register("pays")
    change(flow, changed)
    assert flow.tasks.get().parameters == changed(STORED)
    change(flow, lambda parameters: parameters | {"TIMEOUT": 5})
    assert flow.tasks.get().parameters == changed(STORED) | {"TIMEOUT": 5}


def test_task_keeps_what_its_registration_gave(change: Change) -> None:
    """Not what the definition has."""
    flow = engine.register("pays", parameters={1: {"HEADERS": {"Authorization": "of this flow"}}})
    change(flow, lambda parameters: parameters | {"TIMEOUT": 5})
    assert flow.tasks.get().parameters["HEADERS"] == {"Authorization": "of this flow"}


def test_task_does_not_take_a_mask_for_nothing(api: APIClient, admin: Client) -> None:
    flow = engine.register("pays")
    before = row_of("kr_task_stat")
    wrong: Values = {"HEADERS": {"X-Trace": MASKED + "!", "Authorization": MASKED}}
    url = f"/api/flows/{flow.pk}/"
    answer = api.patch(f"{url}tasks/1/", {"parameters": wrong}, format="json")
    assert answer.status_code == 400
    assert f"parameter HEADERS holds {MASKED}" in answer.json()["parameters"]["HEADERS"][0]
    rerun = api.post(f"{url}rerun/", {"all": True, "parameters": {"1": {"TIMEOUT": MASKED}}}, format="json")
    assert rerun.status_code == 400
    form = reverse("admin:flowerapp_task_verb", args=[flow.tasks.get().pk, "change"])
    text = json.dumps(SHOWN | wrong)
    page = admin.post(form, {"priority": "0", "queue": "", "parameters": text, "confirmed": "1"})
    assert f"parameter HEADERS holds {MASKED}" in page.text
    for arguments in (
        ["set", flow.pk, 1, f"TIMEOUT={MASKED}"],
        ["rerun", flow.pk, "--all", f"--set=1.TIMEOUT={MASKED}"],
    ):
        refused = command(*arguments)
        assert refused.code == 2
        assert f"parameter TIMEOUT holds {MASKED}" in refused.err
    assert row_of("kr_task_stat") == before


def test_rerun_with_refresh_keeps_what_the_definition_has(api: APIClient) -> None:
    flow = engine.register("pays", parameters={1: {"HEADERS": {"Authorization": "of this flow"}}})
    body = {"all": True, "refresh": True, "parameters": {"1": SHOWN | {"TIMEOUT": 5}}}
    assert api.post(f"/api/flows/{flow.pk}/rerun/", body, format="json").status_code == 200
    assert flow.tasks.get().parameters == STORED | {"TIMEOUT": 5}


# A registration

Register = Callable[[Values], None]


@pytest.fixture(params=["api", "by_body", "set", "python", "class"])
def register(request: pytest.FixtureRequest, api: APIClient, monkeypatch: pytest.MonkeyPatch) -> Register:
    """Register a flow with these parameters over those of the definition."""

    def by_api(parameters: Values) -> None:
        assert api.post("/register/pays", {"parameters": {"1": parameters}}, format="json").status_code == 200

    def by_body(parameters: Values) -> None:
        body = {"taskId": "pays", "parameters": {"1": parameters}}
        assert api.post("/register", body, format="json").status_code == 200

    def by_set(parameters: Values) -> None:
        pairs = [f"--set=1.{name}:={json.dumps(value)}" for name, value in parameters.items()]
        assert command("run", "pays", *pairs).code == 0

    def by_python(parameters: Values) -> None:
        engine.register("pays", parameters={1: parameters})

    def by_class(parameters: Values) -> None:
        monkeypatch.setattr(classes, "_classes", {})
        TaskDefinition.objects.all().delete()

        class Pays(Workflow):
            """Pay."""

            task_id = "by-class"

            @task(parameters=STORED)
            def pay(self, ctx: Context, **more: Any) -> None:
                """Pay."""

        Pays.register(parameters={"pay": parameters})

    doors = {"api": by_api, "by_body": by_body, "set": by_set, "python": by_python, "class": by_class}
    return doors[request.param]


def test_registration_with_what_shows_is_one_without(register: Register) -> None:
    register(SHOWN)
    assert Task.objects.get().parameters == STORED


def test_one_value_of_a_registration_differs_alone(register: Register) -> None:
    register(changed(SHOWN) | {"TIMEOUT": 5})
    assert Task.objects.get().parameters == changed(STORED) | {"TIMEOUT": 5}


def test_registration_does_not_take_a_mask_for_nothing(api: APIClient) -> None:
    answer = api.post("/register/pays", {"parameters": {"1": {"TIMEOUT": MASKED}}}, format="json")
    assert answer.status_code == 400
    assert f"step 1: parameter TIMEOUT holds {MASKED}" in answer.json()["description"]
    with pytest.raises(InvalidPlanError, match="parameter TIMEOUT holds"):
        engine.register("pays", parameters={1: {"TIMEOUT": MASKED}})
    refused = command("run", "pays", f"--set=1.TIMEOUT={MASKED}")
    assert (refused.code, f"parameter TIMEOUT holds {MASKED}" in refused.err) == (2, True)
    rows.store({"task_id": "asks", "tasks": [_asking()]})
    assert "parameter URL holds" in command("run", "asks", f"--set=1.URL={MASKED}").err
    assert not Flow.objects.exists()


def _asking() -> dict[str, Any]:
    return {"task_seq": 1, "program": "HTTPPostRequest", "required_at_register": ["URL"]}


def test_equal_requests_with_masks_are_one(api: APIClient) -> None:
    headers: dict[str, Any] = {"HTTP_IDEMPOTENCY_KEY": "k"}
    body = {"parameters": {"1": SHOWN}}
    first, second = (api.post("/register/pays", body, format="json", **headers).json() for _ in range(2))
    assert first == second
    other = {"parameters": {"1": SHOWN | {"TIMEOUT": 5}}}
    assert api.post("/register/pays", other, format="json", **headers).status_code == 409


@pytest.mark.parametrize("value", [MASKED, {"token": MASKED}, {"a": [f"https://ann:{MASKED}@host/"]}])
def test_input_takes_no_mask(api: APIClient, admin: Client, value: Any) -> None:
    sentence = f"input holds {MASKED}"
    answer = api.post("/register/pays", {"input": value}, format="json")
    assert (answer.status_code, sentence in answer.json()["description"]) == (400, True)
    refused = command("run", "pays", "--input", json.dumps(value))
    assert (refused.code, sentence in refused.err) == (2, True)
    page = admin.post(
        reverse("admin:flowerapp_workflow_register", args=["pays"]), {"input": json.dumps(value), "priority": "0"}
    )
    assert (page.status_code, sentence in page.text) == (200, True)
    with pytest.raises(InvalidValueError, match=sentence):
        engine.register("pays", input=value)
    assert not Flow.objects.exists()


def test_outcome_of_a_parked_task_takes_no_mask() -> None:
    flow = engine.register("pays")
    with pytest.raises(InvalidValueError, match=f"output holds {MASKED}"):
        engine.wake(flow.pk, 1, output={"token": MASKED})
