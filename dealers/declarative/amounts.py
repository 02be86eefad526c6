"""Amounts as dealers write them. What is not written as described is no amount at all."""

import re
from collections.abc import Mapping

_WRITTEN: Mapping[str, "re.Pattern[str]"] = {
    "10150": re.compile(r"(-?[0-9]{1,15})(?:\.0{1,4})?"),
    "10.150,00": re.compile(r"(-?(?:[0-9]{1,3}(?:\.[0-9]{3}){1,4}|[0-9]{1,15}))(?:,0{1,4})?"),
    "10,150.00": re.compile(r"(-?(?:[0-9]{1,3}(?:,[0-9]{3}){1,4}|[0-9]{1,15}))(?:\.0{1,4})?"),
}
_CURRENCY = re.compile(r"(?:Rp\.? ?|IDR ?)?", re.IGNORECASE)


def rupiah(text: str, written: str) -> int | None:
    """An amount in rupiah, or None where the text is none, written like the example `written`."""
    start = _CURRENCY.match(text)
    amount = _WRITTEN[written].fullmatch(text, start.end() if start else 0)
    return None if amount is None else int(re.sub(r"[.,]", "", amount[1]))
