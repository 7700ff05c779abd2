"""``python -m fyre``."""

import sys

from fyre.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
