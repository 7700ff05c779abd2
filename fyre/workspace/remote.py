"""From a git remote to the forge behind it: which API, which repository, which token.

A token goes to the host that it is meant for and to no other: GitHub's own variables to GitHub's own hosts, what
git's credential helpers hold to the host that git asks about, ``FYRE_TOKEN`` to the remote that the person named.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from fyre.errors import UserError
from fyre.git import git_command

if TYPE_CHECKING:
    from fyre.github.client import GitHubClient

_URL_PATTERN = re.compile(
    r"(?P<scheme>https?|ssh|git)://(?:(?P<user>[^/@:]*)(?::(?P<password>[^/@]*))?@)?(?P<host>\[[^\]]+\]|[^/:]+)"
    r"(?::(?P<port>\d+))?/(?P<path>.+?)(?:\.git)?/?"
)
_SCP_PATTERN = re.compile(
    r"(?:(?P<user>[^@/:]+)@)?(?P<host>[^/:@]+):(?!//)(?P<path>[^/].*?)(?:\.git)?/?"
)
_LOOPBACK_HOSTS = ("localhost", "[::1]")


@dataclass(frozen=True, slots=True)
class Remote:
    """A remote and its forge. ``repository`` is ``owner/repo``; ``api`` the base URL of the forge's REST API."""

    name: str
    host: str  # with the port, where one is given
    api_url: str
    repository: str
    password: str = field(default="", repr=False)

    @property
    def is_local(self) -> bool:
        """Whether the forge is on this machine."""
        return _is_loopback(self.host)

    def create_client(self) -> GitHubClient:
        """The forge, seen with this person's token."""
        from fyre.github.client import GitHubClient

        return GitHubClient(
            self.api_url, cache(lambda: lookup_token(self, os.environ))
        )  # git's credential helpers are processes


def resolve_remote(cwd: str | Path | None = None, name: str | None = None) -> Remote:
    """The remote of that name; without one the current branch's, else ``origin``, else the only one there is."""
    chosen = name or default_remote_name(cwd)
    url = git_command.git_output_or_none("remote", "get-url", "--push", chosen, cwd=cwd)
    if not url:
        raise UserError(f"there is no remote {chosen!r}", hint="git remote add origin URL")
    api = (
        os.environ.get("FYRE_API")
        or git_command.git_output_or_none("config", "--get", "fyre.api", cwd=cwd)
        or ""
    )
    return parse_remote_url(chosen, url, api)


def default_remote_name(cwd: str | Path | None = None) -> str:
    """The remote that a plain ``git push`` would use. Raises ``UserError`` when there is none."""
    branch = git_command.git_output_or_none("symbolic-ref", "--quiet", "--short", "HEAD", cwd=cwd)
    names = git_command.git_output("remote", cwd=cwd).split()
    pattern = r"^(branch\..*\.(pushremote|remote)|remote\.pushdefault)$"
    said = git_command.git_output_or_none("config", "-z", "--get-regexp", pattern, cwd=cwd) or ""
    own = dict(entry.partition("\n")[::2] for entry in said.split("\0"))
    for key in (
        f"branch.{branch}.pushremote",
        "remote.pushdefault",
        f"branch.{branch}.remote",
    ):  # git's own order
        if own.get(key) in names:
            return own[key]
    if "origin" in names:
        return "origin"
    if len(names) == 1:
        return names[0]
    if names:
        raise UserError(
            "there are several remotes and none is origin",
            hint=f"git config remote.pushDefault {names[0]}",
        )
    raise UserError("this repository has no remote", hint="git remote add origin URL")


def bypass_proxy_for_loopback() -> None:
    """Have nothing of ours, and no git, ask a proxy for this machine's own addresses: there it is another machine."""
    names = ("http_proxy", "https_proxy", "all_proxy")
    if not any(os.environ.get(name) or os.environ.get(name.upper()) for name in names):
        return
    known = {key: os.environ.get(key, "") for key in ("no_proxy", "NO_PROXY")}
    for key, other in (("no_proxy", "NO_PROXY"), ("NO_PROXY", "no_proxy")):
        given = [one.strip() for one in (known[key] or known[other]).split(",") if one.strip()]
        if "*" not in given:
            os.environ[key] = ",".join(dict.fromkeys((*given, "127.0.0.1", "localhost", "::1")))


def parse_remote_url(name: str, url: str, api: str = "") -> Remote:
    """Take a remote's URL apart; ``api`` overrides the guess. Raises ``UserError`` when no forge can be behind it."""
    match = _URL_PATTERN.fullmatch(url) or _SCP_PATTERN.fullmatch(url)
    if match is None or url.startswith(("/", ".", "file:")):
        raise UserError(
            f"remote {name!r} is a directory: there is no forge to ask",
            hint="push to a forge: `fyre up`",
        )
    parts = match.groupdict()
    path = "/".join(parts["path"].strip("/").split("/")[-2:])
    host = parts["host"].lower() + (f":{parts['port']}" if parts.get("port") else "")
    return Remote(
        name,
        host,
        (api or _guess_api_url(parts, host)).rstrip("/"),
        path,
        parts.get("password") or "",
    )


def lookup_token(remote: Remote, environ: Mapping[str, str]) -> str:
    """The token to show to that forge; "" when there is none. Never printed, never put into a URL."""
    if environ.get("FYRE_TOKEN"):
        return environ["FYRE_TOKEN"]
    if remote.password:
        return remote.password
    if remote.is_local:
        return "local"  # the embedded forge trusts this machine's users and wants a name only
    bare = remote.host.partition(":")[0]
    names = ("GH_TOKEN", "GITHUB_TOKEN") if bare == "github.com" else ()
    if bare == environ.get("GH_HOST", "").lower() and bare:
        names = ("GH_ENTERPRISE_TOKEN", "GITHUB_ENTERPRISE_TOKEN")
    return next((environ[key] for key in names if environ.get(key)), "") or _token_from_git(bare)


def _guess_api_url(parts: Mapping[str, str | None], host: str) -> str:
    if host == "github.com":
        return "https://api.github.com"
    if _is_loopback(host) and parts.get("scheme") in ("http", "https"):
        return f"{parts['scheme']}://{host}/api"
    scheme = "http" if parts.get("scheme") == "http" else "https"
    bare = host if parts.get("scheme") in ("http", "https") else host.partition(":")[0]
    return f"{scheme}://{bare}/api/v3"  # GitHub Enterprise Server


def _is_loopback(host: str) -> bool:
    bare = host if host.startswith("[") and host.endswith("]") else host.rpartition(":")[0] or host
    return bare in _LOOPBACK_HOSTS or bool(re.fullmatch(r"127\.\d+\.\d+\.\d+", bare))


def _token_from_git(host: str) -> str:
    """What git's credential helpers hold for https://host, without ever asking the person."""
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "SSH_ASKPASS": "true"}
    asked = f"protocol=https\nhost={host}\n\n".encode()
    done = git_command.run_git("credential", "fill", stdin=asked, env=quiet, check=False)
    fields = dict(
        line.partition("=")[::2] for line in done.stdout.decode(errors="replace").splitlines()
    )
    return fields.get("password", "")
