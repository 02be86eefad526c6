"""An order as an answer, with its ETag."""

from fastapi import Request, Response

from app.http.answers import json_answer
from app.http.conditions import is_known, not_modified
from app.storage.order_views import OrderView
from app.storage.orders import NewOrder
from schemas.orders import order_document


def document_of(view: OrderView) -> dict[str, object]:
    """The order as resellers see it."""
    return order_document(
        order_id=view.order_id,
        ref_id=view.ref_id,
        sku=view.sku,
        brand=view.brand,
        customer_number=view.customer_number,
        cluster=view.cluster,
        price=view.price,
        status=view.status,
        delayed=view.delayed,
        serial_number=view.serial_number,
        failure_code=view.failure_code,
        failure_message=view.failure_message,
        version=view.version,
        created_at=view.created_at,
        finished_at=view.finished_at,
        metadata=view.metadata,
    )


def new_document(order: NewOrder) -> dict[str, object]:
    """A new order as resellers see it, from memory: nothing is read back."""
    return order_document(
        order_id=order.order_id,
        ref_id=order.ref_id,
        sku=order.sku,
        brand=order.brand,
        customer_number=order.customer_number,
        cluster=order.cluster,
        price=order.price,
        status="accepted",
        delayed=False,
        serial_number=None,
        failure_code=None,
        failure_message=None,
        version=1,
        created_at=order.created_at,
        finished_at=None,
        metadata=order.metadata,
    )


def new_answer(order: NewOrder) -> Response:
    """A new order, accepted."""
    return json_answer(new_document(order), 202, {"location": location_of(order)})


def replayed_answer(view: OrderView) -> Response:
    """The order that a reference stood for already."""
    answer = order_answer(view)
    answer.headers["idempotency-replayed"] = "true"
    answer.headers["location"] = location_of(view)
    return answer


def location_of(order: NewOrder | OrderView) -> str:
    """Where an order is shown."""
    return f"/v1/orders/{order.order_id}"


def order_answer(view: OrderView, request: Request | None = None) -> Response:
    """The order, or 304 where the request names its ETag."""
    tag = _etag(view)
    if request is not None and is_known(request, tag):
        return not_modified(tag)
    return json_answer(document_of(view), headers={"etag": tag})


def _etag(view: OrderView) -> str:
    """Weak, by what can differ: claiming an order changes its status but not its version."""
    return f'W/"{view.version}-{view.status}{"-delayed" if view.delayed else ""}"'
