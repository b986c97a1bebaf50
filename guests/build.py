"""Builds the shipped guests: `python guests/build.py --help`.

Only the door: it makes the checkout importable, whatever folder it was started from, and hands over to
guests/command.py.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from guests.command import main

    sys.exit(main())
