"""Find the forge behind a git remote: its API, the repository and the person's token.

A token is sent only to the host that it is meant for: GitHub's own variables to GitHub's own hosts,
the password of git's credential helpers to the host that git asks about, ``FYRE_TOKEN`` to the
remote that the person named.
"""

from __future__ import annotations

import os
import re
import shlex
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fyre.errors import TransientError, UserError
from fyre.git import git_command

if TYPE_CHECKING:
    from fyre.github.client import GitHubClient

_URL_PATTERN = re.compile(
    r"(?P<scheme>https?|ssh|git)://(?:(?P<user>[^/@:]*)(?::(?P<password>[^/@]*))?@)?"
    r"(?P<host>\[[^\]]+\]|[^/:]+)"
    r"(?::(?P<port>\d+))?/(?P<path>.+?)(?:\.git)?/?"
)
_SCP_PATTERN = re.compile(
    r"(?:(?P<user>[^@/:]+)@)?(?P<host>[^/:@]+):(?!//)(?P<path>[^/].*?)(?:\.git)?/?"
)
_HOST_ALONE = re.compile(r"(https?|ssh|git)://[^/]+/*")
_PORT_MAX = 65535
_LOCAL_TOKEN = "local"  # noqa: S105 - no secret
"""The token for a forge on this machine, which knows the user by the connection."""

NO_QUESTIONS = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "true",
    "SSH_ASKPASS": "true",
    "SSH_ASKPASS_REQUIRE": "force",  # ssh would ask at the terminal
}
"""Variables with which neither git nor ssh asks the person for a password."""

REACH_TIMEOUT = 20.0  # seconds after which a remote counts as unreachable
WANTS_PASSWORD = re.compile(
    r"Authentication failed|could not read (Username|Password)|terminal prompts disabled"
    r"|Permission denied",
    re.IGNORECASE,
)

_NO_SERVER = re.compile(r"Could not resolve|(Failed to|Couldn't) connect|Connection refused")

_LOOPBACK_HOSTS = ("localhost", "[::1]")
_NAME_PARTS = 2
"""Parts of a repository's name. Elsewhere more may stand before it: a path of a proxy."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A git remote and the forge behind it.

    ``repository`` is ``owner/repo``; ``api_url`` is the base URL of the forge's REST API.
    """

    name: str
    host: str  # with the port, where one is given
    api_url: str
    repository: str
    password: str = field(default="", repr=False)
    web_address: str = ""  # SCHEME://HOST[:PORT], as git asks its credential helpers

    @property
    def is_local(self) -> bool:
        """Return True if the forge is on this machine."""
        return _is_loopback(self.host)

    def create_client(self) -> GitHubClient:
        """Return a client of the forge that uses this person's token."""
        from fyre.github.client import GitHubClient

        token = _PersonalToken(self)
        return GitHubClient(self.api_url, token.value, renew=token.ask_git)


class _PersonalToken:
    """A person's token, which is looked up once: git's credential helpers are processes."""

    def __init__(self, remote: Remote) -> None:
        self._remote, self._lock = remote, threading.Lock()
        self._value: str | None = None

    def value(self) -> str:
        """Return the token; "" if there is none."""
        with self._lock:
            if self._value is None:
                self._value = lookup_token(self._remote, os.environ)
            return self._value

    def ask_git(self, refused: str) -> bool:
        """Use the password of git's credential helpers; return False if there is no other token.

        They are asked for a forge on this machine only once it refuses, since it seldom does.
        """
        with self._lock:
            if refused == self._value == _LOCAL_TOKEN:
                self._value = _token_from_git(self._remote) or refused
            return self._value != refused


def resolve_remote(cwd: str | Path | None = None, name: str | None = None) -> Remote:
    """Return the remote of that name, else the one that a plain ``git push`` would use.

    Raises ``UserError`` if there is no such remote, or no forge behind it.
    """
    remote_name = name or default_remote_name(cwd)
    url = git_command.git_output_or_none("remote", "get-url", "--push", remote_name, cwd=cwd)
    if not url:
        raise missing_remote_error(remote_name, cwd)
    api = (
        os.environ.get("FYRE_API")
        or git_command.git_output_or_none("config", "--get", "fyre.api", cwd=cwd)
        or ""
    )
    return parse_remote_url(remote_name, url, api)


def missing_remote_error(name: str, cwd: str | Path | None = None) -> UserError:
    """Return the error for a remote that this clone does not have; it names those it has."""
    names = git_command.git_output("remote", cwd=cwd).split()
    known = f"the remotes are: {', '.join(names)}; " if names else ""
    return UserError(f"there is no remote {name!r}", hint=f"{known}git remote add {name} URL")


def default_remote_name(cwd: str | Path | None = None) -> str:
    """Return the name of the remote that a plain ``git push`` would use.

    It is the current branch's remote, else ``origin``, else the only remote there is.

    Raises ``UserError`` if there is none.
    """
    branch = git_command.git_output_or_none("symbolic-ref", "--quiet", "--short", "HEAD", cwd=cwd)
    names = git_command.git_output("remote", cwd=cwd).split()
    pattern = r"^(branch\..*\.(pushremote|remote)|remote\.pushdefault)$"
    config_output = (
        git_command.git_output_or_none("config", "-z", "--get-regexp", pattern, cwd=cwd) or ""
    )
    config = dict(entry.partition("\n")[::2] for entry in config_output.split("\0"))
    # git looks at them in this order as well
    for key in (
        f"branch.{branch}.pushremote",
        "remote.pushdefault",
        f"branch.{branch}.remote",
    ):
        if config.get(key) in names:
            return config[key]
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


def option_for(remote_name: str, cwd: str | Path | None = None) -> str:
    """Return `` --remote NAME`` for a hint; "" for the remote that a verb asks without it."""
    try:
        is_default = remote_name == default_remote_name(cwd)
    except git_command.GitError:  # not in a clone
        is_default = True
    except UserError:
        is_default = False
    return "" if is_default else f" --remote {shlex.quote(remote_name)}"


def why_unreachable(name: str, cwd: str | Path | None = None) -> str:
    """Return git's reason why it can't read a remote; "" if it can, or if it wants a password.

    While it can't be reached, to push again does not help. Nobody is asked for anything.
    """
    try:
        git_command.run_git(
            "ls-remote", "--quiet", name, "HEAD", cwd=cwd, env=NO_QUESTIONS, timeout=REACH_TIMEOUT
        )
    except TransientError as error:
        return str(error)
    except git_command.GitError as error:
        reason = error.message.partition(": ")[2].removeprefix("fatal: ")
        return "" if WANTS_PASSWORD.search(reason) else reason
    return ""


def reject_missing_server(name: str, cwd: str | Path | None = None) -> None:
    """Raise ``UserError`` if nothing answers at a remote's address.

    A server that answers passes, also where it does not have the repository yet.
    """
    reason = why_unreachable(name, cwd)
    if _NO_SERVER.search(reason):
        raise UserError(
            f"{name} can't be reached: {reason}",
            hint=f"is the server running, and is that the right address? git remote get-url {name}",
        )


def bypass_proxy_for_loopback() -> None:
    """Set ``no_proxy`` so that neither Fyre nor git uses a proxy for this machine's own addresses.

    For the proxy, ``localhost`` would be another machine.
    """
    names = ("http_proxy", "https_proxy", "all_proxy")
    if not any(os.environ.get(name) or os.environ.get(name.upper()) for name in names):
        return
    values = {key: os.environ.get(key, "") for key in ("no_proxy", "NO_PROXY")}
    for key, other_key in (("no_proxy", "NO_PROXY"), ("NO_PROXY", "no_proxy")):
        hosts = [
            host.strip() for host in (values[key] or values[other_key]).split(",") if host.strip()
        ]
        if "*" not in hosts:
            os.environ[key] = ",".join(dict.fromkeys((*hosts, "127.0.0.1", "localhost", "::1")))


def parse_remote_url(name: str, url: str, api: str = "") -> Remote:
    """Parse a remote's URL; ``api``, if given, is used in place of the guessed API URL.

    Raises ``UserError`` if no forge can be behind the URL.
    """
    match = _URL_PATTERN.fullmatch(url) or _SCP_PATTERN.fullmatch(url)
    if _HOST_ALONE.fullmatch(url):
        raise UserError(
            f"remote {name!r} names no repository: OWNER/REPO is missing at the end of its address",
            hint=_set_url_hint(name),
        )
    if match is None or url.startswith(("/", ".", "file:")):
        raise UserError(
            f"remote {name!r} is a directory: there is no forge to ask",
            hint="start one with `fyre up`, then "
            f"git remote set-url {name} http://127.0.0.1:8020/OWNER/REPO.git",
        )
    parts = match.groupdict()
    names = parts["path"].strip("/").split("/")
    host = parts["host"].lower() + (f":{parts['port']}" if parts.get("port") else "")
    port = parts.get("port") or "1"
    if len(port) > len(str(_PORT_MAX)) or not 0 < int(port) <= _PORT_MAX:
        raise UserError(
            f"remote {name!r} has the port {port[:20]}, which no server can have",
            hint=f"ports go from 1 to {_PORT_MAX}; git remote set-url {name} URL",
        )
    is_web = parts.get("scheme") in ("http", "https")
    if not api and len(names) != _NAME_PARTS and (host == "github.com" or _is_served_here(parts)):
        raise UserError(
            f"remote {name!r} names no repository: after {host}/ its address has "
            f"{'/'.join(names)}, where OWNER/REPO is meant",
            hint=_set_url_hint(name),
        )
    return Remote(
        name,
        host,
        (api or _guess_api_url(parts, host)).rstrip("/"),
        "/".join(names[-_NAME_PARTS:]),
        parts.get("password") or "",
        f"{parts['scheme']}://{host}" if is_web else f"https://{_without_port(host)}",
    )


def _set_url_hint(name: str) -> str:
    return f"git remote set-url {name} URL, where URL ends with OWNER/REPO.git"


def lookup_token(remote: Remote, environ: Mapping[str, str]) -> str:
    """Return the token for that forge; "" if there is none.

    It is never printed and never put into a URL.
    """
    if environ.get("FYRE_TOKEN"):
        return environ["FYRE_TOKEN"]
    if remote.password:
        return remote.password
    if remote.is_local:
        return _LOCAL_TOKEN
    host_name = remote.host.partition(":")[0]
    names = ("GH_TOKEN", "GITHUB_TOKEN") if host_name == "github.com" else ()
    if host_name == environ.get("GH_HOST", "").lower() and host_name:
        names = ("GH_ENTERPRISE_TOKEN", "GITHUB_ENTERPRISE_TOKEN")
    return next((environ[key] for key in names if environ.get(key)), "") or _token_from_git(remote)


def _guess_api_url(parts: Mapping[str, str | None], host: str) -> str:
    if host == "github.com":
        return "https://api.github.com"
    if _is_served_here(parts):
        return f"{parts['scheme']}://{host}/api"
    scheme = "http" if parts.get("scheme") == "http" else "https"
    host_name = host if parts.get("scheme") in ("http", "https") else host.partition(":")[0]
    return f"{scheme}://{host_name}/api/v3"  # GitHub Enterprise Server


def _is_served_here(parts: Mapping[str, str | None]) -> bool:
    """Return True for an address of this machine that ``fyre up`` may answer at."""
    return _is_loopback(parts["host"] or "") and parts.get("scheme") in ("http", "https")


def _is_loopback(host: str) -> bool:
    host_name = _without_port(host)
    return host_name in _LOOPBACK_HOSTS or bool(re.fullmatch(r"127\.\d+\.\d+\.\d+", host_name))


def _without_port(host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        return host
    return host.rpartition(":")[0] or host


def _token_from_git(remote: Remote) -> str:
    """Return the password of git's credential helpers for that forge; never ask the person."""
    scheme, _, host = remote.web_address.partition("://")
    query = f"protocol={scheme}\nhost={host}\n\n".encode()
    answer = git_command.run_git("credential", "fill", stdin=query, env=NO_QUESTIONS, check=False)
    fields = dict(
        line.partition("=")[::2] for line in answer.stdout.decode(errors="replace").splitlines()
    )
    return fields.get("password", "")
