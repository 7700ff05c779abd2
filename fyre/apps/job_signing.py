"""The secret that signs a receiver's Jobs, and the Jobs without a signature that are its own.

Versions before signatures left their Jobs without one, and may come back by a rollback.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fyre.apps.derived_keys import JOB_SECRET, RELAY_SECRET
from fyre.engines.factory import EngineContext, SecretSource
from fyre.engines.kubernetes.job_signature import JobSigner
from fyre.engines.kubernetes.logs.created_jobs import CreatedJobs
from fyre.engines.kubernetes.logs.signing_mark import SigningMark
from fyre.engines.log_store import LogStore
from fyre.regular_files import read_regular

_UNSIGNED_UNTIL_FILE = "unsigned-jobs-until"


def create_signer(
    context: EngineContext,
    secret_source: SecretSource,
    state: Path,
    read_server_time: Callable[[], float],
) -> JobSigner | None:
    """Return what signs the Jobs of a receiver; None if it has no secret to sign with.

    ``read_server_time`` returns the time by the API server's clock, which dates the Jobs. To be
    called before anything else is made from the secrets.
    """
    if context.job_secret is not None:
        return JobSigner(context.job_secret) if context.job_secret else None
    if context.secret_source is None:
        unsigned_until = _read_unsigned_until(state, context.options.log_store, read_server_time)
    elif context.options.relay:
        unsigned_until = 0.0  # each Job of before has the token of its run
    else:
        # This disk may be new, and nothing in an older Job shows whose it is.
        unsigned_until = read_server_time()
    return JobSigner(
        secret_source(JOB_SECRET),
        relay_secret=secret_source(RELAY_SECRET),
        unsigned_until=unsigned_until,
        created_jobs=CreatedJobs(_open_log_store(state, context.options.log_store)),
    )


def _read_unsigned_until(
    state: Path, log_store_url: str, read_server_time: Callable[[], float]
) -> float:
    """Return when the last version that did not sign Jobs ended on this state; 0.0 for never."""
    mark = SigningMark(state / "live", _open_log_store(state, log_store_url))
    path = state / _UNSIGNED_UNTIL_FILE
    try:
        moment = float(read_regular(path)) if mark.is_present() else None
    except (OSError, ValueError):  # somebody removed it, or the disk was full
        moment = None
    if moment is None:
        has_older_state = (state / "instance").exists()
        moment = read_server_time() if has_older_state else 0.0
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.new")
        draft.write_text(str(moment), encoding="ascii")
        draft.replace(path)
    mark.leave()
    return moment


def _open_log_store(state: Path, url: str) -> LogStore:
    return LogStore(url or str(state / "logs"))
