"""``fyre app manifest``: register a GitHub App with the rights of a receiver, and save its key."""

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
"""By kind of credential: the name of its file, as the chart's Secret names it."""

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
            "--url", help="Address of the receiver for the forge; none for a receiver that polls."
        ),
    ] = "",
    host: Annotated[
        str,
        typer.Option(
            "--host",
            help="The host name of your GitHub Enterprise Server, if it is not github.com.",
        ),
    ] = "github.com",
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for its key.")] = Path(
        "fyre-app"
    ),
    name: Annotated[
        str, typer.Option("--name", help="Name of the App; it can be changed on the way.")
    ] = "",
    checks: Annotated[
        bool, typer.Option("--checks", help="For check runs beside the statuses.")
    ] = False,
    teams: Annotated[bool, typer.Option("--teams", help="For a policy that names teams.")] = False,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page, or say what to do.")
    ] = True,
) -> None:
    """Register a GitHub App for `fyre serve` in a browser, save its key, print its configuration.

    The key is shown once and never here: it goes to a file that only you can read.
    """
    if action != "manifest":
        raise UserError(
            f"there is no `fyre app {action[:40]}`", hint="fyre app manifest", exit_code=2
        )
    from fyre.apps import config
    from fyre.cli.credential_files import CredentialFiles
    from fyre.github import app_manifest, app_registration

    app_options = app_manifest.parse_options(host, org, url, name, checks=checks, teams=teams)
    credential_files = CredentialFiles(
        out, CREDENTIAL_FILE_NAMES
    )  # before the forge is asked for anything
    registration = app_registration.AppRegistration(app_options)
    with tempfile.TemporaryDirectory(
        prefix="page-", dir=credential_files.folder, ignore_cleanup_errors=True
    ) as folder:
        try:
            _open_registration_page(registration, Path(folder), browser=browser)
            app = _exchange_code(registration, config.default_api_url(app_options.host))
            paths = _save_credentials(registration, credential_files, app)
        finally:
            registration.close()
    sys.stdout.write(
        app_manifest.config_lines(
            app_options, app, str(paths["key"]), str(paths.get("webhook secret", ""))
        )
    )
    _print_progress(
        f"next: {app.html_url}/installations/new, to choose the repositories that it may see"
    )


def _open_registration_page(
    registration: AppRegistration, page_folder: Path, *, browser: bool
) -> None:
    """Open the page or print its address.

    It is done in a thread, because some browsers return only when they are closed.
    """
    _print_progress(f"the page to begin with: {registration.start_url}")
    show_page = _open_browser if browser else _print_manual_steps
    threading.Thread(
        target=show_page, args=(registration, page_folder), name="invitation", daemon=True
    ).start()


def _open_browser(registration: AppRegistration, page_folder: Path) -> None:
    if not webbrowser.open(registration.start_url):
        _print_manual_steps(registration, page_folder)


def _print_manual_steps(registration: AppRegistration, page_folder: Path) -> None:
    """Print the steps without a browser here, and read pasted lines until one is valid."""
    saved, port = page_folder / SAVED_PAGE_NAME, registration.base_url.rpartition(":")[2]
    with suppress(OSError):
        saved.touch(mode=0o600)
        saved.write_text(registration.form_page(), encoding="utf-8")
    _print_progress(
        f"  open it here; or elsewhere with `kubectl port-forward POD {port}`, "
        f"`ssh -L {port}:127.0.0.1:{port} HOST`;\n"
        f"  or copy {saved} to a machine with a browser, open it there, go on, "
        "and when the browser can't reach\n"
        "  127.0.0.1, paste the address that it shows (or the code in it) here, and press Enter"
    )
    with suppress(ValueError, OSError):  # no stdin
        for line in filter(str.strip, sys.stdin):
            if registration.accept_pasted(line):
                return
            _print_progress(
                "that is no answer to this question: paste the whole address that the browser shows"
            )


def _exchange_code(registration: AppRegistration, api_url: str) -> CreatedApp:
    from fyre.github import app_registration

    try:
        return app_registration.exchange_code(api_url, registration.wait_for_code())
    except (UserError, TransientError) as error:
        message = error.message if isinstance(error, UserError) else str(error)
        registration.set_result("That did not work", f"<p>{html.escape(message)}</p>")
        raise


def _save_credentials(
    registration: AppRegistration, credential_files: CredentialFiles, app: CreatedApp
) -> dict[str, Path]:
    """Write the App's secrets to files, and return their paths."""
    secrets = {
        "key": app.private_key,
        **({"webhook secret": app.webhook_secret} if app.webhook_secret else {}),
    }
    try:
        paths = credential_files.write_secrets(secrets)
    except UserError as error:
        registration.set_result(
            "The App is there, its key is lost",
            f"<p>{html.escape(error.hint)}: {_install_link(app)}</p>",
        )
        raise UserError(f"{error.message} ({app.html_url})", hint=error.hint) from error
    if paths["key"].parent != credential_files.folder:
        _print_progress(
            f"warning: {credential_files.folder} can no longer be written; "
            f"the key is in {paths['key'].parent}, for you alone"
        )
    registration.set_result(
        f"{app.slug} is registered",
        f"<p>Its key is on your machine. Next, install it: {_install_link(app)}</p>",
    )
    return paths


def _install_link(app: CreatedApp) -> str:
    page = html.escape(f"{app.html_url}/installations/new")
    return (
        f'<a href="{page}">{page}</a>' if app.html_url.startswith(("https://", "http://")) else page
    )


def _print_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
