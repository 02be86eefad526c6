"""The simulator without a configuration: a dealer of every protocol, with made-up accounts, and one
for the test side of a router, which sells whatever it is asked for."""

from dealers.simulator.config import Config, Dealer
from dealers.simulator.dialect import names_products
from dealers.simulator.dialects import find_dialect, names

_BRANDS = ("S", "X", "I", "T", "AX", "SM")
"""Telkomsel, XL, Indosat's IM3, Tri, AXIS and Smartfren, as their products' codes usually begin."""
_THOUSANDS = (5, 10, 20, 25, 50, 100)
_FIRST_MARGIN_RUPIAH = 300
_BALANCE_RUPIAH = 100_000_000


def standalone(callbacks: str = "") -> Config:
    """Every protocol once, each dealer named after it and a little dearer than the one before.

    `callbacks` is where a dealer calls back, with `{dealer}` in place of its name.
    """
    return Config(tuple(_dealer(name, place, callbacks) for place, name in enumerate(names())))


def sandbox() -> Dealer:
    """A dealer that sells every SKU for a rupiah: what test keys reach."""
    return Dealer(
        dealer_id="sandbox",
        protocol="digiflazz",
        credentials={
            "username": "sandbox",
            "api_key": "api_key-sandbox",
            "webhook_secret": "webhook_secret-sandbox",
        },
        prices={},
        any_price=1,
        balance_rupiah=_BALANCE_RUPIAH,
    )


def sku_of(protocol: str, brand: str, thousand: int) -> str:
    """What a dealer calls a brand's top-up of so many thousand rupiah.

    The usual code, such as S10, unless the dialect has a way of its own.
    """
    dialect = find_dialect(protocol)
    return dialect.sku_of(brand, thousand) if names_products(dialect) else f"{brand}{thousand}"


def _dealer(protocol: str, place: int, callbacks: str) -> Dealer:
    dialect = find_dialect(protocol)
    examples = getattr(dialect, "EXAMPLES", {})
    wanted = (*dialect.CREDENTIALS, *dialect.OPTIONAL_CREDENTIALS)
    margin_rupiah = _FIRST_MARGIN_RUPIAH + 25 * place
    return Dealer(
        dealer_id=protocol,
        protocol=protocol,
        credentials={name: examples.get(name, f"{name.lower()}-{protocol}") for name in wanted},
        prices={
            sku_of(protocol, brand, thousand): thousand * 1000 + margin_rupiah
            for brand in _BRANDS
            for thousand in _THOUSANDS
        },
        callback_url=callbacks.replace("{dealer}", protocol),
        balance_rupiah=_BALANCE_RUPIAH,
    )
