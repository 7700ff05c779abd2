"""Print the commands of README's ``## Quick start``, one a line: .ci/run types them word for word."""

from __future__ import annotations

import re
from pathlib import Path


def commands() -> list[str]:
    """Return the one-line fenced commands of that section, in order."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    section = readme.partition("\n## Quick start\n")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.+)\n```$", section, re.MULTILINE)


if __name__ == "__main__":
    print("\n".join(commands()))
