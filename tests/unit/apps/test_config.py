"""Configuration of ``fyre serve``: file, environment, options; and an error for every mistake."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from fyre.apps import config as configs
from fyre.apps.config import Config
from fyre.apps.config_secrets import SECRET_VARIABLES
from fyre.apps.derived_keys import secrets_from_folder, secrets_from_key
from fyre.cli.commands import serve
from fyre.errors import UserError
from tests.support.apps import pem, private_key

SECRET = "hunter2-and-longer"
GOOD = {"url": "https://fyre.example.org"}
ENV = {"FYRE_TOKEN": "github_pat_x", "FYRE_WEBHOOK_SECRET": SECRET}


def load(
    tmp_path: Path, text: str | None = None, env: dict[str, str] | None = None, **options: str
) -> Config:
    path = None
    if text is not None:
        path = tmp_path / "fyre.yaml"
        path.write_text(text)
    return configs.load_config(path, ENV if env is None else env, options)


def refused(tmp_path: Path, *args: object, **options: str) -> tuple[str, str]:
    with pytest.raises(UserError) as caught:
        load(tmp_path, *args, **options)  # type: ignore[arg-type]
    error = caught.value
    assert SECRET not in f"{error.message}{error.hint}{error.__cause__}"
    return error.message.replace(str(tmp_path) + "/", ""), error.hint


def test_options_go_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    text = "url: https://file\njobs: 1\nsweepEvery: 1m\nlogFormat: json\n"
    env = {**ENV, "FYRE_JOBS": "2", "FYRE_SWEEP_EVERY": "2m", "FYRE_STATE": ""}
    config = load(tmp_path, text, env, sweepEvery="3m")
    told = {
        key: (config.get(key), config.settings[key].origin)
        for key in ("url", "jobs", "sweepEvery", "state")
    }
    assert told == {
        "url": ("https://file", f"{tmp_path}/fyre.yaml line 1"),
        "jobs": (2, "FYRE_JOBS"),
        "sweepEvery": ("3m", "--sweep-every"),
        "state": ("/var/lib/fyre", "default"),
    }
    assert (config.sweep_every, config.backfill, config.listen_address) == (
        180,
        86400,
        ("127.0.0.1", 8020),
    )


@pytest.mark.parametrize(
    ("forge", "api"),
    [
        ("https://github.com", "https://api.github.com"),
        ("https://GitHub.com", "https://api.github.com"),
        ("https://acme.ghe.com", "https://api.acme.ghe.com"),
        ("https://git.acme.example", "https://git.acme.example/api/v3"),
        ("http://127.0.0.1:8020", "http://127.0.0.1:8020/api/v3"),
    ],
)
def test_the_api_is_where_each_kind_of_github_has_it(tmp_path: Path, forge: str, api: str) -> None:
    assert load(tmp_path, **GOOD, forge=forge).api_url == api
    assert (
        load(tmp_path, **GOOD, forge=forge, api="http://127.0.0.1:1/api/").api_url
        == "http://127.0.0.1:1/api"
    )


def test_every_key_is_in_the_schema_a_variable_and_an_option(tmp_path: Path) -> None:
    properties = configs.load_schema()["properties"]
    jsonschema.Draft202012Validator.check_schema(configs.load_schema())
    help_page = serve._build_parser().format_help()
    for key, one in properties.items():
        assert configs.option_name(key) in help_page
        assert configs.variable_name(key) in help_page.replace("\n", "")
        assert one["description"]
        assert set(one) & {"type", "enum"}
    assert set(SECRET_VARIABLES) <= set(properties)
    # Kubernetes sets FYRE_PORT, FYRE_SERVICE_HOST, FYRE_RELAY_PORT … for Services of these names.
    assert not [
        key
        for key in properties
        if "_SERVICE_" in configs.variable_name(key) or "_PORT" in configs.variable_name(key)
    ]


BAD_FILES = [
    ("jobs: many\n", "fyre.yaml line 1: jobs: must be a whole number, not 'many'", "at least 1"),
    ("\njobs: 0\n", "fyre.yaml line 2: jobs: must be at least 1, not 0", "at least 1"),
    (
        "sweepevery: 5m\n",
        "fyre.yaml line 1: sweepevery: unknown key 'sweepevery'",
        "did you mean sweepEvery?",
    ),
    (f"token: {SECRET}\n", "fyre.yaml line 1: token: unknown key 'token'", "did you mean"),
    (
        f"webhookSecret: {SECRET}\n",
        "fyre.yaml line 1: webhookSecret: unknown key",
        "did you mean webhookSecretFile?",
    ),
    (
        "url: fyre.example.org\n",
        "fyre.yaml line 1: url: 'fyre.example.org' is not a valid value",
        "https://fyre.example.org",
    ),
    (
        "url: https://a.example/?x\n",
        "url: 'https://a.example/?x' is not a valid value",
        "the address",
    ),
    (
        "engine: slurm\n",
        "engine: must be one of local, kubernetes",
        "local or kubernetes",
    ),
    (
        "poll: maybe\n",
        "poll: must be true or false, not 'maybe'",
        "true where the forge can't reach",
    ),
    ("listen: 8020\n", "listen: must be text, not 8020", "HOST:PORT"),
    ("listen: nowhere\n", "listen: 'nowhere' is not a valid value", "HOST:PORT"),
    ("listen: 0.0.0.0:70000\n", "listen: '0.0.0.0:70000' has no such port", "HOST:PORT"),
    ("sweepEvery: 90\n", "sweepEvery: must be text, not 90", "such as 5m"),
    (
        "sweepEvery: soon\n",
        "fyre.yaml line 1: sweepEvery: 'soon' is not a duration",
        "write it like 90s",
    ),
    ("sweepEvery: 5s\n", "sweepEvery: '5s' is too often", "at least 10s"),
    (
        "backfill: 8d\n",
        "backfill: '8d' is longer than the policy's history, 7d",
        "at most the policy's history",
    ),
    ("kubeconfig: /k\n", "kubeconfig: '/k' has no effect with engine local", "of the cluster"),
    (
        "engine: kubernetes\njobs: 2\n",
        "line 2: jobs: 2 has no effect with engine kubernetes",
        "local engine",
    ),
    (
        "engine: kubernetes\n",
        "policy is not set, and engine kubernetes needs one",
        "--policy or FYRE_POLICY",
    ),
    (
        "policy: /nowhere.yaml\n",
        "the policy can't be read: /nowhere.yaml: No such file",
        "policy.example.yaml",
    ),
    ("logLevel: chatty\n", "logLevel: must be one of", "debug, info"),
    (
        "- jobs\n",
        "fyre.yaml line 1: the file must be a mapping of keys to values, not ['jobs']",
        "also an environment variable",
    ),
    ("jobs: [\n", "fyre.yaml line 3: not YAML", "indentation"),
    (
        "checkoutImage: not an image\n",
        "line 1: checkoutImage: 'not an image' is not an image",
        "git and sh",
    ),
    ('state: "a\\0b"\n', "fyre.yaml line 1: state: it has a NUL in it", "take it out"),
    ("appId: x\n", "appId: must be a whole number, not 'x'", "a number"),
    (
        "appId: 7\n",
        "a token (FYRE_TOKEN) and an App (fyre.yaml line 1) are two credentials",
        "one of them",
    ),
]


@pytest.mark.parametrize(("text", "message", "hint"), BAD_FILES)
def test_a_mistake_in_the_file_names_line_key_value_and_what_is_allowed(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    if "url:" not in text and not text.startswith("-"):
        text += "url: https://fyre.example.org\n"
    said = refused(tmp_path, text)
    assert message in said[0]
    assert hint in said[1]


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"FYRE_JOBS": "many"}, "FYRE_JOBS: jobs: 'many' is not a valid value"),
        ({"FYRE_JOBS": "0"}, "FYRE_JOBS: jobs: '0' is not a valid value"),
        ({"FYRE_POLL": "maybe"}, "FYRE_POLL: poll: 'maybe' is not a valid value"),
        ({"FYRE_URL": "ftp://x"}, "FYRE_URL: url: 'ftp://x' is not a valid value"),
        ({"FYRE_BACKFILL": "8d"}, "FYRE_BACKFILL: backfill: '8d' is longer"),
        (
            {"FYRE_RELAY_URL": "http://x"},
            "FYRE_RELAY_URL: relayUrl: 'http://x' has no effect with engine local",
        ),
        ({"FYRE_TOKEN": ""}, "there is no credential for the forge"),
        ({"FYRE_TOKEN": "two words"}, "FYRE_TOKEN: the forge's token has blanks in it"),
        (
            {"FYRE_TOKEN": "", "FYRE_TOKEN_FILE": "/nowhere"},
            "FYRE_TOKEN_FILE: the forge's token can't be read: /nowhere: No such file",
        ),
        ({"FYRE_TOKEN": "  "}, "FYRE_TOKEN: the forge's token is empty"),
        ({"FYRE_TOKEN_FILE": "/t"}, "FYRE_TOKEN and FYRE_TOKEN_FILE are two of the forge's token"),
        (
            {"FYRE_WEBHOOK_SECRET": ""},
            "there is no webhook secret, and unsigned deliveries are never accepted",
        ),
        (
            {"FYRE_APP_PRIVATE_KEY": SECRET},
            "a token (FYRE_TOKEN) and an App (FYRE_APP_PRIVATE_KEY) are two",
        ),
        ({"FYRE_TOKEN": "", "FYRE_APP_ID": "7"}, "FYRE_APP_ID: appId: 7 needs appPrivateKeyFile"),
        (
            {"FYRE_TOKEN": "", "FYRE_APP_PRIVATE_KEY": SECRET},
            "appId is not set, and there is a private key",
        ),
        (
            {"FYRE_TOKEN": "", "FYRE_APP_PRIVATE_KEY": SECRET, "FYRE_APP_ID": "7"},
            "the App's private key is not an RSA private key",
        ),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(
    tmp_path: Path, env: dict[str, str], message: str
) -> None:
    assert message in refused(tmp_path, None, ENV | env, **GOOD)[0]


def test_a_mistake_in_an_option_names_it(tmp_path: Path) -> None:
    assert refused(tmp_path, **GOOD, jobs="x")[0] == "--jobs: jobs: 'x' is not a valid value"
    assert refused(tmp_path)[0] == "url is not set"
    assert (
        refused(tmp_path, **GOOD, logFormat="xml")[0]
        == "--log-format: logFormat: 'xml' is not a valid value"
    )


def test_a_token_where_a_file_is_named_is_not_shown(tmp_path: Path) -> None:
    token = "ghp_" + "a1B2" * 9
    message, _ = refused(tmp_path, None, {}, **GOOD, tokenFile=token)
    assert token not in message
    assert "****" in message


def test_a_file_that_cant_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"the configuration can't be read: .*nowhere.yaml: No such file"
    ):
        configs.load_config(tmp_path / "nowhere.yaml", ENV, {})
    (tmp_path / "bad.yaml").write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"bad.yaml is not UTF-8"):
        configs.load_config(tmp_path / "bad.yaml", ENV, {})


def test_a_secret_that_is_replaced_in_its_file_holds_at_once_and_two_lines_are_two(
    tmp_path: Path,
) -> None:
    path = tmp_path / "secret"
    path.write_text("old\n")
    config = load(tmp_path, None, {"FYRE_TOKEN": "t"}, **GOOD, webhookSecretFile=str(path))
    secret = config.webhook_secret
    assert secret is not None
    assert secret.read_lines() == [b"old"]
    path.write_text("old\nnew\n\n")
    assert secret.read_lines() == [b"old", b"new"]
    path.unlink()
    assert secret.read_lines() == [b"old", b"new"]
    path.write_text(" \n")
    assert secret.read_lines() == [b"old", b"new"]
    assert "old" not in repr(config)


def test_polling_takes_no_webhook_and_an_app_its_key(tmp_path: Path) -> None:
    env = {"FYRE_POLL": "true", "FYRE_APP_ID": "4711", "FYRE_APP_PRIVATE_KEY": pem(private_key())}
    config = load(tmp_path, None, env, **GOOD)
    assert (config.webhook_secret, config.token, config.get("appId")) == (None, None, 4711)
    assert "BEGIN" not in repr(config)
    assert load(tmp_path, None, {**ENV, "FYRE_POLL": "true"}, **GOOD).webhook_secret is None


def test_check_config_says_what_would_be_used_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key, value in ENV.items():
        monkeypatch.setenv(key, value)
    (tmp_path / "fyre.yaml").write_text("url: https://fyre.example.org\n")
    assert (
        serve.main(["--check-config", "--config", str(tmp_path / "fyre.yaml"), "--jobs", "3"]) == 0
    )
    said = capsys.readouterr().out
    assert f'url: "https://fyre.example.org"  # {tmp_path}/fyre.yaml line 1\n' in said
    assert "jobs: 3  # --jobs\n" in said
    assert "# the webhook's secret: from FYRE_WEBHOOK_SECRET\n" in said
    assert said.endswith("# configuration OK\n")
    assert not [secret for secret in ENV.values() if secret in said]
    shown = yaml.safe_load(said)
    jsonschema.validate(json.loads(json.dumps(shown)), configs.load_schema())


def test_unknown_options_are_wrong_usage() -> None:
    for words, says in (
        (["--token", SECRET], "no such option: --token"),
        ([f"--token={SECRET}"], "option: --token"),
        ([SECRET], "it takes options, and nothing else"),
    ):
        with pytest.raises(UserError, match=says) as caught:
            serve.main(words)
        assert caught.value.exit_code == 2
        assert SECRET not in caught.value.message  # as far as we know it may be one


def test_what_the_readme_shows_is_taken() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    shown = (
        readme.partition("## For a team, on GitHub")[2]
        .partition("```yaml\n")[2]
        .partition("```")[0]
    )
    jsonschema.validate(yaml.safe_load(shown), configs.load_schema())


ON_CLUSTER = "url: https://fyre\nengine: kubernetes\npolicy: policy.yaml\nlease: fyre/fyre\n"


def test_several_receivers_share_key_and_logs_and_know_where_each_other_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("policy.yaml").write_text("profiles: {default: {image: alpine}}\n")
    assert "needs advertise" in refused(tmp_path, ON_CLUSTER)[0]
    message, hint = refused(tmp_path, ON_CLUSTER + "advertise: 10.0.0.7\n")
    assert message == "fyre.yaml line 4: lease: receivers must share a logStore, and there is none"
    assert "a folder on a shared volume" in hint
    text = ON_CLUSTER + "logStore: /mnt/logs\n"
    message, hint = refused(tmp_path, text + "advertise: 10.0.0.7\n")
    assert "receivers must share a key" in message
    assert "FYRE_KEY" in hint
    short = {**ENV, "FYRE_KEY": SECRET}
    assert "shorter than 32" in refused(tmp_path, text + "advertise: 10.0.0.7\n", short)[0]
    env = {**ENV, "FYRE_KEY": SECRET * 2}
    config = load(tmp_path, text + "advertise: 10.0.0.7\n", env)
    assert (config.get("lease"), config.get("advertise")) == ("fyre/fyre", "10.0.0.7")
    for address in ("fd00::7", "[fd00::7]"):  # as a pod's status has it, and as URLs do
        assert load(tmp_path, text, {**env, "FYRE_ADVERTISE": address}).get("advertise") == address
    assert "has no effect with engine local" in refused(tmp_path, **GOOD, lease="fyre/fyre")[0]
    assert "is not a valid value" in refused(tmp_path, **GOOD, lease="fyre")[0]


def test_a_secret_of_our_own_is_never_empty(tmp_path: Path) -> None:
    for name in ("one", "one.new"):  # as where the disk was full, or somebody killed us
        (tmp_path / name).touch()
    assert len(secrets_from_folder(tmp_path)("one")) == 64
    assert secrets_from_folder(tmp_path)("one") == (tmp_path / "one").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_secrets_of_our_own_are_kept_or_made_from_a_shared_key(tmp_path: Path) -> None:
    config = load(tmp_path, env={**ENV, "FYRE_KEY": SECRET * 2}, **GOOD)
    assert config.shared_key is not None
    one, other = secrets_from_key(config.shared_key), secrets_from_folder(tmp_path / "state")
    for own in (one, other):
        assert own("relay.secret") == own("relay.secret") != own("pages.secret")
        assert len(bytes.fromhex(own("instance").decode())) == 32
    assert (tmp_path / "state" / "instance").stat().st_mode & 0o777 == 0o600
    assert one("instance") == secrets_from_key(config.shared_key)("instance") != other("instance")
