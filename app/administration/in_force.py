"""The routing table in force, in a few figures: which one, how large, what was left out of it."""

from typing import Any

from app.administration.operator import Operator, Scope
from app.lifecycle.route import Router


def table_in_force(router: Router, by: Operator) -> dict[str, Any]:
    """What this process routes by, and what its goods changed of those before, ready for JSON.

    `compiling` tells that there are newer goods, which are not in force yet.
    """
    by.require(Scope.READ)
    trade = router.trade
    return {
        "version": trade.snapshot.version,
        "revision": trade.revision,
        "goods_revision": trade.goods.revision,
        "compiling": router.goods_wanted > trade.goods.revision,
        "dealers": len(trade.dealers),
        "left_out": list(trade.faults),
        **trade.goods.report.document(),
    }
