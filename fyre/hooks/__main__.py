"""``python -m fyre.hooks commit-msg FILE``: what every stub comes down to."""

import sys

from fyre import hooks

sys.exit(hooks.run(sys.argv[1:]))
