"""Write the reference pages of the documentation from the code and its schemas.

``python docs/site/generate.py`` writes them, with ``--check`` it only compares: 1 where a page is
not what the code says. No page under ``docs/reference`` is written by hand, nor is the policy's
published schema, which has the sections of the engines' packages in it.
"""

from __future__ import annotations

import copy
import json
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import typer
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from fyre.apps import config as serve_config
from fyre.apps import engine_registry
from fyre.apps.config_secrets import SECRET_VARIABLES
from fyre.apps.config_sources import option_name, variable_name
from fyre.cli import main as cli
from fyre.cli.commands import commit
from fyre.controller.comments.handler import COMMANDS, MAY_WRITE
from fyre.engines.environment import TRY_VARIABLE, run_environment
from fyre.engines.kubernetes import job_labels, leader_election
from fyre.engines.local.capabilities import LOCAL_CAPABILITIES
from fyre.message import request
from fyre.message.spec import RunSpec
from fyre.runs import commit_status, profile_file, repo_config
from fyre.runs.run import Repository, Run, RunRecord
from fyre.runs.state import RunState, to_github_state
from fyre.server.metrics import COUNTED_EVENTS, Metrics, StateCollector

REFERENCE = Path(__file__).parents[1] / "reference"
POLICY_SCHEMA = Path(__file__).parents[2] / "fyre/schemas/policy.schema.json"
NOTICE = "<!-- Written by docs/site/generate.py from the code: do not edit this page by hand. -->"

TRAILERS = {
    "Fyre-Run": ("COMMAND", "Start a run. The value goes to `sh -c` exactly as it is written."),
    "Fyre-Name": (
        "NAME",
        (
            "The run's name. Its status is `fyre/NAME`; without a name it is `fyre/run`, then "
            "`fyre/run-2` and so on. Letters, digits, `.`, `_` and `-`, at most 63."
        ),
    ),
    "Fyre-Profile": ("NAME", "One of the profiles of the admin's policy. Kubernetes only."),
    "Fyre-Image": ("IMAGE", "The container image. Kubernetes only."),
    "Fyre-Resources": (
        "cpu=4 memory=16Gi nvidia.com/gpu=1",
        "Resources, as Kubernetes spells them. Kubernetes only.",
    ),
    "Fyre-Timeout": (
        "2h",
        (
            "The longest time that each start of the command may take: `90s`, `30m`, "
            "`1h30m`, `2d`; at most `365d`."
        ),
    ),
    "Fyre-Retries": ("N", "How often a failed command is started again: 0 to 20."),
    "Fyre-Env": ("K=V", "An environment variable. May be given several times."),
    "Fyre-Secret": (
        "NAME",
        (
            "A Kubernetes Secret whose keys become environment variables. May be given several "
            "times. Kubernetes only."
        ),
    ),
    "Fyre-Workdir": ("DIR", "The directory of the checkout in which the command starts."),
    "Fyre-Output": (
        "PATH",
        (
            "Files of the checkout that are kept when the command has ended: `model.pt`, `ckpt/` "
            "with all that is in it, `plots/*.png`. Without one of them the run fails; "
            "`?model.pt` need not be there. May be given several times."
        ),
    ),
    "Fyre-Note": ("TEXT", "A note on the run, which `fyre log` shows. It changes nothing else."),
    "Fyre-Id": ("ULID", "Written by Fyre: identifies one request. Never write it yourself."),
    "Fyre-From": (
        "SHA",
        "Written by `fyre run`: the commit that the snapshot of your working tree stands on.",
    ),
}
"""Each trailer: what its value looks like, and what it means."""

OBJECT_NAMES = {
    job_labels.MANAGED_SELECTOR.partition("=")[0]: (
        "label",
        "Job, pod",
        f"always `{job_labels.MANAGED_SELECTOR.partition('=')[2]}`",
    ),
    job_labels.INSTANCE_LABEL: (
        "label",
        "Job, pod",
        "the installation that the run belongs to: `fyre-` and eight hexadecimal digits",
    ),
    job_labels.KEY_LABEL: ("label", "Job, pod", "the key of the run"),
    job_labels.RUN_ANNOTATION: ("annotation", "Job", "the run as JSON"),
    job_labels.SIGNATURE_ANNOTATION: (
        "annotation",
        "Job",
        "the proof that this installation created the Job: any other one is left alone",
    ),
    job_labels.OUTCOME_ANNOTATION: (
        "annotation",
        "Job",
        "the outcome as JSON; written once the log is kept, because pods may be gone by then",
    ),
    job_labels.REPORTED_ANNOTATION: (
        "annotation",
        "Job",
        "the state that was last posted on each SHA, as JSON",
    ),
    job_labels.CARRIED_ANNOTATION: (
        "annotation",
        "Job",
        "the SHAs that reuse this run's outcome",
    ),
    job_labels.SETTLED_ANNOTATION: (
        "annotation",
        "Job",
        "the final status was posted; once the log is kept as well, the Job may be deleted",
    ),
    job_labels.CANCELLED_BY_ANNOTATION: ("annotation", "Job", "who cancelled the run"),
    job_labels.GIVEN_UP_ANNOTATION: ("annotation", "Job", "why Fyre itself ended the run"),
    job_labels.UPLOAD_ANNOTATION: (
        "annotation",
        "Job",
        "the seconds that an upload of outputs may take, on a Job whose pods upload",
    ),
    job_labels.HELD_ANNOTATION: (
        "annotation",
        "Job",
        "the run is held until Fyre releases it; the reason, which may be empty",
    ),
    job_labels.QUEUE_ANNOTATION: (
        "annotation",
        "Job",
        "the Kueue queue that a held run goes to when it is released",
    ),
    job_labels.RELEASED_AT_ANNOTATION: (
        "annotation",
        "Job",
        "when a run that was held was released: its time in the queue begins then",
    ),
    job_labels.KUEUE_QUEUE_LABEL: (
        "label",
        "Job",
        "Kueue's own: the queue of the run's profile; a held run has it from its release on",
    ),
    job_labels.FAILURE_COUNT_ANNOTATION: (
        "annotation",
        "Pod",
        "Kubernetes' own, where a run has retries: how many pods failed before it, for `FYRE_TRY`",
    ),
    leader_election.INSTANCE_ANNOTATION: (
        "annotation",
        "Lease",
        "the installation whose runs the leader looks after",
    ),
}
"""Every label and annotation: what it is, on which object, and what it holds."""

ENVIRONMENT = {
    "CI": "always `true`",
    "FYRE_SHA": "the commit that is checked out",
    "FYRE_REF": "the full name of the branch, such as `refs/heads/main`",
    "FYRE_REPOSITORY": "`OWNER/NAME`",
    "FYRE_RUN": "the run's name",
    "FYRE_KEY": "the run's key: the same text identifies its Job and its log",
    "FYRE_ID": "the commit's Fyre-Id, empty where it has none",
    "FYRE_ATTEMPT": "1, and one more for each rerun",
    "FYRE_TRY": "1, and one more after each failure that counts against `Fyre-Retries`",
    "GIT_TERMINAL_PROMPT": "always `0`: git never waits for a password",
    "PYTHONUNBUFFERED": "always `1`: output appears in the log at once",
}
"""Every variable that a command finds."""

EXIT_CODES = (
    ("0", "Success."),
    ("1", "An error that you can fix. The hint says how."),
    ("2", "Wrong usage: an unknown verb, option or value."),
    ("3", "A bug in Fyre. A report to paste into an issue is written."),
    ("14", "`fyre serve` only: a leader that could not renew its Lease was ended by its alarm."),
    ("130", "Interrupted with Ctrl-C."),
    ("141", "The reader of the output went away, as the shell reports SIGPIPE."),
)

STATE_TEXTS = {
    RunState.WAITING: "It is held: it starts when it is released, not before. A reason may follow.",
    RunState.QUEUED: "It waits for its turn. A reason may follow.",
    RunState.STARTING: "Its code is being checked out, or its image pulled.",
    RunState.RUNNING: "The command runs.",
    RunState.UPLOADING: "The command has ended, and its outputs are being stored.",
    RunState.SUCCEEDED: "The command ended with code 0.",
    RunState.FAILED: "The command ended with another code, a signal, or a timeout.",
    RunState.ERROR: "The command's own outcome is not known: no checkout, failed setup, lost.",
    RunState.CANCELLED: "Somebody cancelled it.",
    RunState.REFUSED: "The policy does not allow it. The last part says what would help.",
    RunState.CARRIED: "The outcome is that of a run on another commit with the same tree.",
    RunState.MOVED: "On the context `fyre/moved`: the trailer was launched on other code.",
}

REASONS = {
    RunState.WAITING: "needs prep",
    RunState.QUEUED: "unschedulable: 0/8 nodes are available",
    RunState.STARTING: "",
    RunState.RUNNING: "",
    RunState.UPLOADING: "",
    RunState.ERROR: "setup failed: exit 1: uv sync",
    RunState.REFUSED: "main may not launch · push it to one that may",
}


def main(argv: Sequence[str]) -> int:
    """Write the pages, or compare them with ``--check``; return the exit code."""
    wrong = []
    schema = json.dumps(build_policy_schema(), indent=2, ensure_ascii=False) + "\n"
    for path, page in [
        (POLICY_SCHEMA, schema),
        *((REFERENCE / name, page) for name, page in build_pages().items()),
    ]:
        current = path.read_text(encoding="utf-8") if path.exists() else ""
        if current != page and "--check" in argv:
            wrong.append(path.name)
        elif current != page:
            path.write_text(page, encoding="utf-8")
    if wrong:
        print(f"not what the code says: {', '.join(wrong)}; run docs/site/generate.py")
    return 1 if wrong else 0


def build_policy_schema() -> dict[str, Any]:
    """Return the published schema of the policy: the common one, with the sections of engines.

    An editor takes the section of another engine as it is, and shows a key of the flat section at
    a profile's top as one that is better written in its section.
    """
    schema = copy.deepcopy(profile_file.common_schema())
    profile = schema["$defs"]["profile"]
    for engine in engine_registry.BUILTIN_ENGINES:
        section = engine_registry.profile_sections()[engine]()
        if section is None:
            continue
        place = f"#/$defs/{engine}Section"
        schema["$defs"][f"{engine}Section"] = _move_references(section.closed_schema, place)
        profile["properties"][engine] = {"$ref": place}
        if engine == profile_file.FLAT_SECTION:
            profile["properties"] |= {
                key: {"$ref": f"{place}/properties/{key}", "deprecated": True}
                for key in section.keys
            }
    profile["additionalProperties"] = {
        "description": "The section of another engine: its keys are in that engine's own pages.",
        "type": "object",
    }
    return schema


def _move_references(schema: Any, place: str) -> Any:  # noqa: ANN401 - a piece of JSON
    """Return a schema as it is at a place of another: without its own ``$schema``."""
    if isinstance(schema, list):
        return [_move_references(one, place) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: place + value.removeprefix("#") if key == "$ref" else _move_references(value, place)
        for key, value in schema.items()
        if key != "$schema"
    }


def build_pages() -> dict[str, str]:
    """Return every reference page by its file name."""
    pages = {
        "trailers.md": trailers_page(),
        "fyre-yaml.md": schema_page(
            ".fyre.yaml",
            "A repository's defaults for its own runs. Fyre reads the file from the commit that "
            "runs. A trailer of the commit overrides it; the admin's policy limits both.",
            repo_config.repo_config_schema(),
        ),
        "policy.md": schema_page(
            "Policy",
            "The policy file says who may launch, how much, and on what. The command line takes "
            "it as `--policy FILE`. An example with every key is `deploy/policy.example.yaml`. "
            "The keys of `profiles.NAME.kubernetes` may also stand one level higher, beside "
            "`image`, as in older files. Engines of other packages have sections of their own.",
            build_policy_schema(),
        ),
        "serve.md": serve_page(),
        "verbs.md": verbs_page(),
        "comments.md": comments_page(),
        "metrics.md": metrics_page(),
        "kubernetes-names.md": names_page(),
        "statuses.md": statuses_page(),
    }
    return {name: "\n".join([NOTICE, "", *lines, ""]) for name, lines in pages.items()}


def _fields_ignored_locally() -> set[str]:
    """Return what the local engine ignores of a spec, as the trailers name it, in lower case."""
    everything = RunSpec(
        "make", profile="gpu", image="ruby", resources=(("cpu", "1"),), secrets=("key",)
    )
    ignored = LOCAL_CAPABILITIES.unsupported_fields(everything)
    return {{"secrets": "secret"}.get(name, name) for name in ignored}


def trailers_page() -> list[str]:
    """Return the lines of the page of trailers."""
    _same_names("trailers", TRAILERS, request.TRAILER_KEYS)
    options = {key: option for option, key in request.OPTION_TRAILERS.items()}
    ignored = _fields_ignored_locally()
    rows = [
        (
            f"`{key}: {value}`",
            meaning,
            f"`{options[key]}`" if key in options else "`--run`" if key == "Fyre-Run" else "",
            "no" if key.removeprefix("Fyre-").lower() in ignored else "yes",
        )
        for key, (value, meaning) in TRAILERS.items()
    ]
    return [
        "# Trailers",
        "",
        "A trailer is a `Key: value` line in the last paragraph of a commit message. Each",
        "`Fyre-Run` starts one run. The trailers below it refine that run, up to the next",
        "`Fyre-Run`. `Fyre-Id` and `Fyre-From` belong to the whole commit. Keys ignore case.",
        "",
        *_table(("Trailer", "Meaning", "Option", "Local engine"), rows),
        "",
        "*Option* is the option of `fyre commit`, `fyre run` and `/fyre run` that writes it.",
        "*Local engine* says whether the engine on this machine can do it; where it cannot, the",
        "run goes on and its status says `not honoured here`.",
        "",
        "## Limits",
        "",
        *_table(
            ("Limit", "Value"),
            [
                ("characters in a message that asks for runs", f"{request.MESSAGE_MAX:,}"),
                ("runs in one message", f"{request.RUNS_MAX:,}"),
                ("problems that are listed", f"{request.PROBLEMS_MAX:,}"),
                ("bytes in one command", "102,400"),
            ],
        ),
        "",
        "## Reserved",
        "",
        "These keys are reserved for later versions and refused until then:",
        ", ".join(f"`{key.title()}`" for key in sorted(request._RESERVED_KEYS)) + ".",  # noqa: SLF001
        "",
        "## The command's environment",
        "",
        *_table(("Variable", "Value"), _environment_rows()),
    ]


def _environment_rows() -> list[tuple[str, str]]:
    _same_names("environment", ENVIRONMENT, [*run_environment(_example_run()), TRY_VARIABLE])
    return [(f"`{name}`", text) for name, text in ENVIRONMENT.items()]


def schema_page(title: str, intro: str, schema: dict[str, Any]) -> list[str]:
    """Return the lines of a page with every key of a JSON schema, however deep."""
    rows = list(_schema_rows(schema, schema, ""))
    lines = textwrap.wrap(intro, 96)
    return [f"# {title}", "", *lines, "", *_table(("Key", "Type", "Meaning"), rows)]


def _schema_rows(
    schema: dict[str, Any], root: dict[str, Any], prefix: str
) -> Iterator[tuple[str, str, str]]:
    for key, given in schema.get("properties", {}).items():
        if given.get("deprecated"):  # listed where it belongs
            continue
        one = _resolve(given, root)
        path = f"{prefix}{key}"
        yield f"`{path}`", _type_of(one), _cell(one.get("description", ""))
        yield from _schema_rows(one, root, f"{path}.")
        items = _resolve(one.get("items", {}), root)
        yield from _schema_rows(items, root, f"{path}[].")
        by_name = one.get("additionalProperties")
        if isinstance(by_name, dict):
            found = _resolve(by_name, root)
            placeholder = "GLOB" if "propertyNames" in one else "NAME"
            if key != "overrides":  # the same keys as above, by a glob of repositories
                yield from _schema_rows(found, root, f"{path}.{placeholder}.")


def _resolve(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """Follow ``$ref``; what stands beside it goes before what it names."""
    beside = {name: value for name, value in schema.items() if name != "$ref"}
    if "$ref" not in schema:
        return schema
    target: Any = root
    for part in schema["$ref"].removeprefix("#/").split("/"):
        target = target[part]
    return {**_resolve(target, root), **beside}


def _type_of(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{_yaml_word(one)}`" for one in schema["enum"])
    if "oneOf" in schema:
        return " or ".join(_type_of(one) for one in schema["oneOf"])
    kind = schema.get("type", "any")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _yaml_word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def serve_page() -> list[str]:
    """Return the lines of the page of ``fyre serve``'s configuration."""
    schema = serve_config.load_schema()
    rows = []
    for key, one in schema["properties"].items():
        default = one.get("default")
        shown = "" if default is None else f"`{_yaml_word(default)}`"
        rows.append(
            (
                f"`{key}`",
                f"`{variable_name(key)}`",
                f"`{option_name(key)}`",
                _type_of(one),
                shown,
                _cell(one["description"]),
            )
        )
    secrets = [(f"`{key}`", f"`{name}`") for key, name in SECRET_VARIABLES.items()]
    return [
        "# Configuration of fyre serve",
        "",
        "`fyre serve --config FILE` reads one YAML file; `FYRE_CONFIG` may name it too. The",
        "environment goes before the file, and an option goes before both.",
        "`fyre serve --check-config` prints each value that would be used, and where it came from.",
        "",
        *_table(("Key", "Variable", "Option", "Type", "Default", "Meaning"), rows),
        "",
        "## Secrets",
        "",
        "Each of these keys names a file. A variable may hold the secret itself instead:",
        "",
        *_table(("Key", "Variable with the secret"), secrets),
    ]


def verbs_page() -> list[str]:
    """Return the lines of the page of verbs and exit codes."""
    lines = [
        "# Verbs and exit codes",
        "",
        "Data goes to stdout, messages go to stderr. Verbs that list something take `--json`.",
        "`fyre VERB --help` shows the same as this page.",
        "",
        "## Exit codes",
        "",
        *_table(("Code", "Meaning"), [(f"`{code}`", text) for code, text in EXIT_CODES]),
        "",
        "`fyre run` and `fyre watch --exit-status` exit with the code of the run.",
    ]
    for verb, text in cli.VERBS.items():
        lines += ["", f"## fyre {verb}", "", text[:1].upper() + text[1:] + ".", ""]
        lines += _verb_lines(verb)
    return lines


def _verb_lines(verb: str) -> list[str]:
    if verb == "serve":
        return ["Its options are the keys of [its configuration](serve.md)."]
    if verb == "commit":
        return ["```text", *commit.HELP_TEXT.strip().splitlines(), "```"]
    app = typer.Typer(add_completion=False)
    app.command(verb)(import_module(f"fyre.cli.commands.{verb}").main)
    params = typer.main.get_command(app).params
    rows = [
        (", ".join(f"`{name}`" for name in _param_names(param)), _cell(_param_help(param)))
        for param in params
        if "--help" not in param.opts
    ]
    return list(_table(("Argument or option", "Meaning"), rows)) if rows else ["It has no options."]


def _param_names(param: Any) -> list[str]:  # noqa: ANN401 - click's, or typer's own copy of it
    if param.param_type_name == "argument":
        return [param.metavar or param.name.upper()]
    return [*param.opts, *param.secondary_opts]


def _param_help(param: Any) -> str:  # noqa: ANN401 - as above
    told = (getattr(param, "help", "") or "").strip()
    default = param.default
    if isinstance(default, str | Path) and str(default) and getattr(param, "show_default", True):
        told += f" Default: `{default}`."
    return told.strip()


def comments_page() -> list[str]:
    """Return the lines of the page of comment commands."""
    rows = [(f"`/fyre {verb} {one.arguments}`", one.help) for verb, one in COMMANDS.items()]
    roles = ", ".join(f"`{role}`" for role in MAY_WRITE)
    return [
        "# Comment commands",
        "",
        "A comment on a commit or in a pull request, with a line that begins with `/fyre`; the",
        "first such line counts.",
        f"The author needs one of the roles {roles}. How to use them:",
        "[Use comments](../how-to/comments.md).",
        "",
        *_table(("Comment", "What it does"), rows),
        "",
        "In a pull request, `--commit SHA` chooses another commit than the head of the branch.",
    ]


def metrics_page() -> list[str]:
    """Return the lines of the page of metrics."""
    metrics = Metrics()
    nothing = SimpleNamespace(
        query_runs=lambda _: [], queue_length=lambda: 0, last_sweep_at=0.0, check_results=dict
    )
    collector = StateCollector(
        nothing,  # type: ignore[arg-type] # an engine without runs
        nothing,  # type: ignore[arg-type] # a controller without events
        lambda: {"forge": "", "sweep": ""},
        lambda: 0,
    )
    metrics.register_collector(collector)
    metrics.count_delivery("push", 202, 0.0)
    families = text_string_to_metric_families(metrics.render_text().decode())
    found = sorted(families, key=lambda one: one.name)
    rows = [
        (f"`{_metric_name(one)}`", one.type, _metric_labels(one), _cell(one.documentation))
        for one in found
        if one.name.startswith("fyre_")
    ]
    return [
        "# Metrics",
        "",
        "`fyre serve` answers `/metrics` in Prometheus' text format. Beside these it has the usual",
        "figures of the process (`process_cpu_seconds_total` and so on).",
        "",
        *_table(("Metric", "Type", "Labels", "Meaning"), rows),
        "",
        f"The label `event` is one of {', '.join(f'`{one}`' for one in COUNTED_EVENTS)} or",
        "`other`: the sender chooses the names of events, so only these are counted by name.",
        "",
        "`/healthz` answers while the process lives. `/readyz` answers 200 once the first sweep is",
        "over and while GitHub and the cluster can be reached, else 503 with the reasons.",
    ]


def _metric_name(metric: Metric) -> str:
    return metric.name + ("_total" if metric.type == "counter" else "")


def _metric_labels(metric: Metric) -> str:
    names = sorted({name for sample in metric.samples for name in sample.labels} - {"le"})
    return ", ".join(f"`{name}`" for name in names)


def names_page() -> list[str]:
    """Return the lines of the page of labels, annotations and exit codes on Kubernetes."""
    constants = {
        value
        for name, value in vars(job_labels).items()
        if name.endswith(("_ANNOTATION", "_LABEL")) and isinstance(value, str)
    }
    _same_names(
        "labels and annotations", constants, [one for one in OBJECT_NAMES if one in constants]
    )
    rows = [
        (f"`{name}`", kind, objects, text) for name, (kind, objects, text) in OBJECT_NAMES.items()
    ]
    codes = [
        (
            f"`{job_labels.EXIT_NO_CHECKOUT}`",
            f"`{job_labels.CHECKOUT_CONTAINER}`",
            "the code cannot be checked out, and trying again would not help",
        ),
        (
            f"`{job_labels.EXIT_NOT_STARTED}`",
            f"`{job_labels.COMMAND_CONTAINER}`",
            (
                "the command was not started: setup failed, or there is no such working directory. "
                "A command of yours that exits with this code is not retried."
            ),
        ),
    ]
    return [
        "# Names on Kubernetes",
        "",
        "A run is one `batch/v1` Job with one pod at a time. The Job is also Fyre's record of the",
        "run. Nothing else is created in the cluster, except the Lease where replicas share one.",
        "",
        "## Labels and annotations",
        "",
        *_table(("Name", "Kind", "On", "Holds"), rows),
        "",
        "## Containers and their exit codes",
        "",
        f"The init container is `{job_labels.CHECKOUT_CONTAINER}`, the command's container is",
        f"`{job_labels.COMMAND_CONTAINER}`. The checkout is at `{job_labels.WORK_DIR}`; a user",
        f"without a home directory gets `{job_labels.HOME_DIR}`.",
        "",
        *_table(("Code", "Container", "Means"), codes),
        "",
        "The last line of the command's output is an end mark, a control sequence that terminals",
        "do not show: `ESC ] fyre-end;KEY ESC \\`, with the key of the run. Fyre knows by it that",
        "the log is whole, and does not show it; other readers of the pod's log see it.",
    ]


def statuses_page() -> list[str]:
    """Return the lines of the page of commit statuses."""
    _same_names("states", STATE_TEXTS, RunState)
    rows = []
    for state, meaning in STATE_TEXTS.items():
        word, example = _example_status(state)
        rows.append((f"`{state}`", f"`{word}`", f"`{example}`", meaning))
    return [
        "# Commit status texts",
        "",
        "Each run has one commit status, on the context `fyre/NAME`. GitHub knows four states;",
        "the description says the rest, in at most 140 characters. Other versions of Fyre, and the",
        "command line, read it back, so its form is fixed:",
        "",
        "```text",
        'description = outcome *( " · " part )',
        "```",
        "",
        *_table(("Run", "GitHub's state", "Example", "Meaning"), rows),
        "",
        "Three parts are read back, in addition to the outcome:",
        "",
        *_table(
            ("Part", "Meaning"),
            [
                ("`carried from SHA`", "the outcome of a run on another commit, reused here"),
                ("`attempt N`", "which attempt it was; 1 where the text says nothing"),
                ("the last part of a refusal", "what would help; see below"),
            ],
        ),
        "",
        "All further parts (the duration, the resources, the image's digest, how many tries) are",
        "for people. A refusal that concerns the push, and not the commit, ends with one of these;",
        "such a status is planned again when somebody else pushes the commit:",
        "",
        *[f"- `{hint}`" for hint in _push_hints()],
        "",
        "A run that the engine does not take for now, as while a quota is used up, has no page.",
        "Its status ends with one of these while it is tried again, and after a day:",
        "",
        *[f"- `{hint}`" for hint in _delay_hints()],
    ]


def _push_hints() -> tuple[str, ...]:
    from fyre.runs.status_text import PUSH_REFUSAL_HINTS

    return PUSH_REFUSAL_HINTS


def _delay_hints() -> tuple[str, ...]:
    from fyre.runs.status_text import DELAY_HINTS

    return DELAY_HINTS


def _example_status(state: RunState) -> tuple[str, str]:
    if state is RunState.MOVED:
        moved = commit_status.moved_status("abc1234" * 6)
        return moved.state, moved.description
    carried = state is RunState.CARRIED
    actual = RunState.SUCCEEDED if carried else state
    record = RunRecord(
        _example_run(),
        actual,
        tries=1,
        started_at=None if actual in (RunState.WAITING, RunState.QUEUED, RunState.REFUSED) else 1.0,
        ended_at=724.0 if actual.is_final and actual is not RunState.REFUSED else None,
        exit_code={RunState.SUCCEEDED: 0, RunState.FAILED: 2}.get(actual),
        reason=REASONS.get(state, ""),
        cancelled_by="ada" if state is RunState.CANCELLED else "",
    )
    shown = commit_status.status_from_record(record, carried=carried)
    return to_github_state(state), shown.description


def _example_run() -> Run:
    repository = Repository("https://api.github.com", 1, "acme/project")
    spec = RunSpec("python train.py")
    return Run(
        key="0" * 26,
        repository=repository,
        sha="abc1234" + "0" * 33,
        tree="0" * 40,
        parents=(),
        ref="refs/heads/main",
        actor="ada",
        name="run",
        spec=spec,
        digest=spec.digest,
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join('---' for _ in head)} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _cell(text: str) -> str:
    """Return text for a cell of a table: one line, no bar, no Markdown of its own."""
    line = " ".join(text.split())
    if "`" not in line:
        for char in "*_<":
            line = line.replace(char, f"\\{char}")
    return line.replace("|", "\\|")


def _same_names(what: str, described: Mapping[Any, object] | set[str], actual: Any) -> None:  # noqa: ANN401 - any names
    """Raise ``ValueError`` unless every name of the code is described here, and no other."""
    if set(described) != set(actual):
        raise ValueError(f"{what}: {sorted(map(str, set(described) ^ set(actual)))}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
