"""Webhooks: endpoints that are changed, disabled and rotated, replays, and what tries brought.

Revision 0019.
"""

from pathlib import Path

from alembic import op

revision = "0019"
down_revision = "0016"


def upgrade() -> None:
    """Run the SQL beside this file."""
    op.execute(Path(__file__).with_suffix(".sql").read_text())
