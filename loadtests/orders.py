"""The orders of a load test, each made from its number, so that every witness can tell them apart.

A number gives one reference, which names the buyer too, and one customer number, which no other
order has; its last two digits make the simulated dealers deliver at once, or misbehave.
"""

from app.cli.demo.seed import BRANDS, DENOMINATIONS

_DIGITS_THAT_SUCCEED = 70
"""Customer numbers ending in 00 to 69 are delivered at once by every simulated dealer."""
ONE_IN = 20
"""One order in so many meets a dealer that misbehaves, where the load asks for it."""
_NUMBER_FAULT = "74"
MISBEHAVIOUR = {
    "70": "pending, delivered, said so by callback",
    "72": "pending, then failed by callback",
    "73": "refused, out of stock",
    "75": "delivered, then the connection is cut",
    "77": "delivered, answered after the time-out",
    "78": "delivered, the callback comes three times",
    "81": "delivered, the answer is garbage",
    _NUMBER_FAULT: "failed because of the number",
}
"""What then happens, by the digits: each as often as the others."""
_ENDINGS = tuple(MISBEHAVIOUR)


def order_body(number: int, buyer: int, *, misbehaving: bool = False) -> bytes:
    """The JSON body of an order, some 200 bytes."""
    brand = BRANDS[number % len(BRANDS)]
    denomination = DENOMINATIONS[number // len(BRANDS) % len(DENOMINATIONS)]
    customer = customer_number(number, misbehaving=misbehaving)
    return (
        f'{{"ref_id":"{reference(number, buyer)}","sku":"{brand.sku}{denomination // 1000}",'
        f'"customer_number":"{customer}","outlet_id":"outlet-{buyer:06d}",'
        f'"metadata":{{"cashier":"7","terminal":"T-{number % 997:03d}","channel":"android-4.2"}}}}'
    ).encode()


def customer_number(number: int, *, misbehaving: bool = False) -> str:
    """The phone number that the order tops up."""
    brand = BRANDS[number % len(BRANDS)]
    series, digits = divmod(number, _DIGITS_THAT_SUCCEED)
    ending = f"{digits:02d}"
    if misbehaving and number % ONE_IN == ONE_IN - 1:
        # Of the numbers in one series at most four misbehave, each with another ending.
        ending = _ENDINGS[number // ONE_IN % len(_ENDINGS)]
    return f"{brand.number}{series:06d}{ending}"


def must_fail(customer: str) -> bool:
    """Whether no dealer can serve this customer number."""
    return customer.endswith(_NUMBER_FAULT)


def reference(number: int, buyer: int) -> str:
    """The reseller's reference for the order."""
    return f"{buyer:06d}-{number:08d}"


def read_reference(text: str) -> tuple[int, int]:
    """The order's number and its buyer. Raises ValueError for a reference that is none of ours."""
    buyer, _, number = text.partition("-")
    return int(number), int(buyer)
