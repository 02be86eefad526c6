"""Orders locked in one trip. Revision 0022."""

from pathlib import Path

from alembic import op

revision = "0022"
down_revision = "0018"


def upgrade() -> None:
    """Run the SQL beside this file."""
    op.execute(Path(__file__).with_suffix(".sql").read_text())
