"""What version 0.1 reads of what today's Fyre wrote: run with that version's package, never with this one's.

``python old_reader.py FILE`` reads a JSON object of ``jobs`` (a list), ``folders`` (paths of local runs) and
``statuses`` (GitHub's word, description), and prints what that version takes them for.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fyre.engines.kubernetes.known import Known
from fyre.engines.local.records import Folder
from fyre.run import Record

from fyre import debts, status


def shown(record: Record) -> dict[str, Any]:
    """A record as plain data, and what its note says."""
    return {
        **asdict(record),
        "note": debts.read_note(record.reported),
        "spec_digest": record.run.spec.digest,
    }


def of_job(job: dict[str, Any]) -> dict[str, Any] | None:
    """What it knows of a Job; None where it leaves it alone."""
    known = Known()
    seen = known.refresh(known.take_job(job))
    return shown(seen[1]) if seen is not None else None


def main(given: dict[str, Any]) -> dict[str, Any]:
    """All of it."""
    return {
        "jobs": [of_job(job) for job in given["jobs"]],
        "folders": [shown(Folder(Path(path)).record()) for path in given["folders"]],
        "statuses": [str(status.read_back(*pair)) for pair in given["statuses"]],
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_bytes()))))
