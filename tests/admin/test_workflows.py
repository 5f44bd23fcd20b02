"""The editor of workflows, and registering from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from flowerapp import engine
from flowerapp.admin import WorkflowAdmin
from flowerapp.models import Flow, TaskDefinition, Workflow
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from tests.admin.conftest import Staff, Steps

pytestmark = pytest.mark.django_db

LIST = reverse("admin:flowerapp_workflow_changelist")
ADD = reverse("admin:flowerapp_workflow_add")
EMPTY = {
    "task_seq": "",
    "program": "",
    "task_priority": "0",
    "depends_on": "",
    "parameters": "",
    "exit_on_failed": "on",
}


def page_of(name: str) -> str:
    return reverse("admin:flowerapp_workflow_change", args=[name])


def form(*rows: Mapping[str, Any], existing: list[TaskDefinition] | None = None, **header: str) -> dict[str, Any]:
    """What a browser sends: the header, and rows, of which the first stand for existing ones."""
    pks = [str(row.pk) for row in existing or []]
    data: dict[str, Any] = {
        "description": "",
        "steps-TOTAL_FORMS": str(len(rows)),
        "steps-INITIAL_FORMS": str(len(pks)),
        "steps-MIN_NUM_FORMS": "0",
        "steps-MAX_NUM_FORMS": "1000",
        **header,
    }
    for number, row in enumerate(rows):
        values = {**EMPTY, **row, "id": pks[number] if number < len(pks) else ""}
        data |= {f"steps-{number}-{key}": value for key, value in values.items()}
    return data


def rows_of(name: str) -> list[tuple[Any, ...]]:
    return list(TaskDefinition.objects.filter(task_id=name).values_list("task_seq", "program", "depends_on"))


def test_make_a_workflow(admin_client: Client, runner: InlineRunner) -> None:
    data = form(
        {"task_seq": "1", "program": "Noop"},
        {"task_seq": "2", "program": "Noop", "depends_on": "none", "when": "input.n >\r\n1"},
        {"task_seq": "3", "program": "Return", "depends_on": "2, 1", "parameters": '{"value": [1]}'},
        {"task_seq": "4", "program": "FailWhile", "param1_key": "path", "param1_value": " /a b\r\nc ", "queue": "far"},
        {"task_seq": "5", "program": "Noop", "max_retries": "2", "retry_delay": "3", "time_limit": "4"},
        task_id="made",
        description="Made by hand",
    )
    answer = admin_client.post(ADD, data)
    assert answer.status_code == 302, errors(answer)
    assert TaskDefinition.objects.get(task_id="made", task_seq=2).when == "input.n >\r\n1"
    assert rows_of("made") == [
        (1, "Noop", None),
        (2, "Noop", []),
        (3, "Return", [1, 2]),
        (4, "FailWhile", None),
        (5, "Noop", None),
    ]
    plan = engine.plan_of("made")
    assert [node.parameters for node in plan.nodes] == [{}, {}, {"value": [1]}, {"path": " /a b\nc "}, {}]
    assert (plan.nodes[4].max_retries, plan.nodes[4].retry_delay, plan.nodes[4].time_limit) == (2, 3, 4)
    assert Workflow.objects.get(pk="made").description == "Made by hand"
    assert not list(plan.problems())
    page = admin_client.get(page_of("made")).text
    assert 'value="none"' in page
    assert 'value="1, 2"' in page


def errors(answer: Any) -> dict[Any, Any]:
    """Form errors of a page: by row number, or for the steps and the header as a whole."""
    if answer.status_code != 200:
        return {}
    formset = answer.context["inline_admin_formsets"][0].formset
    result: dict[Any, Any] = {number: row.errors for number, row in enumerate(formset.forms) if row.errors}
    if formset.non_form_errors():
        result["steps"] = formset.non_form_errors()
    if answer.context["adminform"].form.errors:
        result["header"] = answer.context["adminform"].form.errors
    return result


GOOD = {"task_seq": "1", "program": "Noop"}


@pytest.mark.parametrize(
    ("rows", "row", "field", "sentence"),
    [
        ([GOOD, {"task_seq": "2", "program": "Nop"}], 1, "program", "did you mean Noop"),
        ([GOOD, {"task_seq": "2", "program": ""}], 1, "program", "required"),
        ([GOOD, {"task_seq": "1", "program": "Noop"}], 1, "task_seq", "used twice"),
        ([GOOD, {"task_seq": "-1", "program": "Noop"}], 1, "task_seq", "greater than or equal to 0"),
        ([GOOD, {"task_seq": "99999999999", "program": "Noop"}], 1, "task_seq", ""),
        ([GOOD, {"task_seq": "2", "program": "Noop", "task_priority": "20"}], 1, "task_priority", "19"),
        ([GOOD, {"task_seq": "2", "program": "Noop", "depends_on": "7"}], 1, "depends_on", "depends on 7"),
        ([GOOD, {"task_seq": "2", "program": "Noop", "depends_on": "one"}], 1, "depends_on", "use numbers"),
        ([{**GOOD, "depends_on": "2"}, {"task_seq": "2", "program": "Noop"}], 0, "depends_on", "cycle"),
        ([GOOD, {"task_seq": "2", "program": "Noop", "depends_on": "2"}], 1, "depends_on", "cycle"),
        (
            [{"task_seq": "1", "program": "FailUntil", "param1_key": "start", "param1_value": "soon"}],
            0,
            "param1_value",
            "integer",
        ),
        ([{"task_seq": "1", "program": "FailUntil"}], 0, "param1_key", "needs it"),
        ([{"task_seq": "1", "program": "FailUntil", "parameters": '{"start": []}'}], 0, "parameters", "integer"),
        ([{"task_seq": "1", "program": "Noop", "param2_key": "x", "param2_value": "1"}], 0, "param2_value", "no such"),
        ([{**GOOD, "when": "input.n >"}], 0, "when", "line 1, column 10"),
        ([{**GOOD, "when": "other > 1"}], 0, "when", "there are: input"),
        ([{**GOOD, "param1_value": "lonely"}], 0, "param1_key", "give the parameter a name"),
        ([{**GOOD, "param1_key": "a", "param2_key": "a"}], 0, "param2_key", "occurs twice"),
        ([{**GOOD, "parameters": "{not json"}], 0, "parameters", "not JSON"),
        ([{**GOOD, "parameters": '{"a": Infinity}'}], 0, "parameters", "Infinity is not JSON"),
        ([{**GOOD, "parameters": "[]x"}], 0, "parameters", "not JSON"),
        ([{**GOOD, "parameters": '{"value": "\\u0000"}'}], 0, "parameters", "NUL"),
        ([{**GOOD, "queue": "a/b"}], 0, "queue", "slash"),
        ([{**GOOD, "time_limit": "0"}], 0, "time_limit", "out of range"),
        ([{**GOOD, "max_retries": "-1"}], 0, "max_retries", ""),
        ([{**GOOD, "pool": "dry"}], 0, "pool", "there is no pool"),
        ([{**GOOD, "child_program": "Nop"}], 0, "child_program", "did you mean Noop"),
        ([{**GOOD, "child_program": "FailUntil"}], 0, "child_program", "ctx.input"),
        ([{**GOOD, "max_concurrency": "0"}], 0, "max_concurrency", "greater than or equal to 1"),
        ([{**GOOD, "max_concurrency": "99999999999"}], 0, "max_concurrency", "2147483647"),
    ],
)
def test_each_error_stands_at_its_row_and_nothing_is_written(
    admin_client: Client, rows: list[dict[str, str]], row: int, field: str, sentence: str
) -> None:
    answer = admin_client.post(ADD, form(*rows, task_id="wrong"))
    problems = errors(answer)
    assert set(problems) == {row}
    assert sentence in str(problems[row][field])
    assert "Please correct the error" in answer.text
    assert not Workflow.objects.exists()
    assert not TaskDefinition.objects.exists()


@pytest.mark.parametrize(
    ("header", "field", "sentence"),
    [
        ({"max_active_flows": "0"}, "max_active_flows", "greater than or equal to 1"),
        ({"max_active_flows": "99999999999"}, "max_active_flows", "2147483647"),
        ({"entrance": "3"}, "entrance", "entrance 3 is not a step"),
        ({"entrance": "first"}, "entrance", "whole number"),
    ],
)
def test_each_error_of_the_header_stands_at_its_field(
    admin_client: Client, header: dict[str, Any], field: str, sentence: str
) -> None:
    answer = admin_client.post(ADD, form(GOOD, task_id="wrong", **header))
    problems = errors(answer)
    assert set(problems) == {"header"}
    assert sentence in str(problems["header"][field])
    assert "Please correct the error" in answer.text
    assert not Workflow.objects.exists()
    assert not TaskDefinition.objects.exists()


def test_limits_pools_and_children_are_edited(admin_client: Client) -> None:
    engine.set_pool("tape", 2)
    row = {"program": "Split", "child_program": "Sum", "max_concurrency": "3", "pool": "tape"}
    rows = [
        {**row, "task_seq": "1", "parameters": '{"items": [[1]]}', "exit_on_failed": ""},
        {"task_seq": "2", "program": "Noop"},
    ]
    header: dict[str, Any] = {"max_active_flows": "4", "unique": "on", "entrance": "2"}
    answer = admin_client.post(ADD, form(*rows, task_id="made", **header))
    assert answer.status_code == 302, errors(answer)
    plan = engine.plan_of("made")
    assert (plan.max_active_flows, plan.unique, plan.entrance) == (4, True, 2)
    first, second = plan.nodes
    assert (first.child_program, first.max_concurrency, first.exit_on_failed, first.pool) == ("Sum", 3, False, "tape")
    assert (second.child_program, second.max_concurrency, second.exit_on_failed, second.pool) == ("", None, True, "")
    page = admin_client.get(page_of("made")).text
    assert '<option value="tape">2 slots</option>' in page
    assert re.search(r'name="steps-0-pool" value="tape"', page)
    assert re.search(r'name="steps-0-child_program" value="Sum"', page)


def test_stored_pool_and_child_program_that_are_gone_are_shown(admin_client: Client, steps: Steps) -> None:
    steps("old", {"pool": "dry", "child_program": "Gone"})
    page = admin_client.get(page_of("old")).text
    assert "dry (does not exist)" in page
    assert "Gone (not registered)" in page


def test_a_higher_limit_admits_waiting_flows(admin_client: Client, runner: InlineRunner, steps: Steps) -> None:
    steps("narrow", {})
    Workflow.objects.create(task_id="narrow", max_active_flows=1)
    flows = [engine.register("narrow") for _ in range(3)]
    existing = list(TaskDefinition.objects.filter(task_id="narrow"))
    answer = admin_client.post(page_of("narrow"), form(GOOD, existing=existing, max_active_flows="2"))
    assert answer.status_code == 302, errors(answer)
    assert [engine.get_flow(flow.pk).admitted for flow in flows] == [True, True, False]


def test_a_workflow_of_a_class_is_shown_and_says_where_to_change_it(admin_client: Client, steps: Steps) -> None:
    steps("coded", {}, {"pool": "dry", "child_program": "Sum", "max_concurrency": 7})
    Workflow.objects.create(task_id="coded", source="shop.flows.Coded")
    page = admin_client.get(page_of("coded")).text
    assert "defined by <code>shop.flows.Coded</code>; change it there" in page
    assert "steps-TOTAL_FORMS" not in page
    assert 'name="_save"' not in page
    assert "Sum, 7 at once" in page
    assert admin_client.post(page_of("coded"), form(GOOD)).status_code == 403
    delete = reverse("admin:flowerapp_workflow_delete", args=["coded"])
    assert len(rows_of("coded")) == 2
    assert admin_client.post(delete, {"post": "yes"}).status_code == 302, "the class may be gone"
    assert rows_of("coded") == []


def test_a_class_that_comes_while_the_form_is_open_wins(
    admin_client: Client, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps("coded", {})
    Workflow.objects.create(task_id="coded", source="shop.flows.Coded")
    monkeypatch.setattr(WorkflowAdmin, "has_change_permission", lambda *_: True)
    existing = list(TaskDefinition.objects.filter(task_id="coded"))
    row = {"task_seq": "1", "program": "Echo"}
    answer = admin_client.post(page_of("coded"), form(row, existing=existing, description="mine"), follow=True)
    assert "change it there" in answer.text
    assert rows_of("coded") == [(1, "Noop", None)]
    assert Workflow.objects.get(pk="coded").source == "shop.flows.Coded"


@pytest.mark.parametrize("name", ["", "a/b", "..", "x" * 257, "a\tb"])
def test_bad_names(admin_client: Client, name: str) -> None:
    problems = errors(admin_client.post(ADD, form(GOOD, task_id=name)))
    assert "task_id" in problems["header"]
    assert not Workflow.objects.exists()


def test_workflow_without_steps(admin_client: Client, steps: Steps) -> None:
    answer = admin_client.post(ADD, form(task_id="empty"))
    assert "has no steps" in str(errors(answer)["steps"])
    steps("full", {})
    existing = list(TaskDefinition.objects.filter(task_id="full"))
    answer = admin_client.post(page_of("full"), form({**GOOD, "DELETE": "on"}, existing=existing))
    assert "has no steps" in str(errors(answer)["steps"])
    assert len(rows_of("full")) == 1


def test_name_that_is_taken(admin_client: Client, steps: Steps) -> None:
    steps("taken", {})
    assert "exists" in str(errors(admin_client.post(ADD, form(GOOD, task_id="taken")))["header"])


def test_workflow_written_by_sql_is_listed_and_edited(admin_client: Client, steps: Steps) -> None:
    steps("sql", {}, {"program": "Gone"})
    Workflow.objects.create(task_id="with-header", description="has one")
    page = admin_client.get(LIST).text
    assert page_of("sql") in page
    assert page_of("with-header") in page
    assert page_of("sql") not in admin_client.get(LIST, {"q": "header"}).text
    assert page_of("sql") in admin_client.get(LIST, {"q": "SQ"}).text
    opened = admin_client.get(page_of("sql")).text
    assert "Gone (not registered)" in opened
    assert not Workflow.objects.filter(pk="sql").exists()

    existing = list(TaskDefinition.objects.filter(task_id="sql"))
    broken = form(GOOD, {"task_seq": "2", "program": "Gone"}, existing=existing)
    assert "not registered" in str(errors(admin_client.post(page_of("sql"), broken))[1]["program"])
    assert not Workflow.objects.filter(pk="sql").exists()

    answer = admin_client.post(page_of("sql"), form(GOOD, {"task_seq": "2", "program": "Echo"}, existing=existing))
    assert answer.status_code == 302, errors(answer)
    assert rows_of("sql") == [(1, "Noop", None), (2, "Echo", None)]
    assert Workflow.objects.filter(pk="sql").exists()


def test_list_is_paged_and_sorted(admin_client: Client, steps: Steps) -> None:
    for number in range(105):
        steps(f"w{number:03}", {})
    first, second = admin_client.get(LIST).text, admin_client.get(LIST, {"p": "2"}).text
    assert page_of("w000") in first
    assert page_of("w104") not in first
    assert page_of("w104") in second
    assert page_of("w104") in admin_client.get(LIST, {"o": "-1"}).text
    assert admin_client.get(LIST, {"all": ""}).status_code == 200


def test_steps_change_places_and_go(admin_client: Client, steps: Steps) -> None:
    steps("swap", {"program": "Noop"}, {"program": "Echo"}, {"program": "Noop"})
    existing = list(TaskDefinition.objects.filter(task_id="swap").order_by("task_seq"))
    rows = [
        {"task_seq": "2", "program": "Noop"},
        {"task_seq": "1", "program": "Echo"},
        {"task_seq": "3", "program": "Noop", "DELETE": "on"},
        {"task_seq": "3", "program": "Return"},
    ]
    answer = admin_client.post(page_of("swap"), form(*rows, existing=existing))
    assert answer.status_code == 302, errors(answer)
    assert rows_of("swap") == [(1, "Echo", None), (2, "Noop", None), (3, "Return", None)]


def test_other_workflows_rows_are_out_of_reach(admin_client: Client, steps: Steps) -> None:
    steps("mine", {})
    steps("yours", {})
    yours = list(TaskDefinition.objects.filter(task_id="yours"))
    answer = admin_client.post(page_of("mine"), form({"task_seq": "1", "program": "Echo"}, existing=yours))
    assert answer.status_code == 200
    assert rows_of("yours") == [(1, "Noop", None)]


def test_secrets_are_masked_and_kept(admin_client: Client, steps: Steps) -> None:
    secret = {
        "program": "Return",
        "param1_key": "api_token",
        "param1_value": "abc",
        "parameters": {"value": {"password": "def"}},
    }
    steps("secret", secret)
    page = admin_client.get(page_of("secret")).text
    assert "abc" not in page
    assert "def" not in re.sub(r"def\w", "", page)
    existing = list(TaskDefinition.objects.filter(task_id="secret"))
    TaskDefinition.objects.filter(task_id="secret").update(param1_key=None, param1_value=None)
    row = {"task_seq": "1", "program": "Return", "parameters": '{"value": {"password": "••••"}}', "queue": "q"}
    assert admin_client.post(page_of("secret"), form(row, existing=existing)).status_code == 302
    stored = TaskDefinition.objects.get(task_id="secret")
    assert (stored.parameters, stored.queue) == ({"value": {"password": "def"}}, "q")


def test_programs_are_a_choice_with_their_parameters_as_help(admin_client: Client) -> None:
    page = admin_client.get(ADD).text
    assert '<option value="EchoParamTimeSleep">' in page
    assert "SLEEP_TIME_SECOND" in page
    assert "flower-programs" in page


def test_more_steps_than_a_form_can_hold_are_listed(admin_client: Client, steps: Steps, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 100
    steps("large", *[{}] * 20)
    page = admin_client.get(page_of("large")).text
    assert "20 steps are more than one form can hold" in page
    answer = admin_client.post(page_of("large"), {"description": "kept"})
    assert answer.status_code == 302
    assert len(rows_of("large")) == 20
    answer = admin_client.post(page_of("large"), {"description": "lost", "entrance": "21"})
    assert "21 is not a step" in str(answer.context["adminform"].form.errors["entrance"])
    assert admin_client.post(page_of("large"), {"description": "kept", "entrance": "20"}).status_code == 302
    assert Workflow.objects.get(pk="large").entrance == 20
    assert Workflow.objects.get(pk="large").description == "kept"


def test_reader_sees_the_steps_and_edits_nothing(staff: Staff, steps: Steps) -> None:
    steps("plain", {"program": "Return", "param1_key": "token", "param1_value": "abc"})
    client = staff("view_taskdefinition")
    page = client.get(page_of("plain"))
    assert page.status_code == 200
    assert "Return" in page.text
    assert "abc" not in page.text
    assert "steps-TOTAL_FORMS" not in page.text
    assert client.post(page_of("plain"), form(GOOD)).status_code == 403
    assert client.get(reverse("admin:flowerapp_workflow_register", args=["plain"])).status_code == 403


def test_delete_takes_the_steps_along_and_leaves_the_flows(
    admin_client: Client, runner: InlineRunner, steps: Steps
) -> None:
    steps("gone", {})
    steps("stays", {})
    flow = engine.register("gone")
    url = reverse("admin:flowerapp_workflow_delete", args=["gone"])
    assert "gone 1: Noop" in admin_client.get(url).text
    assert len(rows_of("gone")) == 1
    admin_client.post(url, {"post": "yes"})
    assert rows_of("gone") == []
    assert len(rows_of("stays")) == 1
    assert Flow.objects.filter(pk=flow.pk).exists()


def test_register(admin_client: Client, runner: InlineRunner, steps: Steps) -> None:
    steps("plain", {}, {"program": "Echo"})
    url = reverse("admin:flowerapp_workflow_register", args=["plain"])
    page = admin_client.get(url)
    assert not Flow.objects.exists()
    match = re.search(r'name="key" value="([^"]+)"', page.text)
    assert match is not None
    data = {"input": '{"day": 1}', "priority": "-5", "entrance": "2", "key": match[1]}
    answers = [admin_client.post(url, data) for _ in range(2)]
    flow = Flow.objects.get()
    assert {answer["Location"] for answer in answers} == {reverse("admin:flowerapp_flow_change", args=[flow.pk])}
    assert (flow.input, flow.task_priority, flow.registered_by) == ({"day": 1}, -5, "admin")
    runner.run()
    assert flow.tasks.get(task_seq=2).output == {"day": 1}


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"input": "{"}, "input"),
        ({"input": "NaN"}, "input"),
        ({"input": '"\\u0000"'}, "input"),
        ({"input": '"' + "x" * 1_100_000 + '"'}, "input"),
        ({"priority": "20"}, "priority"),
        ({"priority": ""}, "priority"),
        ({"entrance": "9"}, "entrance"),
    ],
)
def test_register_refuses(admin_client: Client, steps: Steps, data: dict[str, str], field: str) -> None:
    steps("plain", {})
    url = reverse("admin:flowerapp_workflow_register", args=["plain"])
    answer = admin_client.post(url, {"priority": "0", **data})
    assert answer.status_code == 200
    assert set(answer.context["form"].errors) == {field}
    assert not Flow.objects.exists()


def test_parameter_that_only_a_registration_knows(admin_client: Client, runner: InlineRunner) -> None:
    row = {"task_seq": "1", "program": "FailUntil", "required_at_register": "start"}
    answer = admin_client.post(ADD, form({**row, "required_at_register": "start, end"}, task_id="asks"))
    assert "no parameter 'end'" in errors(answer)[0]["required_at_register"][0]
    assert admin_client.post(ADD, form(row, task_id="asks")).status_code == 302
    assert TaskDefinition.objects.get().required_at_register == ["start"]
    assert 'value="start"' in admin_client.get(page_of("asks")).text
    url = reverse("admin:flowerapp_workflow_register", args=["asks"])
    assert "Step 1: start" in admin_client.get(url).text
    for typed, message in (("", "parameter start is required at register"), ("soon", "valid integer")):
        refused = admin_client.post(url, {"input": "", "priority": "0", "given-0": typed})
        assert message in str(refused.context["form"].errors["given-0"])
    assert not Flow.objects.exists()
    assert admin_client.post(url, {"input": "", "priority": "0", "given-0": "1"}).status_code == 302
    assert Flow.objects.get().tasks.get().parameters == {"start": "1"}


def test_register_of_a_unique_workflow_leads_to_the_flow_that_runs(
    admin_client: Client, runner: InlineRunner, steps: Steps
) -> None:
    steps("alone", {}, {})
    Workflow.objects.create(task_id="alone", unique=True)
    flow = engine.register("alone")
    url = reverse("admin:flowerapp_workflow_register", args=["alone"])
    assert "One flow is open at a time" in admin_client.get(url).text

    answer = admin_client.post(url, {"priority": "0"}, follow=True)
    assert answer.redirect_chain[-1][0] == reverse("admin:flowerapp_flow_change", args=[flow.pk])
    assert "already registered since" in answer.text

    runner.step()
    answer = admin_client.post(url, {"priority": "0"}, follow=True)
    assert "already running since" in answer.text
    assert Flow.objects.count() == 1

    runner.run()
    assert "Registered: flow" in admin_client.post(url, {"priority": "0"}, follow=True).text
    assert Flow.objects.count() == 2


def test_register_says_where_the_workflow_starts(admin_client: Client, runner: InlineRunner, steps: Steps) -> None:
    steps("late", {}, {}, {})
    Workflow.objects.create(task_id="late", entrance=2, max_active_flows=5)
    url = reverse("admin:flowerapp_workflow_register", args=["late"])
    page = admin_client.get(url).text
    assert "step 2, as the workflow says" in page
    assert "At most 5 are active at once" in page
    for entrance, passed_over in (("", 1), ("1", 0), ("3", 2)):
        admin_client.post(url, {"priority": "0", "entrance": entrance})
        flow = Flow.objects.order_by("-registered_ts", "-pk")[0]
        assert flow.tasks.filter(exec_status=Status.IGNORE).count() == passed_over


def test_register_of_a_broken_workflow_names_the_step(admin_client: Client, steps: Steps) -> None:
    steps("broken", {}, {"program": "Gone"})
    url = reverse("admin:flowerapp_workflow_register", args=["broken"])
    assert "step 2" in admin_client.get(url).text
    answer = admin_client.post(url, {"priority": "0"})
    assert "Gone" in str(answer.context["form"].errors)
    assert not Flow.objects.exists()
    assert admin_client.get(reverse("admin:flowerapp_workflow_register", args=["none"])).status_code == 404
