"""``fyre manifests``: YAML on stdout that names exactly who, where and what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fyre.cli import main
from fyre.engines.kubernetes import rbac

POLICY = """\
namespace: runs
namespaces: {acme/*: acme}
profiles:
  default: {secrets: [wandb], allowSecrets: [team-*]}
  gpu: {namespace: gpus}
"""


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    assert main.main(["manifests", *words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return list(yaml.safe_load_all(out))


@pytest.mark.parametrize("profile", ["{namespace: gpus}", "{kubernetes: {namespace: gpus}}"])
def test_a_policys_namespaces_and_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], profile: str
) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY.replace("{namespace: gpus}", profile))
    expected = rbac.build_manifests(
        ["runs", "acme", "gpus"],
        subject=rbac.service_account_subject("ops", "ci"),
        secret_names={"wandb"},
        exec_mode=False,
    )
    assert printed(capsys, "--policy", str(path), "--service-account", "ops/ci") == expected
    (role, _) = printed(capsys, "--policy", str(path), "--namespace", "acme")
    assert (role["metadata"]["namespace"], role["rules"][-1]["resourceNames"]) == (
        "acme",
        ["wandb"],
    )


def test_a_person_with_a_kubeconfig(capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, "--namespace", "lab", "--namespace", "lab-2", "--user", "ada", "--exec")
    assert found == rbac.build_manifests(
        ["lab", "lab-2"], subject=rbac.user_subject("ada"), secret_names=(), exec_mode=True
    )


def test_without_a_word_it_is_the_service_account_of_an_installed_fyre(
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = rbac.build_manifests(
        ["default"],
        subject=rbac.service_account_subject("fyre", "fyre"),
        secret_names=(),
        exec_mode=False,
    )
    assert printed(capsys) == expected


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--user", "ada", "--service-account", "a/b"], 2, "exclude each other"),
        (["--service-account", "fyre"], 2, "'fyre' is not NAMESPACE/NAME"),
        (["--service-account", "A B/c"], 2, "'A B' is not a namespace"),
        (["--namespace", "a: {}"], 2, "'a: {}' is not a namespace"),
        (["--policy", "none.yaml"], 1, "the policy can't be read: none.yaml"),
    ],
)
def test_bad_input_is_one_line_and_a_hint(
    words: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["manifests", *words]) == code
    out, err = capsys.readouterr()
    assert (out, says in err) == ("", True)
