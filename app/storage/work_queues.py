"""The two queues of a table whose rows are claimed for a time: what waits, and what is leased.

A row that waits is due at its `due_at`. One that is claimed keeps its claim until then: it is due
again where whoever claimed it is gone. Each has an index of its own, since nearly every claim ends
long before its lease does, and its entry stays where leases end until PostgreSQL clears it away.
"""

from enum import StrEnum


class WorkQueue(StrEnum):
    """A queue, as the condition of its index."""

    WAITING = "claim_id is null"
    LEASED = "claim_id is not null"


def rows_of_both(table: str) -> str:
    """The rows of a table's two queues, to be read from: each by its own index."""
    return f"""(
        select * from {table} where {WorkQueue.WAITING} and due_at is not null
        union all
        select * from {table} where {WorkQueue.LEASED}
    )"""  # noqa: S608 - a table of our own
