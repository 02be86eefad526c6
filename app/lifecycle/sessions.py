"""Sessions: the tokens of dealers that want a log-in first, one in force a dealer and process.

A log-in never buys, so a failed one proves that nothing was sent. It is made once for all who wait,
in a task of its own, so that nobody's cancellation ends it for the others. A dealer whose log-in
failed is left alone for a while: whoever comes then is refused at once instead of waiting.

Tokens live in memory only; they are neither stored nor logged.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from app.lifecycle.trade import DealerAccess
from dealers.contract import Account, Answer, Request, Session, UnreadableAnswer

RENEWED_AFTER = 0.9
"""The part of a token's lifetime after which the next one is asked for."""
_FIRST_REST_SECONDS = 2.0
_LONGEST_REST_SECONDS = 60.0


class NoSession(Exception):
    """No token could be had, and nothing else was sent. The message names the reason."""


Send = Callable[[DealerAccess, Request], Awaitable[Answer]]
"""Sends one log-in. Raises `NoSession` where no answer came."""


@dataclass(slots=True)
class _Desk:
    """What is known of one account's session. Times are the clock's seconds."""

    account: Account
    """As it is configured: another one has another session."""
    session: Session | None = None
    asked_at: float = 0.0
    """When the session in force was asked for: its lifetime is counted from then."""
    taken: bool = False
    """Whether the dealer has answered to the token in force without refusing it."""
    log_in: "asyncio.Task[None] | None" = None
    failures: int = 0
    """Log-ins in a row that gave no token that the dealer takes."""
    rests_until: float = 0.0
    reason: str = ""
    """Why the last one failed."""

    def live(self, now: float, part: float = 1.0) -> Session | None:
        """The session in force, while this part of its lifetime lasts."""
        if self.session is None:
            return None
        return self.session if now < self.asked_at + self.session.lifetime_seconds * part else None

    def begin(self, session: Session, asked_at: float) -> None:
        """Use a new session from now on."""
        self.session, self.asked_at, self.taken = session, asked_at, False

    def fail(self, reason: str, now: float) -> None:
        """Rest for twice as long as after the failure before."""
        rest_seconds = min(_FIRST_REST_SECONDS * 2**self.failures, _LONGEST_REST_SECONDS)
        self.failures += 1
        self.rests_until, self.reason = now + rest_seconds, reason


class Sessions:
    """One process' sessions. `clock` counts seconds, also while the machine sleeps."""

    def __init__(self, send: Send, clock: Callable[[], float]) -> None:
        self._send = send
        self._clock = clock
        self._desks: dict[str, _Desk] = {}
        self._log_ins: set[asyncio.Task[None]] = set()

    async def account(self, access: DealerAccess, until: float) -> Account:
        """Our account with the token in force, waiting for a log-in until `until` at most.

        The account as it is where the protocol knows no log-in. Raises `NoSession`.
        """
        if not access.dialect.logs_in:
            return access.account
        desk, now = self._desk(access), self._clock()
        session = desk.live(now)
        if session is None:
            session = await self._wait(access, desk, until)
        elif desk.live(now, RENEWED_AFTER) is None and now >= desk.rests_until:
            # The old token is good for a while: nobody waits for the next one.
            self._begin(access, desk)
        return replace(access.account, session=session.token)

    def heard(self, access: DealerAccess, used: Account, answer: Answer) -> None:
        """Give up the token that was used where the dealer's answer says that it is over.

        Whatever is said of a token that is not in force any more is old news. A token that the
        dealer refuses at its first use counts as a failed log-in: else every request of a wrongly
        configured account would log in anew.
        """
        if not access.dialect.logs_in:
            return
        desk = self._desk(access)
        if desk.session is None or desk.session.token != used.session:
            return
        ended = access.dialect.session_ended(answer)
        if ended and not desk.taken:
            desk.fail("the dealer refuses the token that it gave", self._clock())
        if ended:
            desk.session = None
        elif not desk.taken:
            desk.taken, desk.failures = True, 0

    async def close(self) -> None:
        """Give up the log-ins under way."""
        log_ins = list(self._log_ins)
        for task in log_ins:
            task.cancel()
        await asyncio.gather(*log_ins, return_exceptions=True)

    def _desk(self, access: DealerAccess) -> _Desk:
        dealer_id = access.row.dealer_id
        desk = self._desks.get(dealer_id)
        if desk is None or desk.account != access.account:
            desk = self._desks[dealer_id] = _Desk(access.account)
        return desk

    async def _wait(self, access: DealerAccess, desk: _Desk, until: float) -> Session:
        now = self._clock()
        if desk.log_in is None and now < desk.rests_until:
            raise NoSession(desk.reason)
        log_in = self._begin(access, desk)
        done, _ = await asyncio.wait([log_in], timeout=max(0.0, until - now))
        if not done:
            raise NoSession("the log-in takes too long")
        session = desk.live(self._clock())
        if session is None:
            raise NoSession(desk.reason or "the token was over when it came")
        return session

    def _begin(self, access: DealerAccess, desk: _Desk) -> "asyncio.Task[None]":
        """The log-in under way, begun where there is none."""
        if desk.log_in is None:
            # Of its own, for it outlives whoever asked first.
            task = asyncio.create_task(self._log_in(access, desk))  # noqa: TID251 - see above
            self._log_ins.add(task)
            task.add_done_callback(self._log_ins.discard)
            desk.log_in = task
        return desk.log_in

    async def _log_in(self, access: DealerAccess, desk: _Desk) -> None:
        asked_at = self._clock()
        try:
            desk.begin(await log_in(access, self._send), asked_at)
        except NoSession as refusal:
            desk.fail(str(refusal), self._clock())
        finally:
            desk.log_in = None


async def log_in(access: DealerAccess, send: Send) -> Session:
    """Log in once. Raises `NoSession`."""
    try:
        request = access.dialect.log_in(access.account)
    except Exception as error:
        raise NoSession(f"no log-in could be made: {type(error).__name__}") from error
    answer = await send(access, request)
    try:
        return access.dialect.read_log_in(access.account, answer)
    except UnreadableAnswer as error:
        raise NoSession(f"the log-in was refused: {error}"[:200]) from error
