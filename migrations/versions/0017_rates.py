"""How much resellers and keys may ask, and which processes share that. Revision 0017."""

from pathlib import Path

from alembic import op

revision = "0017"
down_revision = "0020"


def upgrade() -> None:
    """Run the SQL beside this file."""
    op.execute(Path(__file__).with_suffix(".sql").read_text())
