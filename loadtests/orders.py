"""The orders of a load test, each made from its number, so that every witness can tell them apart.

A number gives one reference, which names the buyer too, and one customer number, which no other
order has; its last two digits make the simulated dealers deliver at once.
"""

from app.cli.demo.seed import BRANDS, DENOMINATIONS

_DIGITS_THAT_SUCCEED = 70
"""Customer numbers ending in 00 to 69 are delivered at once by every simulated dealer."""


def order_body(number: int, buyer: int) -> bytes:
    """The JSON body of an order, some 200 bytes."""
    brand = BRANDS[number % len(BRANDS)]
    denomination = DENOMINATIONS[number // len(BRANDS) % len(DENOMINATIONS)]
    return (
        f'{{"ref_id":"{reference(number, buyer)}","sku":"{brand.sku}{denomination // 1000}",'
        f'"customer_number":"{customer_number(number)}","outlet_id":"outlet-{buyer:06d}",'
        f'"metadata":{{"cashier":"7","terminal":"T-{number % 997:03d}","channel":"android-4.2"}}}}'
    ).encode()


def customer_number(number: int) -> str:
    """The phone number that the order tops up."""
    brand = BRANDS[number % len(BRANDS)]
    series, digits = divmod(number, _DIGITS_THAT_SUCCEED)
    return f"{brand.number}{series:06d}{digits:02d}"


def reference(number: int, buyer: int) -> str:
    """The reseller's reference for the order."""
    return f"{buyer:06d}-{number:08d}"


def read_reference(text: str) -> tuple[int, int]:
    """The order's number and its buyer. Raises ValueError for a reference that is none of ours."""
    buyer, _, number = text.partition("-")
    return int(number), int(buyer)
