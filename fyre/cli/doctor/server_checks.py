"""What keeps a receiver from working: its configuration, credential, webhook, relay and cluster. Of ``fyre doctor``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fyre.cli.doctor import checks, webhook_checks
from fyre.cli.doctor.checks import Finding
from fyre.errors import TryAgainError, UserError
from fyre.runs.run import ZERO_SHA

if TYPE_CHECKING:
    from fyre.apps.config import Config
    from fyre.github.app_auth import App
    from fyre.github.client import Forge
    from fyre.runs.run import Repository

MOST = 20
"""Repositories that are looked at; their rights are mostly alike."""

PATIENCE = 10.0
"""Seconds for an answer."""


def server(path: Path | None, env: Mapping[str, str]) -> Iterator[Finding]:
    """All that ``fyre serve`` would be told, and whether it could work with that."""
    from fyre.apps import config as configs

    try:
        config = configs.load(path, env, {})
    except UserError as error:
        yield Finding(
            error.message, error.hint or "`fyre serve --check-config` says what is used and why"
        )
        return
    yield Finding("the configuration is good, and so is the policy")
    yield from checks.clock(config.api)
    yield from _told(_forge(config))
    yield from _answers(config)
    if config.get("relay"):
        yield _relay(config.get("relayUrl") or f"http://{config.get('relay')}")
    if config.get("engine") == "kubernetes":
        where, file = (config.get("kubeconfig"), config.get("context")), Path(config.get("policy"))
        yield from checks.on_cluster(*where, file, "", exec_mode=not config.get("relay"))


def _told(findings: Iterator[Finding]) -> Iterator[Finding]:
    """The findings, and as the last one why the forge let us look no further."""
    try:
        yield from findings
    except (UserError, TryAgainError) as error:
        hint = getattr(error, "hint", "") or "is the forge there, and `api` its REST API?"
        yield Finding(f"the forge does not let us look: {error}", hint)


def _forge(config: Config) -> Iterator[Finding]:
    """The credential, and what it may."""
    from fyre.github.app_auth import App, AppForge
    from fyre.github.client import Forge
    from fyre.runs import policy as policies

    hook = (
        f"{str(config.get('url')).rstrip('/')}/webhook" if config.webhook_secret is not None else ""
    )
    app: App | None = None
    if config.app_key is not None:
        app = App(config.api, config.get("appId"), config.app_key.read)
        forge: Forge = AppForge(app)
    elif config.token is not None:
        forge = Forge(config.api, config.token.read)
    yield Finding(f"the forge knows us as {forge.me()}")
    if app is not None:
        overrides = dict(config.policy.overrides).values()
        teams = bool(config.policy.teams) or any(one.get("teams") for one in overrides)
        yield from webhook_checks.of_app(app, hook, checks=config.get("checks"), teams=teams)
    served = [one for one in forge.repositories() if policies.serves(config.policy, one.name)]
    if not served:
        fix = "install the App there, or let the token see one; the policy's `repositories` says which are served"
        yield Finding("we see no repository that the policy serves", fix)
    for repository in served[:MOST]:
        yield from _rights(forge, repository)
        if app is None and hook:
            yield from webhook_checks.of_repository(forge, repository, hook)


def _rights(forge: Forge, repository: Repository) -> Iterator[Finding]:
    """Ask for what a run takes, so that nothing comes of it: GitHub has no other way to ask what a token may."""
    from fyre.github.errors import DeniedError, HiddenError
    from fyre.runs.commit_status import Status

    question = Status("fyre/doctor", "error", "may we?")
    asks: tuple[tuple[str, Callable[[], object]], ...] = (
        ("read the contents of", lambda: forge.commit(repository, repository.default_branch)),
        (
            "write commit statuses in",
            lambda: forge.post(repository, ZERO_SHA, question),
        ),  # on a commit that nobody has
    )
    denied = False
    for right, ask in asks:
        try:
            ask()
        except HiddenError:
            denied = right.startswith("write")
            fix = "give the token `Commit statuses: write`"
        except DeniedError as error:
            denied, fix = (
                True,
                f"give it in the token's or the App's permissions ({error.message.partition(': ')[2]})",
            )
        except UserError:
            continue
        if denied:
            yield Finding(f"we may not {right} {repository.name}", fix)
    if not denied:
        yield Finding(f"we may do in {repository.name} what a run takes")


def _answers(config: Config) -> Iterator[Finding]:
    """Whether a receiver answers at ``url``, and is ready."""
    import requests

    url = str(config.get("url")).rstrip("/")
    try:
        told = requests.get(f"{url}/readyz", timeout=PATIENCE).json()
        wrong = (
            {name: why for name, why in told.items() if why != "ok"} if "sweep" in told else None
        )
    except (requests.RequestException, ValueError, AttributeError, TypeError):
        wrong = None
    if wrong is None:
        yield _door(url, hears=config.webhook_secret is not None)
        return
    for name, why in wrong.items():
        yield Finding(
            f"the receiver at {url} is not ready: {name}: {why}", "its log says since when"
        )
    if not wrong:
        yield Finding(f"the receiver at {url} is ready")


def _door(url: str, *, hears: bool) -> Finding:
    """Whether there is one behind an address that shows only what has to be reached from outside, as an Ingress may."""
    import requests

    with suppress(requests.RequestException):
        if (
            hears
            and requests.post(f"{url}/webhook", data=b"{}", timeout=PATIENCE).status_code == 401
        ):  # it is unsigned
            return Finding(
                f"the receiver at {url} answers, and whether it is ready is not shown there"
            )
        if not hears and requests.get(f"{url}/runs/", timeout=PATIENCE).status_code == 404:
            return Finding(f"{url} answers, and whether a receiver is there is not shown")
    return Finding(
        f"no receiver answers at {url}", "is `fyre serve` running there, and url its address?"
    )


def _relay(url: str) -> Finding:
    """Whether the relay answers, as it does to who has no key."""
    import requests

    fix = "pods fetch their code there: is `fyre serve` running, relayUrl right, the port open?"
    try:
        code = requests.get(
            f"{url}/git/0.git/info/refs?service=git-upload-pack", timeout=PATIENCE
        ).status_code
    except requests.RequestException as error:
        return Finding(f"the relay at {url} can't be reached ({type(error).__name__})", fix)
    return (
        Finding(f"the relay at {url} answers")
        if code == 401
        else Finding(f"{url} answers {code}: no relay", fix)
    )
