"""The figures as pictures: small, the same bytes for the same figures, for light and dark pages."""

# matplotlib leaves the types of its keyword arguments open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtests.figures import Figures, Run, medians

TITLES = {
    "rates": "Orders a second: Jalur blue, peers orange; rows and answers of the references grey",
    "durations": "End to end, milliseconds: open loads, by share of the most in a closed one",
    "cpu": "CPU microseconds an order",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    # Names of clip paths follow from it instead of from chance.
    "svg.hashsalt": "jalur",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_INK = (
    "<style>text{fill:#1f2328!important;font-family:sans-serif!important}"
    "@media(prefers-color-scheme:dark){text{fill:#d1d7e0!important}}</style>"
)
_UNSIGNED = dict.fromkeys(("Date", "Creator", "Format", "Type"))
"""Neither a day nor a program's version: those change without the figures."""
_LINES = "#848d97"
_COLORS = ("#2f81f7", "#3fb950", "#d29922", "#a371f7", "#db6d28", "#8b949e")
_WIDE, _BAR, _FRAME, _HIGH = 8.6, 0.24, 0.9, 3.0
"""Inches: of a picture, a bar in it, what is around the bars, and a picture without lying bars."""
_BELOW = (0.4, -0.1)
_PARTS = {
    "Jalur": ("service", "api", "worker"),
    "PostgreSQL": ("postgres",),
    "Valkey": ("valkey",),
    "dealers": ("simulator",),
    "receiver": ("receiver",),
    "client": ("client",),
}
_OPEN = "serve-open-"
_WHOLE_WAY = re.compile(r"(serve|two|apart)-")
_REFERENCES = {"pgbench", "bare"}
_OURS_COLOR, _REFERENCE_COLOR, _PEER_COLOR = _COLORS[0], _COLORS[5], _COLORS[4]


def draw(runs: Sequence[Run]) -> dict[str, str]:
    """The pictures as SVG by name; one that nothing was measured for is left out."""
    middle = medians(runs)
    drawn = {"rates": _rates(middle), "durations": _durations(middle), "cpu": _cpu(middle)}
    return {name: image for name, image in drawn.items() if image is not None}


def _rates(middle: Mapping[str, Figures]) -> str | None:
    rates = {name: each.per_second for name, each in middle.items() if _OPEN not in name}

    def put(axes: Axes) -> None:
        colors = [_color_of(name) for name in rates]
        bars = axes.barh(list(rates), list(rates.values()), color=colors)
        axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates.values()], padding=3)
        axes.invert_yaxis()

    return _picture("rates", _height(rates), put) if rates else None


def _color_of(name: str) -> str:
    """References, the service and its peers apart."""
    if name in _REFERENCES:
        return _REFERENCE_COLOR
    ours = name == "accept" or _WHOLE_WAY.match(name)
    return _OURS_COLOR if ours else _PEER_COLOR


def _durations(middle: Mapping[str, Figures]) -> str | None:
    found = {
        f"{name.removeprefix(_OPEN)} %, {each.per_second:,.0f} a second": each.end_to_end
        for name, each in middle.items()
        if name.startswith(_OPEN) and each.end_to_end is not None
    }
    several = {
        "p50": [each.p50_ms for each in found.values()],
        "p99": [each.p99_ms for each in found.values()],
        "p99.9": [each.p999_ms for each in found.values()],
    }

    def put(axes: Axes) -> None:
        wide = 0.8 / len(several)
        for place, (name, values) in enumerate(several.items()):
            left = [each + (place - 1) * wide for each in range(len(found))]
            bars = axes.bar(left, values, wide, label=name, color=_COLORS[place])
            axes.bar_label(bars, [f"{value:,.0f}" for value in values], padding=2)
        axes.set_xticks(range(len(found)), list(found))
        axes.legend(frameon=False)

    return _picture("durations", _HIGH, put) if found else None


def _cpu(middle: Mapping[str, Figures]) -> str | None:
    ours = {name: each for name, each in middle.items() if _WHOLE_WAY.match(name)}

    def put(axes: Axes) -> None:
        left = [0.0] * len(ours)
        for color, (part, processes) in zip(_COLORS, _PARTS.items(), strict=True):
            used = [_sum(each, processes) for each in ours.values()]
            axes.barh(list(ours), used, left=left, label=part, color=color)
            left = [before + more for before, more in zip(left, used, strict=True)]
        axes.invert_yaxis()
        axes.legend(
            frameon=False, ncols=len(_PARTS), loc="upper center", bbox_to_anchor=(0.4, -0.1)
        )

    return _picture("cpu", _height(ours) + 0.3, put) if ours else None


def _sum(figures: Figures, processes: Iterable[str]) -> float:
    return sum(figures.cpu_us.get(process, 0.0) for process in processes)


def _height(bars: Mapping[str, object]) -> float:
    return _FRAME + _BAR * len(bars)


def _picture(name: str, high: float, put: Callable[[Axes], None]) -> str:
    with rc_context(_STYLE):
        figure = Figure((_WIDE, high), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(TITLES[name], fontsize=10)
        axes.tick_params(color=_LINES)
        for spine in axes.spines.values():
            spine.set_color(_LINES)
        put(axes)
        image = io.StringIO()
        figure.savefig(image, format="svg", transparent=True, metadata=_UNSIGNED)
    return image.getvalue().replace("<defs>", f"{_INK}<defs>", 1)
