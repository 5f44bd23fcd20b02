"""A Celery worker inside a process that serves other things too, as standalone does: threads, with limits that kill."""
