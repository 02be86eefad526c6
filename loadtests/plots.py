"""The figures as pictures: small, without scripts, the same bytes for the same figures.

They are drawn for light and for dark pages: nothing behind them, text in the page's manner.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, cast

from loadtests.figures import Figures, Run, medians

TITLES = {
    "rates": "Orders a second, end to end (references: rows, answers)",
    "durations": "End to end, milliseconds, by share of the most that a closed load reached",
    "cpu": "CPU microseconds an order, by process",
}

_pygal = cast(Any, import_module("pygal"))  # It has no types.
_style = cast(Any, import_module("pygal.style"))
_WIDTH, _BAR, _FRAME, _HIGH = 860, 24, 110, 340
_COLORS = ("#2f81f7", "#3fb950", "#d29922", "#a371f7", "#db6d28", "#6e7681")
_INK = (
    "inline:text{fill:#1f2328!important}"
    "@media(prefers-color-scheme:dark){text{fill:#d1d7e0!important}}"
)
_LIVELY = re.compile(r"<!--.*?-->|<script.*?</script>|<desc.*?</desc>|<script[^>]*/>", re.DOTALL)
"""What is for a browser that runs scripts, and the day on which it was drawn."""
_PROCESSES = {
    "Jalur": ("service", "api", "worker"),
    "PostgreSQL": ("postgres",),
    "Valkey": ("valkey",),
    "dealers": ("simulator",),
    "receiver": ("receiver",),
    "client": ("client",),
}
_OPEN = "serve-open-"


def draw(runs: Sequence[Run]) -> dict[str, str]:
    """The pictures as SVG by name; one that nothing was measured for is left out."""
    middle = medians(runs)
    drawn = {"rates": _rates(middle), "durations": _durations(middle), "cpu": _cpu(middle)}
    return {name: image for name, image in drawn.items() if image is not None}


def _rates(middle: Mapping[str, Figures]) -> str | None:
    bars = {name: each.per_second for name, each in middle.items() if _OPEN not in name}
    if not bars:
        return None
    chart = _chart(
        "HorizontalBar", "rates", bars, len(bars), show_legend=False, print_values=True
    )
    chart.add("", list(reversed(bars.values())))
    return _render(chart)


def _durations(middle: Mapping[str, Figures]) -> str | None:
    found = {
        f"{name.removeprefix(_OPEN)} %: {each.per_second:,.0f} a second": each.end_to_end
        for name, each in middle.items()
        if name.startswith(_OPEN) and each.end_to_end is not None
    }
    if not found:
        return None
    chart = _chart("Bar", "durations", found, None, print_values=True)
    chart.add("p50", [each.p50_ms for each in found.values()])
    chart.add("p99", [each.p99_ms for each in found.values()])
    chart.add("p99.9", [each.p999_ms for each in found.values()])
    return _render(chart)


def _cpu(middle: Mapping[str, Figures]) -> str | None:
    whole = {name: each for name, each in middle.items() if "simulator" in each.cpu_us}
    ours = {name: each for name, each in whole.items() if _is_jalur(each)}
    if not ours:
        return None
    chart = _chart("HorizontalStackedBar", "cpu", ours, len(ours))
    for part, processes in _PROCESSES.items():
        chart.add(part, [_sum(each, processes) for each in reversed(ours.values())])
    return _render(chart)


def _is_jalur(figures: Figures) -> bool:
    """A contender's processes have other names, or take a hundred times as much."""
    return "service" in figures.cpu_us or {"api", "worker", "valkey"} <= figures.cpu_us.keys()


def _sum(figures: Figures, processes: Iterable[str]) -> float:
    return round(sum(figures.cpu_us.get(process, 0.0) for process in processes), 1)


def _chart(kind: str, name: str, labels: Iterable[str], bars: int | None, **options: object) -> Any:
    """An empty chart; a lying one is as high as its bars are many, and reads from the top."""
    style = _style.Style(
        background="transparent",
        plot_background="transparent",
        colors=_COLORS,
        font_family="sans-serif",
        label_font_size=12,
        major_label_font_size=12,
        value_font_size=12,
        legend_font_size=12,
        title_font_size=15,
    )
    named = list(labels)
    return getattr(_pygal, kind)(
        title=TITLES[name],
        width=_WIDTH,
        height=_HIGH if bars is None else _FRAME + _BAR * bars,
        x_labels=list(reversed(named)) if bars is not None else named,
        style=style,
        css=("file://style.css", "file://graph.css", _INK),
        js=(),
        no_prefix=True,
        disable_xml_declaration=True,
        margin=12,
        legend_at_bottom=True,
        legend_at_bottom_columns=len(_PROCESSES),
        value_formatter=lambda value: f"{value:,.0f}",
        **options,
    )


def _render(chart: Any) -> str:
    return _LIVELY.sub("", chart.render()) + "\n"
