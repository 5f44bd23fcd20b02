"""The reference project with its static files."""

from django.contrib.staticfiles.handlers import StaticFilesHandler

from project.wsgi import application as project

application = StaticFilesHandler(project)  # type: ignore[arg-type] # any WSGI application will do
