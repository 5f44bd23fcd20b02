"""Approvals: those that the caller may decide, one by itself, and a decision."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema_field
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from flowerapp.api import fields
from flowerapp.api.base import ApiView, documented
from flowerapp.api.permissions import actor
from flowerapp.api.queries import OneOf, Query
from flowerapp.core.approval_options import COMMENTS, ApprovalState
from flowerapp.core.names import LONGEST_WHY
from flowerapp.core.permissions import DECIDE, VIEW_APPROVAL, is_user
from flowerapp.engine.decisions import Decision, decide_approval
from flowerapp.exceptions import UnknownApprovalError
from flowerapp.models import Approval
from flowerapp.selectors import approvals
from flowerapp.selectors.flow_ids import possible_ids

LARGEST_ID = 2**63 - 1
APPROVAL_ID = OpenApiParameter(
    "pk", {"type": "integer", "minimum": 1, "maximum": LARGEST_ID}, OpenApiParameter.PATH, description="Its id."
)
STATES = [*(state.value for state in ApprovalState), "any"]
_NAMES = {"type": "array", "items": {"type": "string"}}


def pk_of(text: str) -> int:
    """The id of a URL; raises UnknownApprovalError."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= LARGEST_ID):
        raise UnknownApprovalError(f"there is no approval {text[:40]!r}")
    return int(text)


class ApprovalQuerySerializer(Query):
    """Which approvals a list has."""

    flow = serializers.CharField(required=False, max_length=256, help_text="Only of this flow, by id.")
    state = OneOf(choices=STATES, default=ApprovalState.OPEN.value, help_text="Only in this state.")
    mine = OneOf(
        choices=["true", "false"],
        default="true",
        help_text="Only those that are for the caller to decide; false for all that it may see.",
    )


class ChoiceSerializer(serializers.Serializer[Any]):
    """One way to decide."""

    name = serializers.CharField(help_text="What a decision names.")
    label = serializers.CharField()  # type: ignore[assignment] # a field of this name
    approved = serializers.BooleanField(help_text="Whether it counts as approved.")
    comment = serializers.ChoiceField(choices=COMMENTS, help_text="Whether it takes a comment.")
    form = serializers.BooleanField(help_text="Whether it takes the data of the form.")


class ApprovalSerializer(fields.ModelSerializer):
    """A question to people, and what was decided."""

    task_flow_id = serializers.CharField(read_only=True)
    task_id = serializers.SerializerMethodField(help_text="Name of the workflow.")
    groups = serializers.SerializerMethodField(help_text="Their members may decide.")
    users = serializers.SerializerMethodField(help_text="These may decide.")
    choices = serializers.SerializerMethodField()
    data = fields.AnyField(help_text="What the form was filled in with.")  # type: ignore[assignment] # the same
    form = fields.AnyField(help_text="JSON schema of the data of a decision; null for none.")
    may_decide = serializers.SerializerMethodField(help_text="Whether the caller may decide now.")

    class Meta:
        model = Approval
        fields = [
            *approvals.COLUMNS[:2],
            "task_id",
            *approvals.COLUMNS[2:],
            "may_decide",
        ]
        read_only_fields = fields

    def get_task_id(self, row: Approval) -> str:
        """The workflow of its flow."""
        return row.task_flow.task_id

    @extend_schema_field(_NAMES)
    def get_groups(self, row: Approval) -> list[str]:
        """Names."""
        return row.groups

    @extend_schema_field(_NAMES)
    def get_users(self, row: Approval) -> list[str]:
        """Names."""
        return row.users

    @extend_schema_field(ChoiceSerializer(many=True))
    def get_choices(self, row: Approval) -> list[Any]:
        """The choices, in the order of their buttons."""
        return list(row.choices)

    def get_may_decide(self, row: Approval) -> bool:
        """Whether it is open, and for the caller."""
        user = self.context.get("user")
        return row.is_open and is_user(user) and not approvals.refusal(row, user)


class DecideSerializer(fields.StrictSerializer):
    """A decision."""

    choice = fields.StrictTextField(bounds={"minLength": 1, "maxLength": 64}, help_text="Name of one of its choices.")
    comment = fields.StrictTextField(default="", bounds={"maxLength": LONGEST_WHY}, help_text="Kept in the history.")
    data = fields.AnyField(  # type: ignore[assignment] # the same
        default=None, help_text="An object as the form asks for, if it asks for one."
    )


@documented(tags=["approvals"])
class ApprovalListView(ApiView, ListAPIView[Any]):
    """Approvals, the newest first."""

    serializer_class = ApprovalSerializer
    queryset = Approval.objects.none()
    permission = VIEW_APPROVAL
    query = ApprovalQuerySerializer
    cursor_ordering = ("-id",)

    def get_queryset(self) -> Any:
        """Those that the query's filters leave."""
        listed = approvals.shown_approvals()
        if self.wanted["state"] != "any":
            listed = listed.filter(state=self.wanted["state"])
        if "flow" in self.wanted:
            listed = listed.filter(task_flow_id__in=possible_ids(self.wanted["flow"]))
        user = self.request.user
        if self.wanted["mine"] == "true" and is_user(user):
            return approvals.decidable_by(user, listed)
        return approvals.visible_to(user, listed)

    def get_serializer_context(self) -> dict[str, Any]:
        """With the caller."""
        return {**super().get_serializer_context(), "user": self.request.user}


class OneApproval(ApiView):
    """A view of one approval."""

    serializer_class: type[serializers.BaseSerializer[Any]] = ApprovalSerializer

    def shown(self, text: str) -> Approval:
        """The approval of a URL; raises UnknownApprovalError, also for one that the caller may not see."""
        pk = pk_of(text)
        approval: Approval | None = (
            approvals.visible_to(self.request.user, approvals.shown_approvals()).filter(pk=pk).first()
        )
        if approval is None:
            raise UnknownApprovalError(f"there is no approval {pk}")
        return approval

    def answer(self, approval: Approval) -> Response:
        """The approval as it is now."""
        return Response(ApprovalSerializer(approval, context={"user": self.request.user}).data)


@documented(tags=["approvals"], parameters=[APPROVAL_ID])
class ApprovalView(OneApproval):
    """One approval."""

    permission = VIEW_APPROVAL

    @documented(responses=ApprovalSerializer)
    def get(self, request: Request, pk: str) -> Response:
        """An approval with its choices and its form."""
        return self.answer(self.shown(pk))


@documented(tags=["approvals"], parameters=[APPROVAL_ID])
class DecideView(OneApproval):
    """Decide about an approval."""

    serializer_class = DecideSerializer
    permission = DECIDE

    @documented(request=DecideSerializer, responses=ApprovalSerializer)
    def post(self, request: Request, pk: str) -> Response:
        """Decide: the first decision counts, and a second is answered with what was decided."""
        body = self.valid(DecideSerializer)
        decision = Decision(
            choice=body["choice"],
            comment=body["comment"],
            data=body["data"],
            actor=actor(request),
            user=request.user,
        )
        return self.answer(decide_approval(self.shown(pk).pk, decision))
