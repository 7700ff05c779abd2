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

from fyre.errors import TransientError, UserError

if TYPE_CHECKING:
    from fyre.cli.credential_files import CredentialFiles
    from fyre.github.app_manifest import CreatedApp
    from fyre.github.app_registration import AppRegistration

CREDENTIAL_FILE_NAMES = {"key": "app.pem", "webhook secret": "webhook"}
"""What is kept → its file, by the name that the chart's Secret has for it."""
SAVED_PAGE_NAME = "register.html"


def main(
    action: Annotated[
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
    if action != "manifest":
        raise UserError(
            f"`fyre app {action[:40]}` is nothing", hint="fyre app manifest", exit_code=2
        )
    from fyre.apps import config
    from fyre.cli.credential_files import CredentialFiles
    from fyre.github import app_manifest, app_registration

    wanted = app_manifest.parse_options(host, org, url, name, checks=checks, teams=teams)
    safe = CredentialFiles(out, CREDENTIAL_FILE_NAMES)  # before anything is asked of the forge
    registration = app_registration.AppRegistration(wanted)
    with tempfile.TemporaryDirectory(
        prefix="page-", dir=safe.folder, ignore_cleanup_errors=True
    ) as place:
        try:
            _open_registration_page(registration, Path(place), browser=browser)
            app = _exchange_code(registration, config.default_api_url(wanted.host))
            kept = _save_credentials(registration, safe, app)
        finally:
            registration.close()
    sys.stdout.write(
        app_manifest.config_lines(
            wanted, app, str(kept["key"]), str(kept.get("webhook secret", ""))
        )
    )
    _print_progress(
        f"next: {app.html_url}/installations/new, where the repositories are chosen that it may see"
    )


def _open_registration_page(
    registration: AppRegistration, page_folder: Path, *, browser: bool
) -> None:
    """Have somebody look at the page; in a thread, since some browsers return when they are closed."""
    _print_progress(f"the page to begin with: {registration.start_url}")
    invite = _open_browser if browser else _print_manual_steps
    threading.Thread(
        target=invite, args=(registration, page_folder), name="invitation", daemon=True
    ).start()


def _open_browser(registration: AppRegistration, page_folder: Path) -> None:
    if not webbrowser.open(registration.start_url):
        _print_manual_steps(registration, page_folder)


def _print_manual_steps(registration: AppRegistration, page_folder: Path) -> None:
    """What to do where no browser can be opened; what is pasted is taken, until it is an answer."""
    saved, port = page_folder / SAVED_PAGE_NAME, registration.base_url.rpartition(":")[2]
    with suppress(OSError):
        saved.touch(mode=0o600)
        saved.write_text(registration.form_page(), encoding="utf-8")
    _print_progress(
        f"  open it here; or elsewhere with `kubectl port-forward POD {port}`, `ssh -L {port}:127.0.0.1:{port} HOST`;"
    )
    _print_progress(
        f"  or copy {saved} to a machine with a browser, open it there, go on, and when the browser can't reach"
    )
    _print_progress(
        "  127.0.0.1, paste the address that it shows (or the code in it) here, and press Enter"
    )
    with suppress(ValueError, OSError):  # no stdin
        for line in filter(str.strip, sys.stdin):
            if registration.accept_pasted(line):
                return
            _print_progress(
                "that is no answer to this question: paste the whole address, as the browser shows it"
            )


def _exchange_code(registration: AppRegistration, api_url: str) -> CreatedApp:
    from fyre.github import app_registration

    try:
        return app_registration.exchange_code(api_url, registration.wait_for_code())
    except (UserError, TransientError) as error:
        said = error.message if isinstance(error, UserError) else str(error)
        registration.set_result("That did not work", f"<p>{html.escape(said)}</p>")
        raise


def _save_credentials(
    registration: AppRegistration, credential_files: CredentialFiles, app: CreatedApp
) -> dict[str, Path]:
    """Where its secrets are now."""
    secrets = {
        "key": app.private_key,
        **({"webhook secret": app.webhook_secret} if app.webhook_secret else {}),
    }
    try:
        kept = credential_files.write_secrets(secrets)
    except UserError as error:
        registration.set_result(
            "The App is there, its key is lost",
            f"<p>{html.escape(error.hint)}: {_install_link(app)}</p>",
        )
        raise UserError(f"{error.message} ({app.html_url})", hint=error.hint) from error
    if kept["key"].parent != credential_files.folder:
        _print_progress(
            f"warning: {credential_files.folder} took no file any more; the key is in {kept['key'].parent}, for you alone"
        )
    registration.set_result(
        f"{app.slug} is registered",
        f"<p>Its key is on your machine. Next, install it: {_install_link(app)}</p>",
    )
    return kept


def _install_link(app: CreatedApp) -> str:
    page = html.escape(f"{app.html_url}/installations/new")
    return (
        f'<a href="{page}">{page}</a>' if app.html_url.startswith(("https://", "http://")) else page
    )


def _print_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
