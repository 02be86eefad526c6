"""Events by cursor: everything that webhooks carry, for those who would rather ask."""

from fastapi import APIRouter, Response

from app.http.answers import list_answer
from app.http.api import Caller, Parts
from app.http.pages import Cursor, Limit, cut, read_seq, seq_cursor
from app.storage import events
from schemas.events import EventList, event_document

routes = APIRouter(prefix="/v1/events", tags=["events"])

_KIND = "events"


@routes.get("", response_model=None, responses={200: {"model": EventList}})
async def list_events(
    api: Parts, caller: Caller, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """The reseller's events behind a cursor, the oldest first.

    Keep `next_cursor` and ask with it again: no event is ever skipped.
    """
    after = read_seq(_KIND, cursor) or 0
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        rows = await events.of_reseller(
            connection, caller.lane, caller.reseller_id, after, limit + 1
        )
    page, has_more = cut(rows, limit)
    next_cursor = seq_cursor(_KIND, page[-1].event_seq) if page else cursor
    data = [event_document(each.event_id, each.payload) for each in page]
    return list_answer(data, next_cursor, has_more=has_more)
