"""Find behaviours by the words of the field: ``python benchmarks/stranger.py``.

For each of 30 behaviours there are the words that an engineer would search for, who knows
Kubernetes, git and GitHub but not this code, and the file that the behaviour is in. The search is
that of an editor: a word counts twice in a file's path, and once in the name of a function or class
that the file defines. A behaviour is found where its file has the highest score, with at most one
other file as good. Six of them, with their words, were written by somebody who had read nothing but
the README. Prints JSON; exits with 1 where fewer than 27 are found.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1] / "fyre"
FOUND_MIN = 27


class Behaviour(NamedTuple):
    """A behaviour, the words to search for, and the files that answer (any of them counts)."""

    what: str
    words: str
    files: str


BEHAVIOURS = [
    Behaviour("the signature of a webhook is verified", "webhook signature", "github/webhook"),
    Behaviour(
        "running out of memory is named",
        "oom killed failure reason",
        "engines/kubernetes/failure_reason",
    ),
    Behaviour(
        "a description is cut to 140 characters",
        "commit status description",
        "runs/commit_status",
    ),
    Behaviour("a 403 is retried later", "rate limit retry", "github/rate_limit"),
    Behaviour(
        "the local engine kills the process group",
        "local process group kill",
        "engines/local/processes",
    ),
    Behaviour("the log of a run is capped", "segmented log cap", "engines/segmented_log"),
    Behaviour(
        "a fork's pull request is approved",
        "comment command target fork approve",
        "controller/comments/command_target",
    ),
    Behaviour(".fyre.yaml is validated", "repo config yaml", "runs/repo_config"),
    Behaviour(
        "statuses that are still to be posted",
        "reporter pending status",
        "reporter/unposted_statuses",
    ),
    Behaviour("the main reconcile loop", "controller reconcile loop", "controller/loop"),
    Behaviour("events are retried with backoff", "retry queue", "controller/retry_queue"),
    Behaviour("missed comments are polled", "comment poll poller", "controller/comment_poller"),
    Behaviour("the plan's actions are executed", "executor execute", "controller/executor"),
    Behaviour(
        "a run stuck in pending is given up",
        "kubernetes pending monitor",
        "engines/kubernetes/pending_monitor",
    ),
    Behaviour(
        "the manifest of a Job is built",
        "kubernetes job manifest",
        "engines/kubernetes/job_manifest",
    ),
    Behaviour("a leader is elected", "leader election", "engines/kubernetes/leader_election"),
    Behaviour(
        "code is sent into a pod by exec",
        "kubernetes code delivery exec",
        "engines/kubernetes/code_delivery",
    ),
    Behaviour("the role of a person is asked for", "github permission", "github/permissions"),
    Behaviour(
        "a file with a secret is caught before a push",
        "publish check secret",
        "workspace/publish_check",
    ),
    Behaviour("fyre serve is put together", "apps serve", "apps/serve"),
    Behaviour("a mirror is fetched and evicted", "git mirror store", "git/mirror_store"),
    Behaviour(
        "Jobs and pods are cached",
        "kubernetes object cache",
        "engines/kubernetes/object_cache",
    ),
    Behaviour("conditional requests with an ETag", "etag cache", "github/etag_cache"),
    Behaviour(
        "secrets are struck out of a pod's log",
        "kubernetes log redact redaction",
        "engines/kubernetes/logs/log_redaction",
    ),
    # By somebody who had read the README alone.
    Behaviour(
        "the working tree becomes a commit on the lab branch",
        "snapshot worktree index lab",
        "workspace/snapshot workspace/lab_branch",
    ),
    Behaviour(
        "a comment is parsed into a command and its options",
        "comment command parse slash",
        "controller/comments/command_parser",
    ),
    Behaviour(
        "a pod that can't start is explained in its status",
        "pod pending diagnose reason",
        "engines/kubernetes/pending_monitor engines/kubernetes/failure_reason",
    ),
    Behaviour(
        "a run is followed, and its exit code returned",
        "watch follow tail exit",
        "client/follow cli/follow cli/commands/watch",
    ),
    Behaviour(
        "an App's installation token is signed for, kept and renewed",
        "app token jwt installation",
        "github/app_auth",
    ),
    Behaviour(
        "the configuration is resolved from option, environment, file",
        "config settings environ options",
        "apps/config apps/config_sources",
    ),
]


def main() -> int:
    """Print which behaviours are found; return 1 where there are too few."""
    index = {_module(path): _index(path) for path in sorted(ROOT.rglob("*.py"))}
    missed = {one.what: best for one in BEHAVIOURS if (best := _missed(one, index)) is not None}
    found = len(BEHAVIOURS) - len(missed)
    print(json.dumps({"behaviours": len(BEHAVIOURS), "found": found, "missed": missed}, indent=2))
    return 0 if found >= FOUND_MIN else 1


def _module(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix()


def _index(path: Path) -> tuple[set[str], set[str]]:
    """Return the words of a file's path, and those of the names that it defines."""
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    tree = ast.parse(path.read_text())
    names = " ".join(node.name for node in ast.walk(tree) if isinstance(node, defined))
    return _words(_module(path)), _words(names)


def _words(text: str) -> set[str]:
    """Split names at capitals, underscores and slashes; plurals count as their singular."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", text)
    return {re.sub("(?<=s)es$|(?<![su])s$", "", part.lower()) for part in parts}


def _missed(
    behaviour: Behaviour, index: Mapping[str, tuple[set[str], set[str]]]
) -> list[str] | None:
    """Return the files that match best if the right one is not among them, or two others are."""
    wanted = _words(behaviour.words)
    scores = {
        module: 2 * len(wanted & path) + len(wanted & names)
        for module, (path, names) in index.items()
    }
    best = [module for module in scores if scores[module] == max(scores.values())]
    right = set(behaviour.files.split())
    return None if right & set(best) and len(best) <= 2 else best


if __name__ == "__main__":
    sys.exit(main())
