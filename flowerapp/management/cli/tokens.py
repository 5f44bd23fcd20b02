"""``flow token``: what a program sends to the API to say who it is."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import IntegrityError, router, transaction
from django.db.models import Q

from flowerapp.core.names import unseen_problems
from flowerapp.core.permissions import EMIT_EVENT, OPERATE, REGISTER
from flowerapp.exceptions import InvalidError
from flowerapp.management.cli.display import Text
from flowerapp.management.cli.output import Output

DONE = 0


def token(out: Output, options: dict[str, Any]) -> int:
    """Print the token of a user, made if there is none; with --create the user too."""
    if not apps.is_installed("rest_framework.authtoken"):
        raise InvalidError("there are no tokens: add 'rest_framework.authtoken' to INSTALLED_APPS, and migrate")
    from rest_framework.authtoken.models import Token

    user = _user(options["user"], create=options["create"])
    made, _ = Token.objects.get_or_create(user=user)
    out.line(Text(made.key))
    return DONE


def _user(name: str, *, create: bool) -> Any:
    """The user of a name, as the project's user model spells names; raises InvalidError."""
    model: Any = get_user_model()
    try:
        return model._default_manager.get_by_natural_key(name)
    except model.DoesNotExist:
        if create:
            _check(name)
            return _create(model, name)
    raise InvalidError(
        f"there is no user {name!r}; --create makes one that may register, operate and read flows, and report events"
    )


def _check(name: str) -> None:
    """Raise InvalidError for a name that a new user may not have."""
    if problems := list(unseen_problems(name, "the name of the user")):
        raise InvalidError(problems[0])


def _create(model: Any, name: str) -> Any:
    """A user without a password who may register, operate and read flows, and report events."""
    user = model(**{model.USERNAME_FIELD: model.normalize_username(name)})
    user.set_unusable_password()
    try:
        with transaction.atomic(using=router.db_for_write(model)):
            user.save()
            if hasattr(user, "user_permissions"):
                user.user_permissions.set(_permissions())
    except IntegrityError as error:
        lacking = f"a user of this project needs more than its {model.USERNAME_FIELD} ({error})"
        raise InvalidError(f"{lacking}; make it with `manage.py createsuperuser`, then run this again") from None
    return user


def _permissions() -> Any:
    """Those to register and operate flows, to report events, and to read everything of this app."""
    verbs = [name.partition(".")[2] for name in (REGISTER, OPERATE, EMIT_EVENT)]
    wanted = Q(codename__in=verbs) | Q(codename__startswith="view_")
    return Permission.objects.filter(wanted, content_type__app_label="flowerapp")
