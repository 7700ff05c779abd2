"""``python -m fyre``."""

import sys

try:
    from fyre.cli.main import run_process
except KeyboardInterrupt:
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(run_process())
