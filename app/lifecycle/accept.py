"""Accept: one commit holds the order, its reference, its fingerprint and the reserved money.

Only after that commit is a caller told that its order is accepted. Orders are accepted in batches:
the wallets of a batch are locked once, in key order, funds are granted by running sum in order of
arrival, and each wallet is written once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from app.errors import JalurError
from app.metrics import Metrics
from app.postings import Wallet, reserve
from app.storage import ledger, orders, ready
from app.storage.batches import BatchLimits, LanedBatcher
from app.storage.hints import Hints, Topic
from app.storage.ledger import Entry, WalletKey
from app.storage.orders import KnownOrder, NewOrder
from app.storage.pool import Pool
from app.storage.ready import Ready


@dataclass(frozen=True, slots=True)
class Submission:
    """An order to accept and the dealer that was chosen for it."""

    order: NewOrder
    dealer_id: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The order stands and its money is reserved."""

    order_id: UUID


@dataclass(frozen=True, slots=True)
class Replayed:
    """The reference was used before with the same content: this is that order."""

    order_id: UUID


class ReferenceTaken(JalurError):
    """The reference was used before with another content."""


class OutOfFunds(JalurError):
    """The wallet and its credit do not cover the price. `available` in rupiah, credit included."""

    def __init__(self, available: int) -> None:
        super().__init__(f"{available} rupiah are available")
        self.available = available


Outcome = Accepted | Replayed | ReferenceTaken | OutOfFunds


class Acceptor:
    """Accepts orders in batches, one flusher a lane group."""

    def __init__(
        self,
        pool: Pool,
        lane_groups: Sequence[Sequence[int]],
        hints: Hints,
        metrics: Metrics,
        limits: BatchLimits | None = None,
    ) -> None:
        self._pool = pool
        self._hints = hints
        self._metrics = metrics
        self.batches: LanedBatcher[Submission, Outcome] = LanedBatcher(
            self._apply, lambda submission: submission.order.lane, lane_groups, limits
        )

    async def accept(self, submission: Submission) -> Accepted | Replayed:
        """Accept an order, or find the one that its reference stands for.

        Raises ReferenceTaken, OutOfFunds, Overloaded, DatabaseUnavailable. After the last two the
        caller cannot know whether the order stands; the same reference again tells.
        """
        outcome = await self.batches.submit(submission)
        if isinstance(outcome, Accepted | Replayed):
            return outcome
        raise outcome

    async def _apply(self, batch: list[Submission]) -> list[Outcome]:
        async with self._pool.acquire() as connection, connection.transaction():
            wallets = await ledger.lock(connection, _wallet_keys(batch))
            known = await orders.find_references(
                connection,
                [(each.order.lane, each.order.reseller_id, each.order.ref_id) for each in batch],
            )
            admission = _Admission(wallets, known)
            outcomes = [admission.admit(submission) for submission in batch]
            if admission.admitted:
                await orders.insert(connection, [each.order for each in admission.admitted])
                await ready.insert(
                    connection, [_first_attempt(each) for each in admission.admitted]
                )
                await ledger.write(connection, admission.entries, admission.changed)
        if admission.admitted:
            self._hints.tell([Topic.READY])
        self._metrics.batch("accept", len(batch))
        return outcomes


def _wallet_key(submission: Submission) -> WalletKey:
    return submission.order.lane, submission.order.reseller_id


def _wallet_keys(batch: Sequence[Submission]) -> list[WalletKey]:
    return sorted({_wallet_key(submission) for submission in batch})


def _first_attempt(submission: Submission) -> Ready:
    order = submission.order
    return Ready(order.lane, order.order_id, 1, submission.dealer_id, order.created_at)


class _Admission:
    """Decides the rows of one batch in order of arrival, under the locks of its wallets.

    Funds are granted by running sum, so an order refused behind a larger refused one does not
    suffer for it; a refused order holds no reference.
    """

    def __init__(self, wallets: Mapping[WalletKey, Wallet], known: Sequence[KnownOrder]) -> None:
        self._wallets = wallets
        self._holders = {
            (each.reseller_id, each.ref_id): (each.order_id, each.fingerprint) for each in known
        }
        self.admitted: list[Submission] = []
        self.entries: list[Entry] = []
        self.changed: dict[WalletKey, Wallet] = {}

    def admit(self, submission: Submission) -> Outcome:
        order = submission.order
        reference = (order.reseller_id, order.ref_id)
        holder = self._holders.get(reference)
        if holder is not None:
            return _held(order, *holder)
        key = _wallet_key(submission)
        wallet = self.changed.get(key) or self._wallets.get(key)
        if wallet is None or not wallet.affords(order.price):
            return OutOfFunds(wallet.available + wallet.credit_limit if wallet else 0)
        self._holders[reference] = (order.order_id, order.fingerprint)
        self._reserve(key, wallet, submission)
        return Accepted(order.order_id)

    def _reserve(self, key: WalletKey, wallet: Wallet, submission: Submission) -> None:
        posting = reserve(submission.order.price)
        after = wallet.after(posting)
        self.changed[key] = after
        self.entries.append(ledger.entry(key, after, posting, order_id=submission.order.order_id))
        self.admitted.append(submission)


def _held(order: NewOrder, holder_id: UUID, fingerprint: bytes) -> Outcome:
    """The reference is held: by this very order (a commit in doubt), by its twin, by another."""
    if holder_id == order.order_id:
        return Accepted(order.order_id)
    if fingerprint == order.fingerprint:
        return Replayed(holder_id)
    return ReferenceTaken(f"the reference {order.ref_id} was used for another order")
