"""The container that uploads outputs, as a part of a Job's pod. Pure but for its own program.

It is a native sidecar: it begins before the command, and is told to end when the command's
container has ended, with what is left of the pod's grace. Its image needs Python 3.11, and nothing
of Fyre: the program comes with the Job, so receiver and agent are always of one version.
"""

from __future__ import annotations

import ast
import base64
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from fyre.engines.kubernetes import job_labels
from fyre.engines.kubernetes.container_parts import env_entries, own_resources, restricted_security
from fyre.engines.kubernetes.outputs import upload_agent
from fyre.engines.kubernetes.pod_facts import KubeObject

_MODULES = (
    ("fyre", "regular_files.py"),
    ("fyre.artifacts", "link_lines.py"),
    ("fyre.artifacts", "output_files.py"),
    ("fyre.artifacts", "output_paths.py"),
    ("fyre.message", "output_notation.py"),
    ("fyre.message", "value_parsers.py"),
    ("fyre.engines.kubernetes.outputs", "upload_agent.py"),
)
"""The modules of the agent; each loads the standard library only."""

_START = (
    "import base64, os, sys, tempfile; "
    "file = tempfile.NamedTemporaryFile(suffix='.zip'); "
    "file.write(base64.b64decode(os.environ.pop('FYRE_PROGRAM'))); file.flush(); "
    "sys.path.insert(0, file.name); "
    "from fyre.engines.kubernetes.outputs import upload_agent; "
    "upload_agent.main(os.environ)"
)

_SPARE_SECONDS = 5
"""Seconds between the moment at which the agent gives up, and its end."""

OUTPUTS_DIR, RESULTS_DIR = "/fyre/outputs", "/fyre/results"
"""The directories for outputs, and for metrics and links: volumes of their own."""

RESULT_VARIABLES = {
    "FYRE_OUTPUTS": OUTPUTS_DIR,
    "FYRE_METRICS": f"{RESULTS_DIR}/metrics.jsonl",
    "FYRE_LINK": f"{RESULTS_DIR}/links.txt",
}
"""By variable of the command: the directory or file that it names."""

_PID_FILE = f"{RESULTS_DIR}/.pid"

_REQUESTS = {"cpu": "10m", "memory": "128Mi"}  # memory as the checkout

_VARIABLE_MAX = 64 * 1024

VOLUMES = ("fyre-outputs", "fyre-results")

VOLUME_MOUNTS: tuple[KubeObject, ...] = (
    {"name": "fyre-outputs", "mountPath": OUTPUTS_DIR},
    {"name": "fyre-results", "mountPath": RESULTS_DIR},
)


@dataclass(frozen=True, slots=True)
class UploadTarget:
    """The address that a run's pods upload to, and the image that does it."""

    image: str
    url: str  # of all uploads of the run: the pod's uid comes after it
    token: str


def termination_grace(command_grace: int, upload_seconds: int) -> int:
    """Return the seconds that the pod has to end in: the command's, then those of the upload."""
    return command_grace + upload_seconds + _SPARE_SECONDS


def command_variables() -> dict[str, str]:
    """Return what the command's container is told: where results go, and where its process is."""
    return {**RESULT_VARIABLES, "FYRE_PID_FILE": _PID_FILE}


def build_container(
    target: UploadTarget,
    declared: tuple[str, ...],
    upload_seconds: int,
    command_limits: Mapping[str, str],
) -> KubeObject:
    """Return the sidecar of a run that declared these outputs."""
    variables = {
        **RESULT_VARIABLES,
        "FYRE_TOP": job_labels.WORK_DIR,
        **_declared_variables(declared),
        "FYRE_PID_FILE": _PID_FILE,
        "FYRE_UPLOAD_URL": target.url,
        "FYRE_UPLOAD_TOKEN": target.token,
        "FYRE_UPLOAD_SECONDS": str(upload_seconds),
        "FYRE_PROGRAM": pack_program(),
        "HOME": "/tmp",  # noqa: S108 - a volume of its own
    }
    pod_uid = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}}
    return {
        "name": job_labels.UPLOAD_CONTAINER,
        "image": target.image,
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",  # so it is a sidecar
        "command": agent_command(),
        "env": [
            {"name": "FYRE_POD", "valueFrom": pod_uid},
            *env_entries(variables.items()),
        ],
        "resources": own_resources(_REQUESTS, command_limits),
        # Its last words are in a file, unless it could not even be started.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": restricted_security() | {"readOnlyRootFilesystem": True},
        "volumeMounts": [
            {"name": "fyre-work", "mountPath": job_labels.WORK_DIR, "readOnly": True},
            *({**mount, "readOnly": True} for mount in VOLUME_MOUNTS),
            {"name": "fyre-checkout", "mountPath": "/tmp"},  # noqa: S108 - a volume of its own
        ],
    }


def agent_command() -> list[str]:
    """Return the command; the kubelet may tell it to end before Python is there."""
    return ["sh", "-c", "trap '' TERM; exec python3 -I -B -c \"$0\"", _START]


def _declared_variables(declared: tuple[str, ...]) -> dict[str, str]:
    """Return variables with the declared outputs: Linux takes 128 KiB of each (MAX_ARG_STRLEN)."""
    lines, variables = list(declared), dict[str, str]()
    while lines:
        size, count = 0, 0
        while count < len(lines) and size + len(lines[count].encode()) < _VARIABLE_MAX:
            size += len(lines[count].encode()) + 1
            count += 1
        variables[f"{upload_agent.DECLARED}{len(variables)}"] = "\n".join(lines[: max(count, 1)])
        del lines[: max(count, 1)]
    return variables


@cache
def pack_program() -> str:
    """Return the agent's modules, zipped, in base64."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for package in _packages():
            _add(archive, f"{package.replace('.', '/')}/__init__.py", "")
        for package, name in _MODULES:
            text = (resources.files(package) / name).read_text(encoding="utf-8")
            _add(archive, f"{package.replace('.', '/')}/{name}", _without_docstrings(text))
    return base64.b64encode(packed.getvalue()).decode()


def _without_docstrings(source: str) -> str:
    """Return the same program without what only people read: it is a part of every Job."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [one for one in body if not _is_text(one)]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.unparse(tree)


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _packages() -> list[str]:
    """Return the packages of all modules, and those that these are in."""
    parts = [package.split(".") for package, _ in _MODULES]
    names = {".".join(part[:count]) for part in parts for count in range(1, len(part) + 1)}
    return sorted(names)


def _add(archive: zipfile.ZipFile, name: str, text: str) -> None:
    """Add a file, with the same bytes each time."""
    archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
