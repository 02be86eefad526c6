"""Ports for servers that a test starts, ends and starts again."""

import secrets

from app.embedded.folder import is_free

# Below the range from which the system takes the near ends of outgoing connections, so that no
# connection of another test sits on a port between two starts of its server.
_PORTS = range(10000, 20000)


def free_port() -> int:
    """A port of the loopback address on which nothing listens, and no connection will sit."""
    while not is_free(port := secrets.choice(_PORTS)):
        pass
    return port
