"""The standalone server: web server, worker and watcher in one process. ``command`` is ``manage.py standalone``."""
