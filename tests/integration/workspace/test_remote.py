"""From a remote's URL to the forge, and which token it is shown."""

import subprocess
from pathlib import Path

import pytest

from fyre.errors import UserError
from fyre.workspace import remote


@pytest.mark.parametrize(
    ("url", "api", "repository", "local"),
    [
        ("http://127.0.0.1:8080/ada/lab.git", "http://127.0.0.1:8080/api", "ada/lab", True),
        ("http://localhost:1/ada/lab", "http://localhost:1/api", "ada/lab", True),
        ("http://[::1]:9/ada/lab.git", "http://[::1]:9/api", "ada/lab", True),
        ("https://github.com/ada/lab", "https://api.github.com", "ada/lab", False),
        ("git@github.com:ada/lab.git", "https://api.github.com", "ada/lab", False),
        (
            "ssh://git@ghe.example.com:2222/ada/lab.git",
            "https://ghe.example.com/api/v3",
            "ada/lab",
            False,
        ),
        (
            "https://u:p@ghe.example.com:8443/ada/lab.git/",
            "https://ghe.example.com:8443/api/v3",
            "ada/lab",
            False,
        ),
        (
            "https://localhost.evil.example/ada/lab",
            "https://localhost.evil.example/api/v3",
            "ada/lab",
            False,
        ),
    ],
)
def test_a_url_names_its_forge(url: str, api: str, repository: str, local: bool) -> None:
    found = remote.parse_remote_url("origin", url)
    assert (found.api_url, found.repository, found.is_local) == (api, repository, local)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:8471/", "OWNER/REPO is missing at the end of its address"),
        ("https://github.com", "OWNER/REPO is missing at the end of its address"),
        ("ssh://git@github.com/", "OWNER/REPO is missing at the end of its address"),
        ("http://127.0.0.1:84711/ada/lab.git", "has the port 84711, which no server can have"),
    ],
)
def test_9_36_a_mistyped_address_is_no_directory_and_no_odd_answer(url: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as refused:
        remote.parse_remote_url("bad", url)
    assert "git remote set-url bad URL" in refused.value.hint


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:18600/zz/me/project.git",
        "http://[::1]:9/project.git",
        "https://github.com/team/me/project",
        "git@github.com:me/project/tree/main",
    ],
)
def test_9_36_an_address_with_too_many_parts_is_no_other_repository(url: str) -> None:
    with pytest.raises(UserError, match="remote 'wrong' names no repository: ") as refused:
        remote.parse_remote_url("wrong", url)
    assert "git remote set-url wrong URL" in refused.value.hint


@pytest.mark.parametrize(
    ("url", "api"),
    [
        ("https://proxy.example.com/ghe/ada/lab.git", ""),
        ("http://127.0.0.1:8080/ghe/ada/lab.git", "https://ghe.example.com/api/v3"),
        ("git@localhost:srv/git/ada/lab.git", ""),
    ],
)
def test_9_36_a_path_before_the_repository_is_taken_where_a_proxy_may_be(
    url: str, api: str
) -> None:
    assert remote.parse_remote_url("origin", url, api).repository == "ada/lab"


@pytest.mark.parametrize("url", ["/srv/lab.git", "file:///srv/lab.git", "../lab", "lab"])
def test_a_directory_has_no_forge(url: str) -> None:
    with pytest.raises(UserError, match="no forge"):
        remote.parse_remote_url("origin", url)


@pytest.mark.parametrize(
    ("url", "environ", "token"),
    [
        ("https://github.com/a/b", {"GH_TOKEN": "t"}, "t"),
        ("https://github.com/a/b", {"GITHUB_TOKEN": "t"}, "t"),
        (
            "https://evil.example/a/b",
            {"GITHUB_TOKEN": "t", "GH_TOKEN": "t", "GH_ENTERPRISE_TOKEN": "t"},
            "",
        ),
        (
            "https://ghe.example/a/b",
            {"GH_HOST": "ghe.example", "GH_ENTERPRISE_TOKEN": "e", "GH_TOKEN": "t"},
            "e",
        ),
        ("http://127.0.0.1:1/a/b", {"GITHUB_TOKEN": "t"}, "local"),
        ("https://u:p@ghe.example/a/b", {}, "p"),
    ],
)
def test_a_token_goes_to_its_own_host_only(url: str, environ: dict[str, str], token: str) -> None:
    assert remote.lookup_token(remote.parse_remote_url("origin", url), environ) == token


def test_a_password_in_a_url_is_never_shown() -> None:
    assert "hunter2" not in repr(
        remote.parse_remote_url("origin", "https://ada:hunter2@ghe.example/a/b")
    )


def test_the_remote_is_the_branchs_own_else_origin(repo: Path) -> None:
    def git(*args: str) -> None:
        subprocess.run(["git", *args], cwd=repo, check=True)

    with pytest.raises(UserError, match="no remote"):
        remote.default_remote_name(repo)
    git("remote", "add", "upstream", "https://github.com/up/lab")
    assert remote.default_remote_name(repo) == "upstream"
    git("remote", "add", "origin", "https://github.com/ada/lab")
    assert remote.default_remote_name(repo) == "origin"
    git("config", "branch.main.remote", "upstream")
    assert remote.resolve_remote(repo).repository == "up/lab"
    assert remote.resolve_remote(repo, "origin").repository == "ada/lab"
    with pytest.raises(UserError, match="no remote 'nope'"):
        remote.resolve_remote(repo, "nope")
    git(
        "config", "remote.pushDefault", "origin"
    )  # as who works on a fork has it: git pushes there and fetches above
    assert remote.default_remote_name(repo) == "origin"
    git("config", "branch.main.pushRemote", "upstream")
    assert remote.default_remote_name(repo) == "upstream"
