"""The WSGI application of the demonstration: that of ``project.wsgi`` with an echo page, open to the machine."""

from __future__ import annotations

from flowerapp.standalone.echo import EchoPage
from project.demonstration import callers
from project.wsgi import application as project_application

callers.open_to_machine()
application = EchoPage(project_application, callers.is_near)
