"""Signing: a digest or an HMAC over a template, written as the dealer wants it."""

import hashlib
import hmac
from base64 import b64encode, urlsafe_b64encode
from dataclasses import dataclass

from dealers.declarative.description import Recipe
from dealers.declarative.templates import Context, Template

_KEYED = "hmac-"


@dataclass(frozen=True, slots=True)
class Signer:
    """A recipe with its templates compiled."""

    recipe: Recipe
    over: Template
    key: Template | None

    @property
    def variables(self) -> frozenset[str]:
        """What it signs and with what."""
        return self.over.variables if self.key is None else self.over.variables | self.key.variables

    def sign(self, context: Context) -> str:
        """The signature over what the template makes. Raises CannotRender."""
        return self.sign_bytes(self.over.render(context).encode("utf-8", "replace"), context)

    def sign_bytes(self, message: bytes, context: Context) -> str:
        """The signature over a message. Raises CannotRender."""
        algorithm = self.recipe.algorithm.removeprefix(_KEYED)
        if self.key is None:
            digest = hashlib.new(algorithm, message, usedforsecurity=False).digest()
        else:
            key = self.key.render(context).encode("utf-8", "replace")
            digest = hmac.digest(key, message, algorithm)
        return self._written(digest)

    def _written(self, digest: bytes) -> str:
        if self.recipe.output == "hex":
            return digest.hex().upper() if self.recipe.upper else digest.hex()
        encode = b64encode if self.recipe.output == "base64" else urlsafe_b64encode
        text = encode(digest).decode()
        return text if self.recipe.padded else text.rstrip("=")


def is_keyed(recipe: Recipe) -> bool:
    """Whether the algorithm takes a key."""
    return recipe.algorithm.startswith(_KEYED)
