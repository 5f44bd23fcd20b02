"""Archives in the admin: download that of a flow, and restore flows from uploaded ones."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from flowerapp import conf, engine
from flowerapp.admin import html
from flowerapp.admin.verbs import VerbAdmin
from flowerapp.core import archives
from flowerapp.core.permissions import ADD_DEFINITION, ADD_FLOW, may
from flowerapp.engine import archive_files
from flowerapp.engine.restore import programs_of
from flowerapp.exceptions import FlowerError
from flowerapp.models import Flow


class RestoreForm(forms.Form):
    """An archive as a file."""

    file = forms.FileField(label="Archive", help_text="What flow archive, the API or a flow's page wrote.")
    replace = forms.BooleanField(
        required=False, help_text="Replace a flow of the same id that has ended and differs from the archive."
    )

    def clean_file(self) -> dict[str, Any]:
        """The document."""
        file, most = self.cleaned_data["file"], conf.get().MAX_ARCHIVE_BYTES
        if file.size > most:
            raise forms.ValidationError(f"the file has over {most:,} bytes (FLOWER['MAX_ARCHIVE_BYTES'])")
        try:
            return archives.loads(file.read())
        except FlowerError as error:
            raise forms.ValidationError(str(error)) from None


class ArchiveAdmin(VerbAdmin):
    """Flows with their archives."""

    change_list_template = "admin/flowerapp/flow/change_list.html"

    def get_urls(self) -> list[URLPattern]:
        """The download and the form beside the other pages."""
        archive = self.admin_site.admin_view(self.archive_view)
        restore = self.admin_site.admin_view(self.restore_view)
        return [
            path("restore/", restore, name="flowerapp_flow_restore"),
            path("<path:object_id>/archive/", archive, name="flowerapp_flow_archive"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list, with the way to the form for those who may restore."""
        url = reverse("admin:flowerapp_flow_restore", current_app=self.admin_site.name)
        restore = {"restore_url": url} if may(request.user, ADD_FLOW) else {}
        return super().changelist_view(request, {**restore, **(extra_context or {})})

    def archive_url(self, target: Flow) -> str:
        """The address of the download."""
        return reverse("admin:flowerapp_flow_archive", args=[quote(target.pk)], current_app=self.admin_site.name)

    def archive_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """The archive of a flow, with secrets masked."""
        target = self.target(request, object_id)
        try:
            spool = archive_files.spooled(target.pk)
        except FlowerError as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(html.flow_url(target.pk))
        name = archive_files.file_name(target.pk)
        return FileResponse(spool, as_attachment=True, filename=name, content_type="application/json")

    def restore_view(self, request: HttpRequest) -> HttpResponse:
        """Ask for a file; restore it on POST and go to the flow."""
        if not may(request.user, ADD_FLOW):
            raise PermissionDenied
        posted = request.method == "POST"
        form = RestoreForm(request.POST if posted else None, request.FILES if posted else None)
        if form.is_valid() and (flow := self._restored(request, form)):
            return HttpResponseRedirect(html.flow_url(flow.pk))
        back = reverse("admin:flowerapp_flow_changelist", current_app=self.admin_site.name)
        page = {"title": "Restore a flow", "form": form, "back": back, "media": self.media + form.media}
        return self.render(request, "flow/restore.html", page)

    def _restored(self, request: HttpRequest, form: RestoreForm) -> Flow | None:
        document = form.cleaned_data["file"]
        named = programs_of(document)
        if named and not may(request.user, ADD_DEFINITION):
            form.add_error("file", f"it runs the program {named[0]}, which needs {ADD_DEFINITION}")
            return None
        try:
            flow = engine.restore(document, replace=form.cleaned_data["replace"], actor=request.user.get_username())
        except FlowerError as error:
            form.add_error("file", str(error))
            return None
        messages.success(request, f"Restored: flow {flow.pk}" if flow.created else f"Flow {flow.pk} is there already")
        return flow
