"""Run a cluster until the process is interrupted: ``python -m tests.cluster [KUBECONFIG]``.

It prints ``ready`` when pods can run. ``kill -USR1`` (the pid is in ``KUBECONFIG.pid``) kills the
API server with KILL, and starts it again 3 seconds later.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.cluster.cluster import Cluster, missing


def main() -> int:
    """Start, link the admin's kubeconfig to where it was asked for, wait, stop."""
    lacks = missing()
    if lacks:
        print("no cluster here:", "; ".join(lacks), file=sys.stderr)
        return 1
    home = Path(tempfile.mkdtemp(prefix="fyre-cluster-"))
    cluster = Cluster(home)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # as an interrupt: whatever was started is stopped
    try:
        cluster.start()
        if len(sys.argv) > 1:
            Path(sys.argv[1]).write_text(cluster.kubeconfig.read_text())
            Path(sys.argv[1] + ".pid").write_text(str(os.getpid()))
        print(f"ready {cluster.kubeconfig}", flush=True)
        while True:
            while signal.sigtimedwait({signal.SIGUSR1}, 1) is None:
                pass  # an interrupt is noticed between two waits
            cluster.kill("kube-apiserver")
            time.sleep(3)
            cluster.start_api_server()
    except KeyboardInterrupt:
        pass
    except BaseException:
        for log in sorted((home / "logs").glob("*.log")):
            print(
                f"== {log.name}",
                *log.read_text(errors="replace").splitlines()[-15:],
                sep="\n",
                file=sys.stderr,
            )
        raise
    finally:
        cluster.stop()
        shutil.rmtree(home, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
