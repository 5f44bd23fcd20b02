"""Whether a caller may wait for a flow."""

from __future__ import annotations

from flowerapp.exceptions import WaitInTransactionError
from flowerapp.querysets.db import connection

_REASON = (
    "no worker sees what the transaction registers or changes until it is committed. Wait after the atomic block; "
    "under ATOMIC_REQUESTS decorate the view with @transaction.non_atomic_requests; in tests use TransactionTestCase, "
    "or run the flow with flowerapp.testing"
)


def must_not_be_in_transaction(what: str) -> None:
    """Raise WaitInTransactionError in a transaction of flowerapp's database, where ``what`` never ends."""
    database = connection()
    if database.in_atomic_block or not database.get_autocommit():
        raise WaitInTransactionError(f"{what} cannot be waited for in a transaction: {_REASON}")
