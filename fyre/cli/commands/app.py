"""``fyre app manifest``: register a GitHub App with exactly the rights that a receiver needs, and keep its key."""

from __future__ import annotations

import html
import sys
import tempfile
import threading
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fyre.errors import TryAgainError, UserError

if TYPE_CHECKING:
    from fyre.cli.credential_files import Keepsake
    from fyre.github.app_manifest import App
    from fyre.github.app_registration import Registration

FILES = {"key": "app.pem", "webhook secret": "webhook"}
"""What is kept → its file, by the name that the chart's Secret has for it."""
PAGE = "register.html"


def main(
    what: Annotated[
        str, typer.Argument(metavar="manifest", help="The one thing to do with an App.")
    ],
    *,
    org: Annotated[
        str, typer.Option("--org", help="The organisation whose App it will be; else yours.")
    ] = "",
    url: Annotated[
        str,
        typer.Option(
            "--url", help="Where the forge reaches the receiver; none for one that polls."
        ),
    ] = "",
    host: Annotated[
        str, typer.Option("--host", help="Or the address of an Enterprise Server.")
    ] = "github.com",
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where its key goes.")] = Path(
        "fyre-app"
    ),
    name: Annotated[
        str, typer.Option("--name", help="What to call it; it can be changed on the way.")
    ] = "",
    checks: Annotated[
        bool, typer.Option("--checks", help="For check runs beside the statuses.")
    ] = False,
    teams: Annotated[bool, typer.Option("--teams", help="For a policy that names teams.")] = False,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page, or say what to do.")
    ] = True,
) -> None:
    """Register a GitHub App for `fyre serve`, in a browser; keep its key and print the lines that name it.

    The key is shown once and never here: it goes to a file for you alone.
    """
    if what != "manifest":
        raise UserError(f"`fyre app {what[:40]}` is nothing", hint="fyre app manifest", code=2)
    from fyre.apps import config
    from fyre.cli.credential_files import Keepsake
    from fyre.github import app_manifest, app_registration

    wanted = app_manifest.wish(host, org, url, name, checks=checks, teams=teams)
    safe = Keepsake(out, FILES)  # before anything is asked of the forge
    registration = app_registration.Registration(wanted)
    with tempfile.TemporaryDirectory(
        prefix="page-", dir=safe.folder, ignore_cleanup_errors=True
    ) as place:
        try:
            _invite(registration, Path(place), browser=browser)
            app = _exchanged(registration, config.api_of(wanted.host))
            kept = _kept(registration, safe, app)
        finally:
            registration.close()
    sys.stdout.write(
        app_manifest.lines(wanted, app, str(kept["key"]), str(kept.get("webhook secret", "")))
    )
    _say(f"next: {app.page}/installations/new, where the repositories are chosen that it may see")


def _invite(registration: Registration, folder: Path, *, browser: bool) -> None:
    """Have somebody look at the page; in a thread, since some browsers return when they are closed."""
    _say(f"the page to begin with: {registration.address}")
    invite = _open if browser else _explain
    threading.Thread(
        target=invite, args=(registration, folder), name="invitation", daemon=True
    ).start()


def _open(registration: Registration, folder: Path) -> None:
    if not webbrowser.open(registration.address):
        _explain(registration, folder)


def _explain(registration: Registration, folder: Path) -> None:
    """What to do where no browser can be opened; what is pasted is taken, until it is an answer."""
    saved, port = folder / PAGE, registration.base.rpartition(":")[2]
    with suppress(OSError):
        saved.touch(mode=0o600)
        saved.write_text(registration.form(), encoding="utf-8")
    _say(
        f"  open it here; or elsewhere with `kubectl port-forward POD {port}`, `ssh -L {port}:127.0.0.1:{port} HOST`;"
    )
    _say(
        f"  or copy {saved} to a machine with a browser, open it there, go on, and when the browser can't reach"
    )
    _say("  127.0.0.1, paste the address that it shows (or the code in it) here, and press Enter")
    with suppress(ValueError, OSError):  # no stdin
        for line in filter(str.strip, sys.stdin):
            if registration.paste(line):
                return
            _say(
                "that is no answer to this question: paste the whole address, as the browser shows it"
            )


def _exchanged(registration: Registration, api: str) -> App:
    from fyre.github import app_registration

    try:
        return app_registration.exchange(api, registration.code())
    except (UserError, TryAgainError) as error:
        said = error.message if isinstance(error, UserError) else str(error)
        registration.tell("That did not work", f"<p>{html.escape(said)}</p>")
        raise


def _kept(registration: Registration, safe: Keepsake, app: App) -> dict[str, Path]:
    """Where its secrets are now."""
    secrets = {
        "key": app.key,
        **({"webhook secret": app.webhook_secret} if app.webhook_secret else {}),
    }
    try:
        kept = safe.keep(secrets)
    except UserError as error:
        registration.tell(
            "The App is there, its key is lost", f"<p>{html.escape(error.hint)}: {_link(app)}</p>"
        )
        raise UserError(f"{error.message} ({app.page})", hint=error.hint) from error
    if kept["key"].parent != safe.folder:
        _say(
            f"warning: {safe.folder} took no file any more; the key is in {kept['key'].parent}, for you alone"
        )
    registration.tell(
        f"{app.slug} is registered",
        f"<p>Its key is on your machine. Next, install it: {_link(app)}</p>",
    )
    return kept


def _link(app: App) -> str:
    page = html.escape(f"{app.page}/installations/new")
    return f'<a href="{page}">{page}</a>' if app.page.startswith(("https://", "http://")) else page


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
