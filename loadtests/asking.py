"""Orders as requests, whole and ready to be written: made before a load, so that it costs less."""

from collections.abc import Callable
from urllib.parse import quote, urlencode

from loadtests.caller import request_head
from loadtests.job import Job
from loadtests.orders import customer_number, order_body, reference

RequestOf = Callable[[int], bytes]
"""The request that places the order of a number."""

SMS_USER, SMS_PASSWORD = "load", "load"
_REPORT_EITHER_WAY = 8 | 16
"""Kannel's reports on what the next centre took and on what it refused."""


def requests_of(job: Job, total: int) -> RequestOf:
    """The requests of a job's first orders, so many in all."""
    return _orders(job, total) if job.kind == "order" else _messages(job, total)


def _orders(job: Job, total: int) -> RequestOf:
    heads = [_order_head(job.orders_url, token) for token in job.tokens]
    bodies = [
        order_body(number, number % len(heads), misbehaving=job.misbehaving)
        for number in range(total)
    ]

    def request(number: int) -> bytes:
        body = bodies[number]
        return b"%b%d\r\n\r\n%b" % (heads[number % len(heads)], len(body), body)

    return request


def _order_head(orders_url: str, token: str) -> bytes:
    """An order's first bytes; its length and its body follow."""
    authorization = f"Bearer {token}"
    head = request_head(
        "POST", orders_url, authorization=authorization, content_type="application/json"
    )
    return head + b"content-length: "


def _messages(job: Job, total: int) -> RequestOf:
    """A message a request, worded as orders by message are: SKU.CUSTOMER.REFERENCE."""
    requests = [_message(job, number) for number in range(total)]
    return requests.__getitem__


def _message(job: Job, number: int) -> bytes:
    ours, customer = reference(number, number % len(job.tokens)), customer_number(number)
    # The type is filled in by Kannel, where a percent sign and a letter stand for something.
    report_url = f"{job.receiver_url}/reports/{ours}?type=%d"
    query = {
        "username": SMS_USER,
        "password": SMS_PASSWORD,
        "to": customer,
        "text": f"S10.{customer}.{ours}",
        "dlr-mask": _REPORT_EITHER_WAY,
        "dlr-url": report_url,
    }
    return request_head("GET", f"{job.orders_url}?{urlencode(query, quote_via=quote)}") + b"\r\n"
