"""Prepares the database: ``python -m project.demonstration.prepare``. It may run again and again.

It makes the tables, the workflows ``example`` and ``sample``, and an admin user, where they are missing.
"""

from __future__ import annotations

import os
import sys
import time

import django
from django.core.management import call_command
from django.db import OperationalError, connection

WAIT_SECONDS = 60.0
"""Longest wait for the database."""
PAUSE_SECONDS = 2.0
REFUSED = "password authentication failed"
"""Part of PostgreSQL's message about a wrong password."""
PASSWORD = "DJANGO_SUPERUSER_PASSWORD"  # noqa: S105 - the name of a variable
CURE = """\
the database refuses the password in POSTGRES_PASSWORD. Its password was set when the volume `db` was made, and
another value of the variable does not change it. Do one of these, then `docker compose up` again:
  - set POSTGRES_PASSWORD to the former password
  - give the database the new one: docker compose exec db psql -U flower -c '\\password'
  - begin anew, without the flows: docker compose down --volumes"""


def main() -> int:
    """Prepare it, and say what was done; the exit code."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    django.setup()
    try:
        await_database()
    except OperationalError as error:
        _say(CURE if REFUSED in str(error) else f"the database cannot be used: {error}")
        return 1
    call_command("migrate", interactive=False, verbosity=0)
    _say("the database has its tables")
    make_workflows()
    _say("the workflows example and sample are there")
    _say(make_admin())
    return 0


def await_database() -> None:
    """Return when the database answers; raises OperationalError if it does not in time, or refuses the password."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return connection.ensure_connection()
        except OperationalError as error:
            if REFUSED in str(error) or time.monotonic() > deadline:
                raise
        _say("waiting for the database")
        time.sleep(PAUSE_SECONDS)


def make_workflows() -> None:
    """Make the workflows if they are missing; the echo page is that of the service ``web``."""
    from flowerapp.standalone import echo, samples

    samples.make_workflows(f"http://web:8000{echo.PATH}")


def make_admin() -> str:
    """Make the admin user if there is none; says how to log in."""
    from flowerapp.standalone import samples

    chosen = os.environ.get(PASSWORD, "")
    name, password = samples.make_admin(chosen)
    login = f"log in at http://localhost:{os.environ.get('FLOWER_PORT', '8000')}/admin/ as {name}"
    if password is None:
        kept = f" ({PASSWORD} changes no password that exists)" if chosen else ""
        change = f"docker compose exec web python manage.py changepassword {name}"
        return f"{login} with the password that you know{kept}; to set a new one: {change}"
    return f"{login} with the password in {PASSWORD}" if chosen else f"{login} with password {password}  (shown once)"


def _say(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
