"""The Celery executor: every import of Celery and kombu, but for the standalone server's, is in here."""
