"""`make matrix`: the matrix run alone, and its page written anew; ends with one JSON object."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.matrix import test_matrix


def main() -> int:
    """Run it; the exit status is pytest's."""
    os.environ[test_matrix.REWRITE] = "yes"
    status = pytest.main(["-q", "-n", "0", str(Path(test_matrix.__file__))])
    summary = test_matrix.SUMMARY | {"page": "docs/dealer-matrix.md", "met": status == 0}
    print(json.dumps(summary))
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
