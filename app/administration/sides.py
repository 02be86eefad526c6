"""The test side of a reseller: an account of its own with play money, made when first wanted.

It has its own orders, ledger, events and endpoints, so nothing of it can mix with what is real; it
pays the prices of its live twin and is suspended with it.
"""

from dataclasses import replace

from uuid_utils.compat import uuid7

from app import postings
from app.administration.operator import Operator
from app.administration.resellers import document, find, subject
from app.errors import Conflict
from app.lifecycle.deposit import book
from app.storage import resellers
from app.storage.pool import Connection
from app.storage.resellers import Account, NewReseller

PLAY_MONEY_RUPIAH = 10_000_000
"""What a test side begins with."""
_FIRST_REFERENCE = "play money"


async def side_of(connection: Connection, by: Operator, account: Account, mode: str) -> Account:
    """The reseller's account on a side, `live` or `test`; its row, and the live one's, are locked.

    A test side that there is none of yet is made. Raises Conflict for the live side of a test side:
    what is made there is made from there.
    """
    if account.test or mode == "live":
        if account.test and mode == "live":
            raise Conflict("test-side", f"{account.name} is a test side and has test keys only.")
        return account
    if account.twin_id is not None:
        return await find(connection, str(account.twin_id))
    return await _make_test_side(connection, by, account)


async def _make_test_side(connection: Connection, by: Operator, live: Account) -> Account:
    new = NewReseller(uuid7(), await _free_name(connection, live), live.tier, 0, live.reseller_id)
    lane = await resellers.create(connection, new)
    await resellers.set_twin(connection, live.lane, live.reseller_id, new.reseller_id)
    await book(connection, new.reseller_id, postings.deposit(PLAY_MONEY_RUPIAH), _FIRST_REFERENCE)
    await resellers.lock(connection, lane, new.reseller_id)
    made = replace(await find(connection, str(new.reseller_id)), status=live.status)
    await resellers.update(connection, made)
    await by.record(
        connection,
        "reseller.test_side_made",
        subject(live),
        after={**document(made), "test_side": str(new.reseller_id)},
    )
    return made


async def _free_name(connection: Connection, live: Account) -> str:
    """A name that nobody has yet."""
    await resellers.lock_names(connection)
    name = f"{live.name} (test)"
    taken = await resellers.accounts(connection, name=name, limit=1)
    return f"{live.name} (test {live.reseller_id})" if taken else name
