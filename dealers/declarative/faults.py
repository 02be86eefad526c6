"""What is wrong in a description: every fault with its place, all told at once."""


class DescriptionRefused(Exception):
    """A description that cannot be used. `faults` are sentences that begin with their place."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class CannotRender(Exception):
    """A template that made nothing of an account's or an order's values; it names its place."""


class Faults:
    """Collects what is wrong while a description is compiled."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def wrong(self, place: str, message: str) -> None:
        """Add a fault: where it stands, and what would be right."""
        self.told.append(f"{place}: {message}")

    def done(self) -> None:
        """Raise DescriptionRefused with everything that was wrong, if there is anything."""
        if self.told:
            raise DescriptionRefused(self.told)


def listed(names: "frozenset[str] | set[str] | list[str] | tuple[str, ...]") -> str:
    """Names to choose from, for a fault."""
    return ", ".join(sorted(names)) or "none"
