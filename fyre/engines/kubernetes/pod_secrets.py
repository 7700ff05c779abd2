"""The values of the secrets that a pod's command has in its environment."""

from __future__ import annotations

import base64
import time

from fyre.engines.kubernetes import pod_facts
from fyre.engines.kubernetes.api_client import KubernetesClient
from fyre.engines.kubernetes.api_errors import ObjectNotFound
from fyre.engines.kubernetes.pod_facts import KubeObject


class SecretLostError(Exception):
    """The values that a command began with can't be known any more."""


def read_secret_values(cluster: KubernetesClient, pod: KubeObject) -> list[bytes]:
    """Return the values of a pod's secrets as they were when its command began.

    Raises ``SecretLostError``, and ``TransientError`` where they can't be read now.
    """
    began = pod_facts.command_started_at(pod) or time.time()
    values: list[bytes] = []
    for name in pod["spec"].get(pod_facts.ENV_SECRETS_KEY, []):
        try:
            encoded_values, changed_at = cluster.get_secret(pod["metadata"]["namespace"], name)
        except ObjectNotFound as error:  # the command began with a value of it
            raise SecretLostError(
                f"secret {name} is gone, so its values can't be struck out"
            ) from error
        if changed_at > began + 1:  # whole seconds
            raise SecretLostError(
                f"secret {name} was changed meanwhile, so its values can't be struck out"
            )
        values += [base64.b64decode(value) for value in encoded_values.values()]
    return values
