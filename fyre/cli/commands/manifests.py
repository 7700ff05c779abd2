"""``fyre manifests``: print the rights that Fyre needs on a cluster, for an admin to apply."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fyre.cli import engine_options
from fyre.cli.cluster_options import KubeconfigOption, KubeContextOption
from fyre.errors import UserError
from fyre.runs.policy import Policy

if TYPE_CHECKING:
    from fyre.engines.kubernetes.kubernetes_profile import KubernetesObject


def main(
    *,
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy", help="The admin's policy: its namespaces and secrets.", show_default=False
        ),
    ] = None,
    namespace: Annotated[
        list[str] | None,
        typer.Option(
            "--namespace",
            help="A namespace for Jobs; repeatable. Without it those of the policy, or default.",
            show_default=False,
        ),
    ] = None,
    service_account: Annotated[
        str,
        typer.Option(
            "--service-account", metavar="NAMESPACE/NAME", help="Who Fyre is, else fyre/fyre."
        ),
    ] = "",
    user: Annotated[
        str, typer.Option("--user", help="Who Fyre is, for a person with a kubeconfig.")
    ] = "",
    exec_mode: Annotated[
        bool,
        typer.Option(
            "--exec", help="Pods can't reach Fyre (a laptop): the code is streamed into them."
        ),
    ] = False,
    delete: Annotated[
        bool,
        typer.Option(
            "--delete",
            help="Print instead what Fyre left in the cluster (--kubeconfig, --context): Jobs, "
            "Role and RoleBinding.",
        ),
    ] = False,
    kubeconfig: KubeconfigOption = None,
    context: KubeContextOption = None,
) -> None:
    """Print a Role and a RoleBinding for each namespace, as YAML, for `| kubectl apply -f -`.

    With --delete, print what to remove when Fyre goes: `… | kubectl delete -f -`.

    With --policy, the Role lets Fyre read the secrets that profiles name, to strike them out of
    logs.
    """
    import yaml

    from fyre.engines.kubernetes import kubernetes_profile, rbac

    engine_options.reject_lonely_options(
        "--delete", is_given=delete, given={"--kubeconfig": kubeconfig, "--context": context}
    )
    run_policy = Policy() if policy is None else _load_policy(policy)
    namespaces = [
        engine_options.validate_namespace(name)
        for name in namespace or kubernetes_profile.all_namespaces(run_policy)
    ]
    if delete:
        from fyre.engines.kubernetes.api_client import KubernetesClient

        cluster = KubernetesClient(kubeconfig, context)
        leftovers = [
            manifest
            for each_namespace in namespaces
            for manifest in rbac.cleanup_manifests(cluster.list_managed_objects(each_namespace))
        ]
        print(yaml.safe_dump_all(leftovers, sort_keys=False), end="")
        return
    manifests = rbac.build_manifests(
        namespaces,
        subject=_rbac_subject(service_account, user),
        secret_names=rbac.named_secrets(run_policy),
        exec_mode=exec_mode,
    )
    print(yaml.safe_dump_all(manifests, sort_keys=False), end="")


def _load_policy(path: Path) -> Policy:
    from fyre.apps.engine_registry import profile_sections
    from fyre.runs import policy_file

    return policy_file.load_policy(path, profile_sections())


def _rbac_subject(service_account: str, user: str) -> KubernetesObject:
    from fyre.engines.kubernetes import rbac

    if service_account and user:
        raise UserError(
            "--service-account and --user exclude each other", hint="give one of them", exit_code=2
        )
    if user:
        return rbac.user_subject(user)
    account_namespace, slash, name = (service_account or "fyre/fyre").partition("/")
    if not slash or not name:
        raise UserError(
            f"{service_account!r} is not NAMESPACE/NAME",
            hint="--service-account fyre/fyre",
            exit_code=2,
        )
    return rbac.service_account_subject(engine_options.validate_namespace(account_namespace), name)
