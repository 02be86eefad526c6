"""What a dealer's protocol is: functions from a top-up to a request, from an answer to a report.

A protocol does no I/O. It is one module in `dealers/protocols/`, found by its file name, with the
constants and the functions that `Protocol` names below. The router does the sending, once, for all
protocols; a protocol only decides what goes into a request and what an answer means.

Every answer becomes one of five outcomes (`Outcome`). Whatever a protocol cannot read with
certainty is `UNKNOWN`: the router then asks again and never buys elsewhere, so a doubtful
"failed" is the one mistake that costs money twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol as Structural


class Outcome(StrEnum):
    """What a dealer's answer says about one purchase."""

    SUCCEEDED = "succeeded"
    """The dealer's explicit word that the number was topped up."""
    REJECTED = "rejected"
    """Refused, nothing was created at the dealer: another dealer may serve at once."""
    FAILED = "failed"
    """Failed after it was created at the dealer; `Fault` says whether another dealer may serve."""
    PENDING = "pending"
    """Accepted by the dealer, no final word yet."""
    UNKNOWN = "unknown"
    """Anything else: a time-out, a cut connection, an unmapped code, an unreadable answer."""


class Fault(StrEnum):
    """Whose fault a refusal or failure is; it decides whether another dealer is tried."""

    PRODUCT = "product"
    """This dealer's product, stock, price or hours: another dealer may serve."""
    NUMBER = "number"
    """The customer's number: no dealer can serve, the order stops."""
    CLUSTER = "cluster"
    """The number lies outside this dealer's area: another dealer may serve."""
    ACCOUNT = "account"
    """Our account, balance or request at this dealer: another dealer may serve, ops are alerted."""


class Recovery(StrEnum):
    """How the fate of a purchase whose answer was lost can be learned."""

    STATUS_CALL = "status_call"
    """A separate call tells the status by our reference and never buys."""
    SAME_REF_IS_STATUS = "same_ref_is_status"
    """The purchase sent again with the same reference returns the first one's state."""
    NONE = "none"
    """No way to ask: an operator must look."""


@dataclass(frozen=True, slots=True)
class ReferenceRules:
    """What a dealer allows in our reference: its alphabet is always `[0-9A-Z]`."""

    max_length: int = 22


@dataclass(frozen=True, slots=True)
class Setting:
    """A credential or an option that a protocol reads, as ops are told of it."""

    name: str
    meaning: str
    """What to put there, in a few words."""
    required: bool = True


COMMON_OPTIONS = (
    Setting("callback_url", "where the dealer is told to send its callbacks", required=False),
    Setting("check_interval_seconds", "least time between two checks of one purchase", False),
    Setting("absent_after_seconds", "two answers so far apart prove absence", required=False),
    Setting("check_schedule", "when to ask, such as 36x5,42x10,120 (seconds)", required=False),
    Setting("balance_interval_seconds", "how often our balance is pulled, about", required=False),
    Setting("balance_tolerance", "rupiah by which it may differ from our account", required=False),
    Setting("float_reserve", "rupiah to be left there; less than 0: a credit", required=False),
    Setting("traceparent", "yes where requests carry their order's trace, no where not", False),
    Setting("failures_count", "yes where a failed purchase is one of a number's day", False),
)
"""Options that a dealer of any protocol may have."""

CheckSchedule = tuple[tuple[int, float], ...]
"""(how many checks, seconds between them); the last repeats for ever."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a protocol declares about itself, once, as its constant `CAPABILITIES`."""

    recovery: Recovery
    reference: ReferenceRules = field(default_factory=ReferenceRules)
    max_age_seconds: float | None = None
    """For `SAME_REF_IS_STATUS`: past this age the same reference buys again."""
    absent_after_seconds: float | None = None
    """Two "not found" answers this far apart, after the send is over, prove that nothing was
    created. None: "not found" never proves anything here."""
    min_check_interval_seconds: float = 0.0
    """At most one status check per reference in this time."""
    check_schedule: CheckSchedule | None = None
    """When the dealer itself says how often to ask; None: the router's own schedule."""
    requests_per_second: float | None = None
    """The dealer's documented limit over all requests; None: none is known."""
    price_list_interval_seconds: float = 0.0
    """At most one price list in this time."""
    balance_interval_seconds: float = 0.0
    """At most one balance in this time."""
    low_balance_codes: frozenset[str] = frozenset()
    """Codes of refusals (`Fault.ACCOUNT`) that say that our deposit does not suffice."""
    counts_repeats: bool = False
    """Whether requests or answers go by `TopUp.counter`; where they do not, that is always 1."""
    failures_count: bool = False
    """Where the dealer sells a product for one number only so often a day: whether a purchase that
    failed after it was created is one of them. What was rejected never is."""
    takes_traceparent: bool = False
    """Whether requests about an order carry its trace (`traceparent`, W3C); never a signed part."""
    callback_is_word: bool = False
    """True where a callback carries a verified signature over its status; otherwise a callback
    only triggers a status check."""
    callback_may_be_old: bool = False
    """True where nothing shows whether a callback was said before what is known already: a success
    of a purchase that is closed is then asked about, which takes `STATUS_CALL`."""


@dataclass(frozen=True, slots=True)
class Account:
    """Our account at one dealer, as ops configured it. Never printed: `credentials` is secret."""

    dealer_id: str
    base_url: str
    credentials: Mapping[str, str] = field(repr=False)
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    """Settings of the protocol that are not secret, for example answer templates."""
    session: str | None = field(default=None, repr=False)
    """The token in force, for a protocol that logs in (`LogsIn`)."""


@dataclass(frozen=True, slots=True)
class TopUp:
    """One purchase, in the router's words."""

    dealer_ref: str
    dealer_sku: str
    customer_number: str
    """National form with its leading zero: `0812…`."""
    max_price_rupiah: int
    callback_url: str | None = None
    counter: int = 1
    """Which purchase of this product for this number at this dealer it is on this day (WIB)."""
    hops: tuple[str, ...] = ()
    """The installations that the order came through, this one last."""
    sent_at: datetime | None = None
    """When it was first sent; known on a check."""


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request to send. `body` is complete; nothing is added but the length."""

    method: str
    url: str = field(repr=False)
    """Some protocols carry secrets here: it is never printed or logged."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer as it arrived: `body` is cut at the router's cap, then `truncated` is True."""

    status: int
    headers: Mapping[str, str]
    """Header names in lower case."""
    body: bytes
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What an answer or a callback says about one purchase."""

    outcome: Outcome
    code: str
    """The dealer's own code, or the router's reason in lower case, for example `http-500`."""
    message: str = ""
    """The dealer's own words, shortened to 200 characters; shown to ops, never to resellers."""
    fault: Fault = Fault.PRODUCT
    """Meaningful with `REJECTED` and `FAILED` only."""
    serial_number: str | None = None
    price_rupiah: int | None = None
    """What the dealer charged, where it says so."""
    reversal: bool = False
    """The dealer's explicit word that an earlier success was refunded; the outcome is `FAILED`."""
    not_found: bool = False
    """The dealer does not know the reference; `outcome` is then `UNKNOWN`."""


@dataclass(frozen=True, slots=True)
class Callback:
    """A request that a dealer sent to us, as it arrived."""

    method: str
    query: str
    """The raw query string, without the question mark."""
    headers: Mapping[str, str]
    """Header names in lower case."""
    body: bytes


@dataclass(frozen=True, slots=True)
class CallbackReport:
    """A callback that could be read: which purchase it speaks of, and what it says.

    `verified` is True only where a signature over the status was checked and held.
    """

    dealer_ref: str
    report: Report
    verified: bool


class CallbackRefused(Exception):
    """A callback whose signature is wrong or that cannot be read. The message names the reason."""


@dataclass(frozen=True, slots=True)
class Session:
    """What a dealer gave us for logging in."""

    token: str = field(repr=False)
    lifetime_seconds: float


@dataclass(frozen=True, slots=True)
class Balance:
    """Our deposit at a dealer, in rupiah."""

    rupiah: int


@dataclass(frozen=True, slots=True)
class DealerPrice:
    """One line of a dealer's own price list."""

    dealer_sku: str
    name: str
    price_rupiah: int
    available: bool


class UnreadableAnswer(Exception):
    """A balance, price list or log-in answer that cannot be read. The message names the reason."""


class Protocol(Structural):
    """The shape of a module in `dealers/protocols/`; the registry checks it when it starts.

    `read_*` functions of purchases and status calls return a report for every possible input.
    The registry turns an exception that escapes one into `UNKNOWN`: a bug costs a check, not money.
    """

    CAPABILITIES: Capabilities
    CREDENTIALS: tuple[Setting, ...]
    """What our account consists of; all of it is secret."""
    OPTIONS: tuple[Setting, ...]
    """Its own options, beside `COMMON_OPTIONS`."""

    def validate(self, account: Account) -> list[str]:
        """Return what is wrong in the account's settings, a sentence each.

        That everything required is there, and nothing else, is seen to by the registry.
        """
        ...

    def top_up(self, account: Account, order: TopUp) -> Request:
        """The purchase request."""
        ...

    def read_top_up(self, account: Account, order: TopUp, answer: Answer) -> Report:
        """What the answer to a purchase says."""
        ...

    def status(self, account: Account, order: TopUp) -> Request:
        """The status request. With `SAME_REF_IS_STATUS` it equals `top_up`, byte for byte.

        It is not called with `NONE`.
        """
        ...

    def read_status(self, account: Account, order: TopUp, answer: Answer) -> Report:
        """What a status answer says: only the stored purchase's own state is final."""
        ...

    def read_callback(self, account: Account, callback: Callback) -> CallbackReport:
        """Read a dealer's callback. Raises `CallbackRefused`."""
        ...

    def acknowledge(self, account: Account, callback: Callback) -> tuple[str, bytes]:
        """Content type and body that the dealer expects as the answer to this callback."""
        ...

    def balance(self, account: Account) -> Request | None:
        """The balance request, or None where the protocol has none."""
        ...

    def read_balance(self, account: Account, answer: Answer) -> Balance:
        """Read the balance. Raises `UnreadableAnswer`."""
        ...

    def price_list(self, account: Account) -> Request | None:
        """The price list request, or None where the protocol has none."""
        ...

    def read_price_list(self, account: Account, answer: Answer) -> list[DealerPrice]:
        """Read the price list. Raises `UnreadableAnswer`."""
        ...


class LogsIn(Structural):
    """What a protocol has besides where its requests need a token that runs out."""

    def log_in(self, account: Account) -> Request:
        """The request for a token. It never buys."""
        ...

    def read_log_in(self, account: Account, answer: Answer) -> Session:
        """Read the token. Raises `UnreadableAnswer`."""
        ...

    def session_ended(self, answer: Answer) -> bool:
        """Whether this answer says that the token is no longer good: the next request logs in."""
        ...


class ListsInPages(Structural):
    """What a protocol has besides where its price list comes in pages."""

    def next_price_list(self, account: Account, answer: Answer) -> Request | None:
        """The request for the page after this one, or None after the last.

        Raises `UnreadableAnswer`.
        """
        ...


class DescribedByAccount(Structural):
    """What a protocol has besides where the account's options decide what it can do."""

    def capabilities_of(self, account: Account) -> Capabilities:
        """The account's own capabilities. Called for a validated account only."""
        ...


class SettingsByAccount(Structural):
    """What a protocol has besides where the account's options decide which settings there are."""

    def settings_of(
        self, account: Account
    ) -> tuple[tuple[Setting, ...], tuple[Setting, ...]] | None:
        """The account's own credentials and options, or None while they cannot be known."""
        ...
