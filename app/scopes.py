"""What a reseller's key opens. One without stated scopes opens everything."""

from enum import StrEnum


class KeyScope(StrEnum):
    """One part of the resellers' side."""

    ORDERS_WRITE = "orders:write"
    """Placing and cancelling orders, with the answers to that."""
    ORDERS_READ = "orders:read"
    """Orders and events."""
    BALANCE_READ = "balance:read"
    """The balance and the ledger."""
    PRODUCTS_READ = "products:read"
    """Products, prices, quotes."""
    OUTLETS_READ = "outlets:read"
    OUTLETS_WRITE = "outlets:write"
    WEBHOOKS_READ = "webhooks:read"
    """Endpoints and deliveries."""
    WEBHOOKS_WRITE = "webhooks:write"
    """Endpoints, their secrets, replays."""
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    """Other keys, as far as the key itself goes."""
