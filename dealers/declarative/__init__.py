"""A dealer described by data: the parts behind the protocol `declarative`."""
