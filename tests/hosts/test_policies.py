"""The API under a REST_FRAMEWORK and SPECTACULAR_SETTINGS that change everything that they can."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.hosts.host import Host
from tests.hosts.readme import blocks

POLICIES = """
    class Refused:
        def __init__(self, *args, **kwargs):
            raise RuntimeError("a policy of the host was asked")


    def refused(*args, **kwargs):
        raise RuntimeError("a function of the host was asked")


    def marked(endpoints):
        return [(path.replace("/goods", "/marked"), *rest) for path, *rest in endpoints]


    def titled(result, **_):
        return {**result, "x-host": True}
    """
SCHEMAS = """
    from drf_spectacular.openapi import AutoSchema


    class Schema(AutoSchema):
        def get_tags(self):
            return ["of the host"]
    """
PROGRAMS = """
    from flowerapp.registry import program


    @program("Return")
    def give(VALUE=None):
        return VALUE
    """
SETTINGS = """
    INSTALLED_APPS += ["rest_framework", "drf_spectacular", "drf_spectacular_sidecar"]
    REST_FRAMEWORK = {
        f"DEFAULT_{name}": ["shop.policies.Refused"]
        for name in (
            "RENDERER_CLASSES PARSER_CLASSES AUTHENTICATION_CLASSES PERMISSION_CLASSES THROTTLE_CLASSES FILTER_BACKENDS"
        ).split()
    } | {
        f"DEFAULT_{name}_CLASS": "shop.policies.Refused" for name in ("METADATA", "VERSIONING", "CONTENT_NEGOTIATION")
    } | {
        "DEFAULT_PAGINATION_CLASS": "shop.policies.Refused",
        "DEFAULT_SCHEMA_CLASS": "shop.schemas.Schema",
        "EXCEPTION_HANDLER": "shop.policies.refused",
        "VIEW_NAME_FUNCTION": "shop.policies.refused",
        "VIEW_DESCRIPTION_FUNCTION": "shop.policies.refused",
        "UNAUTHENTICATED_USER": None,
        "UNAUTHENTICATED_TOKEN": None,
        "NON_FIELD_ERRORS_KEY": "errors",
        "FORMAT_SUFFIX_KWARG": "task_id",
        "URL_FORMAT_OVERRIDE": None,
        "DATETIME_FORMAT": "%d",
        "DATETIME_INPUT_FORMATS": ["%d"],
        "COERCE_BIGINT_TO_STRING": True,
        "LIST_SERIALIZER_ERRORS_AS_DICT": True,
        "UNICODE_JSON": False,
        "COMPACT_JSON": False,
        "PAGE_SIZE": 1,
    }
    SPECTACULAR_SETTINGS = {
        "TITLE": "shop",
        "SCHEMA_PATH_PREFIX": "/goods",
        "SCHEMA_PATH_PREFIX_INSERT": "/inserted",
        "CAMELIZE_NAMES": True,
        "SERVERS": [{"url": "https://shop.example"}],
        "SERVE_PUBLIC": False,
        "SERVE_PERMISSIONS": ["rest_framework.permissions.IsAdminUser"],
        "SWAGGER_UI_DIST": "https://cdn.example",
        "SWAGGER_UI_SETTINGS": {"host": True},
        "PREPROCESSING_HOOKS": ["shop.policies.marked"],
        "POSTPROCESSING_HOOKS": ["shop.policies.titled"],
    }
    ALLOWED_HOSTS = ["*"]
    """
URLS = """
    from rest_framework.negotiation import DefaultContentNegotiation
    from rest_framework.renderers import JSONRenderer
    from rest_framework.response import Response
    from rest_framework.views import APIView
    from drf_spectacular.utils import extend_schema


    class Goods(APIView):
        authentication_classes = permission_classes = throttle_classes = parser_classes = ()
        renderer_classes = [JSONRenderer]
        content_negotiation_class = DefaultContentNegotiation
        versioning_class = None

        @extend_schema(responses=None)
        def get(self, request):
            return Response({})


    urlpatterns += [path("goods/", Goods.as_view())]
    """
SCRIPT = """
    import io

    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from django.test import Client
    from flowerapp import engine
    from flowerapp.models import TaskDefinition

    call_command("migrate", verbosity=0)
    user = get_user_model().objects.create_superuser("ann", "", "secret")
    TaskDefinition.objects.create(task_id="etl", task_seq=1, program="Return", parameters={"VALUE": "é"})
    flows = [engine.register("etl").pk for _ in range(2)]
    client, anonymous = Client(), Client()
    client.force_login(user)

    def facts(answer):
        return [answer.status_code, answer.content.decode()]

    def post(path, body):
        return facts(client.post(f"/flows/{path}", body, content_type="application/json"))

    def theirs():
        text = io.StringIO()
        call_command("spectacular", "--format", "openapi-json", stdout=text)
        return text.getvalue()

    answer = {
        "livez": [facts(anonymous.get("/flows/livez")) for _ in range(3)],
        "readyz": anonymous.get("/flows/readyz").status_code,
        "anonymous": facts(anonymous.get("/flows/api/flows/")),
        "schema anonymous": anonymous.get("/flows/api/schema/").status_code,
        "flows": facts(client.get("/flows/api/flows/")),
        "workflow": facts(client.get("/flows/api/workflows/etl/")),
        "register": post("register/etl", "{}"),
        "bad body": post("register/etl", "[1]"),
        "bad steps": post("api/workflows/", '{"task_id": "w", "tasks": [{"task_seq": "x", "program": "Return"}, 1]}'),
        "missing": facts(client.get("/flows/api/flows/nothing/")),
        "history": facts(client.get(f"/flows/api/flows/{flows[0]}/history/")),
        "suspend": post(f"api/flows/{flows[0]}/suspend/", "{}"),
        "options": facts(client.options("/flows/api/flows/")),
        "ours": facts(client.get("/flows/api/schema/", HTTP_ACCEPT="application/vnd.oai.openapi+json")),
        "docs": facts(client.get("/flows/api/docs/")),
        "theirs": [200, theirs()],
        "ours again": facts(client.get("/flows/api/schema/", HTTP_ACCEPT="application/vnd.oai.openapi+json")),
    }
    """


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the API answers in such a host."""
    host = Host(tmp_path_factory.mktemp("policies"))
    host.write("shop/policies.py", POLICIES)
    host.write("shop/programs.py", PROGRAMS)
    host.write("shop/schemas.py", SCHEMAS)
    host.add("mysite/settings.py", SETTINGS)
    host.add("mysite/urls.py", URLS)
    host.paste(*(block for block in blocks(heading="In your own project") if block.file))
    return host.ask(SCRIPT)


def decoded(answer: list[Any]) -> Any:
    """The JSON of an answer that is 200."""
    assert answer[0] == 200, answer
    return json.loads(answer[1])


def test_health_answers_every_caller(answers: Any) -> None:
    assert answers["livez"] == [[200, '{"status":"ok"}']] * 3
    assert answers["readyz"] == 200


def test_callers_are_asked_who_they_are(answers: Any) -> None:
    assert answers["anonymous"][0] == 401
    assert answers["schema anonymous"] == 401
    assert answers["register"][0] == 200


def test_reads_are_as_documented(answers: Any) -> None:
    flows = decoded(answers["flows"])
    assert len(flows["results"]) == 2
    assert "T" in flows["results"][0]["registered_ts"]
    assert "é" in answers["workflow"][1]
    assert '": ' not in answers["workflow"][1]


def test_errors_are_as_documented(answers: Any) -> None:
    assert answers["missing"][0] == 404
    assert '"code":"unknown_flow"' in answers["missing"][1]
    assert answers["bad body"][0] == 400
    assert "errors" not in answers["bad body"][1].replace("non_field_errors", "")
    assert answers["bad steps"][0] == 400
    assert '"errors"' not in answers["bad steps"][1]


def test_verbs_work(answers: Any) -> None:
    assert answers["suspend"][0] == 200
    assert decoded(answers["history"])["results"] == []
    assert decoded(answers["options"])["name"]


def test_our_document_is_ours(answers: Any) -> None:
    ours = decoded(answers["ours"])
    assert ours["info"]["title"] == "flowerapp"
    assert {"/flows/register/{task_id}", "/flows/livez", "/flows/api/flows/{flow_id}/rerun/"} <= set(ours["paths"])
    assert not [path for path in ours["paths"] if not path.startswith("/flows/")]
    assert not {"servers", "x-host"} & set(ours)
    assert ours["paths"]["/flows/livez"]["get"]["tags"] == ["health"]
    assert answers["ours again"] == answers["ours"]


def test_the_page_needs_no_internet(answers: Any) -> None:
    assert answers["docs"][0] == 200
    assert "https://" not in answers["docs"][1]


def test_the_document_of_the_host_is_its_own(answers: Any) -> None:
    theirs = decoded(answers["theirs"])
    assert list(theirs["paths"]) == ["/inserted/marked/"]
    assert (theirs["info"]["title"], theirs["x-host"]) == ("shop", True)
