"""Receive: a dealer's callback is stored as it arrived, acknowledged, and applied.

A callback is a word where its protocol signs the status; otherwise it only makes the router ask.
Where nothing can be asked it is a word if it came by the dealer's secret path and from an address
listed for the dealer, both; else people must look. What could not be applied at once (a crash, an
act in flight) waits in the inbox and is tried again. What is refused is kept too, the newest few.
"""

import hmac
import json
from collections.abc import Sequence

import orjson
import structlog
from uuid_utils.compat import uuid7

from app.errors import DatabaseUnavailable, Forbidden, NotFound, Overloaded, Unavailable
from app.lifecycle.refuse import Cause, NotTaken, Refusals
from app.lifecycle.route import Router
from app.lifecycle.settle import Settler
from app.lifecycle.trade import DealerAccess
from app.metrics import Metrics
from app.networks import is_within
from app.references import lane_of_reference
from app.storage import attempts, callbacks, reviews
from app.storage.callbacks import Received, Waiting
from app.storage.hints import Hints, Topic
from app.storage.lanes import LANES
from app.storage.pool import DATABASE_ERRORS, Pool
from app.storage.reviews import NewReview
from app.words import Source, Word
from dealers.contract import Callback, CallbackRefused, CallbackReport, Recovery

log = structlog.get_logger()

_SWEEP_LIMIT = 100
_LEFT_ALONE_SECONDS = 1.0


class Receiver:
    """The inbox of dealers' callbacks."""

    def __init__(
        self,
        pool: Pool,
        router: Router,
        settler: Settler,
        hints: Hints,
        metrics: Metrics,
        lane_groups: Sequence[Sequence[int]],
    ) -> None:
        self._pool = pool
        self._router = router
        self._settler = settler
        self._hints = hints
        self._metrics = metrics
        self._lane_groups = lane_groups
        self._refusals = Refusals(pool, metrics)

    async def receive(
        self, dealer_id: str, token: str | None, callback: Callback, source_address: str
    ) -> tuple[str, bytes]:
        """Store a callback and apply it. Returns the acknowledgement's content type and body.

        Raises NotFound for an unknown dealer or a wrong token, Forbidden for a callback that comes
        from elsewhere, is not signed as agreed or cannot be read, Unavailable when it could not be
        stored, or while the dealer is left out of the table.
        """
        access = self._router.trade.dealers.get(dealer_id)
        if dealer_id in self._router.trade.left_out:
            # It cannot be read now, but the dealer will say it again.
            raise Unavailable(
                "unavailable",
                "Callbacks of this dealer cannot be read now.",
                retry_after_seconds=60,
            )
        if access is None:
            raise _no_such_address()
        try:
            _require_welcome(access, token, source_address)
            read, lane = _read(access, callback)
        except NotTaken as refusal:
            await self._refusals.keep(dealer_id, refusal, callback, source_address)
            raise refusal.problem from None
        received = Received(
            lane,
            dealer_id,
            uuid7(),
            callback.method,
            callback.query,
            orjson.dumps(dict(callback.headers)).decode(),
            callback.body,
            source_address,
            _is_trusted(access),
            _reading(read),
        )
        try:
            async with self._pool.acquire() as connection:
                stored = await callbacks.store(connection, received)
        except DATABASE_ERRORS as error:
            raise Unavailable(
                "unavailable", "The callback could not be stored.", retry_after_seconds=5
            ) from error
        await self._apply(access, stored, read)
        return access.dialect.acknowledge(access.account, callback)

    async def sweep(self) -> int:
        """Apply what waits in the inbox. Returns how many were tried."""
        tried = 0
        for lanes in self._lane_groups:
            async with self._pool.acquire() as connection:
                rows = await callbacks.waiting(connection, lanes, _LEFT_ALONE_SECONDS, _SWEEP_LIMIT)
            for row in rows:
                try:
                    await self._apply_again(row)
                except Exception:
                    # One callback's surprise must not hold up the others.
                    log.exception("callback.failed", dealer_id=row.dealer_id)
            tried += len(rows)
        return tried

    async def _apply_again(self, row: Waiting) -> None:
        access = self._router.trade.dealers.get(row.dealer_id)
        if access is None:
            await self._conclude(row, "unmatched")
            return
        callback = Callback(row.method, row.query, json.loads(row.headers), row.body)
        try:
            read, _ = _read(access, callback)
        except NotTaken:
            # It was read when it came: the dealer's settings have changed since.
            await self._conclude(row, "unmatched")
            return
        await self._apply(access, row, read)

    async def _apply(self, access: DealerAccess, row: Waiting, read: CallbackReport) -> None:
        """Settle the word, or ask. Whatever fails leaves the callback waiting."""
        try:
            verdict = await self._act_on(access, row, read)
            if verdict is not None:
                await self._conclude(row, verdict)
                self._metrics.called_back(access.row.dealer_id, verdict)
        except (*DATABASE_ERRORS, DatabaseUnavailable, Overloaded) as error:
            log.warning("callback.waits", dealer_id=row.dealer_id, reason=type(error).__name__)

    async def _act_on(self, access: DealerAccess, row: Waiting, read: CallbackReport) -> str | None:
        """The callback's verdict, or None while it must wait."""
        dealer_id, lane = access.row.dealer_id, row.lane
        async with self._pool.acquire() as connection:
            found = await attempts.find_reference(connection, lane, dealer_id, read.dealer_ref)
        if found is None:
            log.warning("callback.unmatched", dealer_id=dealer_id, dealer_ref=read.dealer_ref)
            return "unmatched"
        log.info(
            "callback.read",
            order_id=found.order_id,
            attempt_no=found.attempt_no,
            dealer_id=dealer_id,
            outcome=read.report.outcome,
            verified=read.verified,
            trusted=row.trusted,
        )
        if _is_word(access, row, read):
            word = Word(found.attempt_no, Source.CALLBACK, read.report)
            await self._settler.settle(lane, found.order_id, word)
            return "applied"
        return await self._ask(access, lane, read.dealer_ref, found)

    async def _ask(
        self,
        access: DealerAccess,
        lane: int,
        dealer_ref: str,
        found: attempts.Referred,
    ) -> str | None:
        """An unsigned callback only makes us ask, where asking cannot buy."""
        recovery = access.capabilities.recovery
        may_ask = recovery == Recovery.STATUS_CALL or (
            recovery == Recovery.SAME_REF_IS_STATUS and found.is_open
        )
        async with self._pool.acquire() as connection:
            if not may_ask:
                review = NewReview(lane, found.order_id, found.attempt_no, "unsigned-callback")
                await reviews.open_reviews(connection, [review])
                return "review"
            asked = await attempts.ask_now(
                connection,
                lane,
                access.row.dealer_id,
                dealer_ref,
                access.capabilities.min_check_interval_seconds,
            )
        if asked:
            self._hints.tell([Topic.CHECK])
        return "check" if asked else None

    async def _conclude(self, row: Waiting, verdict: str) -> None:
        async with self._pool.acquire() as connection:
            await callbacks.conclude(connection, row, verdict)


def _is_word(access: DealerAccess, row: Waiting, read: CallbackReport) -> bool:
    """Whether it settles by itself. Where the dealer can be asked, only a signed one does."""
    capabilities = access.capabilities
    if read.verified and capabilities.callback_is_word:
        return True
    return row.trusted and capabilities.recovery == Recovery.NONE


def _is_trusted(access: DealerAccess) -> bool:
    """Whether what this dealer's door lets in comes by a secret path and from a listed address."""
    return bool(access.row.callback_token) and bool(access.callback_from)


def _require_welcome(access: DealerAccess, token: str | None, source_address: str) -> None:
    """Raise `NotTaken` for a wrong path, or an address that is not the dealer's."""
    if not _token_matches(access.row.callback_token, token):
        detail = "the path's token is missing" if token is None else "the path's token is wrong"
        raise NotTaken(Cause.PATH, detail, _no_such_address())
    if access.callback_from and not is_within(source_address, access.callback_from):
        told = Forbidden("callback-refused", "Callbacks of this dealer come from elsewhere.")
        raise NotTaken(Cause.ADDRESS, "its address is not listed for the dealer", told)


def _no_such_address() -> NotFound:
    return NotFound("not-found", "There is no such callback address.")


def _token_matches(expected: str | None, given: str | None) -> bool:
    return hmac.compare_digest((expected or "").encode(), (given or "").encode())


def _read(access: DealerAccess, callback: Callback) -> tuple[CallbackReport, int]:
    """The callback as the dealer's protocol understands it, and its lane. Raises `NotTaken`."""
    try:
        read = access.dialect.read_callback(access.account, callback)
    except CallbackRefused as error:
        told = Forbidden("callback-refused", "The callback is not signed as agreed.")
        raise NotTaken(Cause.UNREADABLE, str(error), told) from error
    lane = lane_of_reference(read.dealer_ref, LANES)
    if lane is None:
        told = Forbidden("callback-refused", "The callback names a reference that is not ours.")
        raise NotTaken(Cause.REFERENCE, f"foreign reference {read.dealer_ref}", told)
    return read, lane


def _reading(read: CallbackReport) -> str:
    report = read.report
    return orjson.dumps(
        {
            "dealer_ref": read.dealer_ref,
            "verified": read.verified,
            "outcome": report.outcome,
            "code": report.code,
            "message": report.message,
            "serial_number": report.serial_number,
            "reversal": report.reversal,
        }
    ).decode()
