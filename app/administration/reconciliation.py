"""A dealer's statement against our own account of the same purchases. It changes no money.

The statement is a CSV as the dealer's pages export it: other columns are passed over, amounts may
have separators of thousands, and words for what became of a purchase are the dealer's own.
"""

import codecs
import json
import re
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

from app.administration.acting import acting
from app.administration.checks import Checks
from app.administration.dealers import find
from app.administration.operator import Operator, Scope
from app.administration.plans import Progress, unwatched
from app.errors import FieldError, Unprocessable
from app.storage import drafts, reconciliation
from app.storage.pool import Connection, Pool
from app.storage.reconciliation import Difference, Entry, Tally, Totals
from routing.records import read_cells

COLUMNS = ("ref", "amount", "status")
"""What is read; `status` may be missing, and then every line succeeded."""
SUCCEEDED, FAILED, PENDING = "succeeded", "failed", "pending"
MOST_BYTES = 128 * 1024 * 1024
_MOST_FAULTS = 100
_MOST_EXAMPLES = 100
_PROGRESS_NAME = "lines"

_WORDS = {
    "sukses": SUCCEEDED,
    "success": SUCCEEDED,
    "successful": SUCCEEDED,
    "succeeded": SUCCEEDED,
    "berhasil": SUCCEEDED,
    "completed": SUCCEEDED,
    "gagal": FAILED,
    "failed": FAILED,
    "failure": FAILED,
    "rejected": FAILED,
    "ditolak": FAILED,
    "batal": FAILED,
    "cancelled": FAILED,
    "refund": FAILED,
    "refunded": FAILED,
    "reversed": FAILED,
    "pending": PENDING,
    "proses": PENDING,
    "diproses": PENDING,
    "processing": PENDING,
    "menunggu": PENDING,
}
"""Words for what became of a purchase that need no telling."""
_GROUPED = re.compile(r"-?[0-9]{1,3}(?:([., '\u00a0])[0-9]{3})(?:\1[0-9]{3})*(?:[.,]00?)?")
_PLAIN = re.compile(r"-?[0-9]{1,15}(?:[.,]00?)?")
_CENTS = re.compile(r"[.,]00?$")
_CURRENCY = re.compile(r"^(-?)\s*(?:rp|idr)\.?\s*", re.IGNORECASE)
_LONGEST_REF = 64


@dataclass(frozen=True, slots=True)
class Form:
    """How a statement is read: our names to its columns, its words to what they mean."""

    columns: Mapping[str, str]
    statuses: Mapping[str, str] = field(default_factory=dict[str, str])

    def text(self) -> str:
        """As it is remembered."""
        return json.dumps({"columns": dict(self.columns), "statuses": dict(self.statuses)})


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a comparison."""

    dealer_id: str
    begins: datetime | None
    ends: datetime | None
    """Of which purchases the statement should have; None where it has none of ours."""
    totals: Totals
    tallies: list[Tally]
    examples: dict[str, list[Difference]]

    @property
    def agrees(self) -> bool:
        """Whether both sides say the same."""
        return not any(each.lines for each in self.tallies)

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "dealer": self.dealer_id,
            "from": self.begins and self.begins.isoformat(),
            "until": self.ends and self.ends.isoformat(),
            "agrees": self.agrees,
            **asdict(self.totals),
            "differences": {
                each.kind: {
                    "count": each.lines,
                    "rupiah": each.rupiah,
                    "first": [row._asdict() for row in self.examples[each.kind]],
                }
                for each in self.tallies
            },
        }


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is compared: purchases sent from a moment up to another; None: as far as the statement
    goes."""

    form: Form | None = None
    """None: as remembered of this dealer."""
    remember: bool = False
    begins: datetime | None = None
    ends: datetime | None = None
    sent_by: timedelta = timedelta(minutes=10)
    """How long after its acceptance an order's last purchase may be sent."""


Take = Callable[[bytes], Coroutine[Any, Any, None]]


async def reconcile(
    pool: Pool,
    by: Operator,
    dealer_id: str,
    content: bytes,
    wanted: Wanted,
    tell: Progress = unwatched,
    take: Take | None = None,
) -> Result:
    """Compare a statement with our attempts. `take` gets every difference as CSV, in pieces.

    Raises NotFound, Unprocessable with every line that cannot be read.
    """
    by.require(Scope.READ)
    async with pool.acquire() as connection:
        await find(connection, dealer_id)
        form = wanted.form or await _remembered(connection, dealer_id)
        await drafts.widen(connection)
        try:
            await reconciliation.begin(connection)
            reader = StatementReader(content, form)
            await reconciliation.fill(
                connection, reader, lambda done: tell(_PROGRESS_NAME, done, None)
            )
            reader.done()
            result = await _compare(connection, dealer_id, wanted)
            if take is not None:
                await reconciliation.copy_out(connection, take)
        finally:
            await reconciliation.leave(connection)
    if wanted.remember:
        by.require(Scope.DEALERS)
        async with acting(pool) as connection:
            await reconciliation.remember_form(connection, dealer_id, form.text())
            after = {"columns": dict(form.columns), "statuses": dict(form.statuses)}
            subject = f"dealer:{dealer_id}"
            await by.record(connection, "dealer.statement_form", subject, after=after)
    return result


async def _compare(connection: Connection, dealer_id: str, wanted: Wanted) -> Result:
    found = await reconciliation.match(connection, dealer_id)
    first, last = found or (None, None)
    begins = wanted.begins or first
    ends = wanted.ends or (last and last + timedelta(microseconds=1))
    # Without a period and without a purchase of ours nothing can be missing there.
    nothing = datetime.fromisoformat("2000-01-01T00:00+00:00")
    span = (begins or ends or nothing, ends or begins or nothing)
    totals = await reconciliation.compare(connection, dealer_id, span, wanted.sent_by)
    tallies = await reconciliation.tallies(connection)
    examples = {
        each.kind: await reconciliation.examples(connection, each.kind, _MOST_EXAMPLES)
        for each in tallies
    }
    return Result(dealer_id, begins, ends, totals, tallies, examples)


async def _remembered(connection: Connection, dealer_id: str) -> Form:
    text = await reconciliation.form(connection, dealer_id)
    if text is None:
        raise Unprocessable(
            "no-statement-form",
            f"How {dealer_id}'s statements are read is not known yet: tell their columns, such as "
            "--map ref=ref_id,amount=price,status=status, once with --remember.",
        )
    return read_form(json.loads(text))


def read_form(document: object) -> Form:
    """Read a form: `{"columns": {"ref": …, "amount": …}, "statuses": {WORD: succeeded}}`.

    Raises Unprocessable.
    """
    checks = Checks()
    parts = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    columns = _texts(parts.get("columns", {}), "columns", checks)
    statuses = _texts(parts.get("statuses", {}), "statuses", checks)
    for name in columns.keys() - set(COLUMNS):
        checks.wrong("columns", f"{name[:40]!r} is not read; there are {', '.join(COLUMNS)}")
    for name in ("ref", "amount"):
        if name not in columns:
            checks.wrong("columns", f"say which column holds {name}")
    for word, meaning in statuses.items():
        if meaning not in (SUCCEEDED, FAILED, PENDING):
            checks.wrong("statuses", f"{word[:40]!r} must mean {SUCCEEDED}, {FAILED} or {PENDING}")
    checks.done()
    return Form(
        {name: _name_of(heading) for name, heading in columns.items()},
        {_name_of(word): meaning for word, meaning in statuses.items()},
    )


def _texts(value: object, field_name: str, checks: Checks) -> dict[str, str]:
    given = cast("dict[object, object]", value) if isinstance(value, dict) else {}
    texts = {name: text for name, text in given.items() if isinstance(text, str)}
    if not isinstance(value, dict) or len(texts) < len(given):
        checks.wrong(field_name, "must be an object of texts")
    return cast("dict[str, str]", texts)


class StatementReader:
    """A statement's lines, one by one. After all are taken, `done` raises what was wrong."""

    def __init__(self, content: bytes, form: Form) -> None:
        self._content = content
        self._columns = [form.columns[name] for name in COLUMNS if name in form.columns]
        self._has_status = "status" in form.columns
        self._words = {**_WORDS, **form.statuses}
        self._faults: list[FieldError] = []
        self._fault_count = 0

    def __iter__(self) -> Iterator[Entry]:
        """Read it once; a line without a reference, such as a sum, is passed over."""
        if len(self._content) > MOST_BYTES:
            self._tell(1, "", f"the file has more than {MOST_BYTES} bytes: bring it in parts")
            return
        lines = read_cells(_utf8(self._content), self._columns, self._tell, _name_of, others=True)
        for line, cells in lines:
            ref = cells[0].strip().upper()
            if not ref:
                continue
            rupiah = read_amount(cells[1])
            if rupiah is None:
                self._tell(line, self._columns[1], f"{cells[1][:40]!r} is no amount in rupiah")
            elif len(ref) > _LONGEST_REF or not ref.isprintable():
                self._tell(line, self._columns[0], "is no reference")
            else:
                word = _name_of(cells[2]) if self._has_status else SUCCEEDED
                yield Entry(line, ref, rupiah, self._words.get(word, ""), word[:_LONGEST_REF])

    def done(self) -> None:
        """Raise Unprocessable where something could not be read."""
        if self._fault_count:
            more = self._fault_count - len(self._faults)
            told = [f"{each.field}: {each.message}" for each in self._faults[:20]]
            told += [f"and {more} more"] if more else []
            raise Unprocessable("invalid-statement", "\n".join(told), errors=self._faults)

    def _tell(self, line: int, column: str, message: str) -> None:
        self._fault_count += 1
        if len(self._faults) < _MOST_FAULTS:
            place = f"line {line}.{column}" if column else f"line {line}"
            self._faults.append(FieldError(place, message))


def read_amount(text: str) -> int | None:
    """An amount as statements have it, such as `5300`, `Rp 5.300`, `-5,300.00`: whole rupiah, taken
    for what was paid whatever its sign; None where it is none, or has cents."""
    plain = _CURRENCY.sub(r"\1", text.strip())
    if not (_PLAIN.fullmatch(plain) or _GROUPED.fullmatch(plain)):
        return None
    return int(re.sub("[^0-9]", "", _CENTS.sub("", plain)))


def _name_of(text: str) -> str:
    return " ".join(text.split()).casefold()


def _utf8(content: bytes) -> bytes:
    """The file in UTF-8, also where Excel wrote it as "Unicode text"."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return content.decode("utf-16").encode()
        except UnicodeDecodeError:
            return content
    return content
