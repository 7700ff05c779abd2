"""Run a hook: ``python -m fyre.hooks commit-msg FILE``, as pre-commit does."""

import sys

from fyre import hooks

sys.exit(hooks.run(sys.argv[1:]))
