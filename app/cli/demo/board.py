"""The demo's board: one moment of the shop as lines of a terminal. Pure, so that it can be tested.

Lines are cut to the width; what does not fit the height is left out from the end: first the recent
orders, then dealers.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Group
from rich.text import Text

from app.storage.overview import DealerSums, Overview, RecentLife
from routing.numbering import mask

_STATUSES = ("accepted", "processing", "succeeded", "failed", "reversed", "in review")
_STATES = ("delivered", "pending", "failed")
_STYLES = {
    "succeeded": "green",
    "failed": "red",
    "reversed": "yellow",
    "in review": "yellow",
    "open": "red",
    "half_open": "yellow",
}
_LABEL_COLUMNS = 10
_LONGEST_BAR = 24
_DEALER_COLUMNS = 60
"""What a dealer's line takes besides its bar."""
_WIDE = 70
"""From so many columns on, dealers get bars and orders their numbers."""
_SPACIOUS = 20
"""From so many lines on, the parts are set apart by an empty one."""


@dataclass(frozen=True, slots=True)
class Moment:
    """All that the board shows. `doing` is what the demo is busy with, a short sentence."""

    base_url: str
    doing: str
    log: str
    overview: Overview | None = None
    breakers: Mapping[str, str] = field(default_factory=dict[str, str])
    """By dealer: `closed`, `open`, `half_open`."""


def board(moment: Moment, width: int, height: int) -> Group:
    """The board in a terminal of this many columns and lines."""
    head = [Text(f"Jalur at {moment.base_url}", "bold"), Text(moment.doing, "cyan")]
    foot = Text(f"Ctrl-C ends it. Log: {moment.log}", "dim")
    lines = head
    if moment.overview is not None:
        lines += _figures(moment.overview, width)
        parts = (_dealers(moment, width), _lives(moment.overview.lives, width))
        lines += _fitting(parts, height - len(lines) - 1, spaced=height >= _SPACIOUS)
    shown = [*lines[: height - 1], foot]
    for line in shown:
        line.truncate(width, overflow="ellipsis")
        line.no_wrap = True
    return Group(*shown)


def _fitting(parts: Iterable[Sequence[Text]], room: int, *, spaced: bool) -> list[Text]:
    """As much of the parts as there is room for; a heading alone is not worth its line."""
    lines: list[Text] = []
    for part in parts:
        gap = [Text()] if spaced else []
        left = room - len(lines) - len(gap)
        if left < 2:  # noqa: PLR2004 - a heading and a line
            break
        lines += [*gap, *part[:left]]
    return lines


def _figures(overview: Overview, width: int) -> list[Text]:
    return [
        *_counted("orders", overview.orders, _STATUSES, width),
        *_counted("webhooks", overview.deliveries, _STATES, width),
        _labelled("wallet", [f"{overview.available:,} free", f"{overview.reserved:,} reserved"]),
        _labelled(
            "until done",
            [f"p50 {_duration(overview.p50_seconds)}", f"p99 {_duration(overview.p99_seconds)}"],
        ),
    ]


def _counted(
    label: str, counts: Mapping[str, int], order: Sequence[str], width: int
) -> Iterable[Text]:
    """Counts by name, over as many lines as they need."""
    line = _labelled(label, [])
    for name in (*order, *sorted(set(counts) - set(order))):
        if not counts.get(name):
            continue
        piece = Text(f" {counts[name]:,} {name} ", _STYLES.get(name, ""))
        if line.cell_len + piece.cell_len > width:
            yield line
            line = _labelled("", [])
        line.append_text(piece)
    yield line


def _labelled(label: str, pieces: Iterable[str]) -> Text:
    line = Text(f"{label:<{_LABEL_COLUMNS}}", "bold")
    return Text.assemble(line, *(f" {piece} " for piece in pieces))


def _dealers(moment: Moment, width: int) -> list[Text]:
    """A heading and a line a dealer; narrow terminals get neither bars nor doubts."""
    sums = moment.overview.dealers if moment.overview else ()
    spent = sum(each.spent for each in sums) or 1
    bar = max(min(width - _DEALER_COLUMNS, _LONGEST_BAR), 0)
    wide = width >= _WIDE
    heading = f"{'dealer':<12}{'bought':>7}  {'share':>6} {'in flight':>10}" + (
        f"{'in doubt':>9}  {'':<{bar}}  breaker" if wide else ""
    )
    return [
        Text(heading, "bold"),
        *(_dealer(each, each.spent / spent, moment.breakers, bar if wide else 0) for each in sums),
    ]


def _dealer(sums: DealerSums, share: float, breakers: Mapping[str, str], bar: int) -> Text:
    line = Text(f"{sums.dealer_id:<12.12}{sums.bought:>7,}  {share:>6.1%} {sums.in_flight:>10,}")
    if bar:
        full = round(share * bar)
        breaker = breakers.get(sums.dealer_id, "closed")
        line.append(f"{sums.in_doubt:>9,}  ")
        line.append("█" * full, "cyan").append("░" * (bar - full), "dim")
        line.append(f"  {breaker.replace('_', ' ')}", _STYLES.get(breaker, "green"))
    return line


def _lives(lives: Sequence[RecentLife], width: int) -> list[Text]:
    if not lives:
        return []
    return [Text("latest orders", "bold"), *(_life(each, wide=width >= _WIDE) for each in lives)]


def _life(life: RecentLife, *, wide: bool) -> Text:
    line = Text(f"{mask(life.customer_number):<14}") if wide else Text()
    line.append(f"{life.sku:<5} ")
    line.append(f"{life.status:<10}", _STYLES.get(life.status, ""))
    line.append(f"{'' if life.seconds is None else _duration(life.seconds):>9}")
    return line.append(f"  {life.attempts}", "dim")


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms" if seconds < 10 else f"{seconds:,.1f} s"  # noqa: PLR2004
