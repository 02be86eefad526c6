"""The content of kept tables in pieces. Revision 0021."""

from pathlib import Path

from alembic import op

revision = "0021"
down_revision = "0017"


def upgrade() -> None:
    """Run the SQL beside this file."""
    op.execute(Path(__file__).with_suffix(".sql").read_text())
