"""The demo's board, read as text: what it says, and that it fits every terminal."""

from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from app.cli.demo.board import Moment, board
from app.storage.overview import DealerSums, Overview, RecentLife

OVERVIEW = Overview(
    orders={"succeeded": 1_234, "accepted": 5, "failed": 2, "in review": 1},
    deliveries={"delivered": 1_230, "pending": 7},
    available=9_998_765_432,
    reserved=55_120,
    p50_seconds=0.0905,
    p99_seconds=13.065,
    dealers=(
        DealerSums("cahaya", 300, 3_000_000, 4, 1),
        DealerSums("nusantara", 900, 9_000_000, 12, 0),
    ),
    lives=tuple(
        RecentLife(f"demo-{number}", "S10", "081234567800", "succeeded", 0.034, "cahaya succeeded")
        for number in range(30)
    ),
)
MOMENT = Moment(
    "http://127.0.0.1:8080",
    "Sending orders: 57 of 100",
    "/var/demo/jalur.log",
    OVERVIEW,
    {"cahaya": "closed", "nusantara": "half_open"},
)


def drawn(moment: Moment, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(board(moment, width, height))
    return capture.get().splitlines()


def test_board_tells_orders_money_webhooks_times_and_what_is_being_done():
    lines = drawn(MOMENT, 80, 24)
    assert lines[0] == "Jalur at http://127.0.0.1:8080"
    assert lines[1] == "Sending orders: 57 of 100"
    assert lines[2].startswith("orders ")
    assert "5 accepted  1,234 succeeded  2 failed  1 in review" in lines[2]
    assert "1,230 delivered  7 pending" in lines[3]
    assert "9,998,765,432 free  55,120 reserved" in lines[4]
    assert "p50 90 ms  p99 13.1 s" in lines[5]
    assert "/var/demo/jalur.log" in lines[-1]


def test_board_gives_each_dealer_its_share_and_breaker():
    cahaya, nusantara = (
        line for line in drawn(MOMENT, 80, 24) if line.startswith(("cahaya ", "nusantara "))
    )
    assert cahaya.split()[:5] == ["cahaya", "300", "25.0%", "4", "1"]
    assert nusantara.split()[:5] == ["nusantara", "900", "75.0%", "12", "0"]
    assert cahaya.endswith("closed")
    assert nusantara.endswith("half open")
    assert nusantara.count("█") == 3 * cahaya.count("█") > 0


def test_numbers_of_customers_are_masked():
    text = "\n".join(drawn(MOMENT, 80, 24))
    assert "0812****7800" in text
    assert "081234567800" not in text


@pytest.mark.parametrize("moment", [MOMENT, replace(MOMENT, overview=None)])
@pytest.mark.parametrize(("width", "height"), [(200, 60), (80, 24), (70, 20), (40, 10), (12, 4)])
def test_board_fits_the_terminal(moment: Moment, width: int, height: int):
    lines = drawn(moment, width, height)
    assert all(cell_len(line) <= width for line in lines)
    assert len(lines) <= height


def test_small_terminal_still_shows_every_count_and_the_dealers():
    text = "\n".join(drawn(MOMENT, 40, 10))
    for said in ("5 accepted", "1,234 succeeded", "2 failed", "1 in review", "7 pending"):
        assert said in text
    assert "cahaya" in text


def test_large_terminal_shows_the_latest_orders_below_all_dealers():
    lines = drawn(MOMENT, 80, 24)
    assert lines.index("latest orders") > max(
        number for number, line in enumerate(lines) if line.startswith("nusantara")
    )
    assert sum("cahaya succeeded" in line for line in lines) >= 8
