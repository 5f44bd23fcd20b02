"""Pure logic: imports neither the ORM nor Celery, and is tested without a database."""
