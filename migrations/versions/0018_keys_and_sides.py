"""What keys open, where from and how long; a side for tests. Revision 0018."""

from pathlib import Path

from alembic import op

revision = "0018"
down_revision = "0021"


def upgrade() -> None:
    """Run the SQL beside this file."""
    op.execute(Path(__file__).with_suffix(".sql").read_text())
