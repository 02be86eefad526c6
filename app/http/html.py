"""What every page for browsers is sent with: a policy that lets it do only what it must."""

import hashlib
from base64 import b64encode


def page_headers(policy: str) -> dict[str, str]:
    """The headers of a page that may do what `policy` says and nothing else."""
    return {
        "content-security-policy": f"default-src 'none'; {policy}base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "cache-control": "no-cache",
    }


def digest(inline: str) -> str:
    """What a content security policy calls an inline script or style by."""
    return f"sha256-{b64encode(hashlib.sha256(inline.encode()).digest()).decode()}"
