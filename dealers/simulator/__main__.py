"""`python -m dealers.simulator`: the simulator as a process of its own."""

import argparse
from pathlib import Path

from dealers.simulator.config import read_config
from dealers.simulator.server import run


def main() -> None:
    """Read the command line and serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m dealers.simulator", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="dealers and timing, JSON")
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--state-dir", type=Path, help="keep the book here; else in memory only")
    arguments = parser.parse_args()
    run(read_config(arguments.config), arguments.port, arguments.state_dir)


if __name__ == "__main__":
    main()
