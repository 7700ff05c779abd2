from __future__ import annotations

import pytest

from fyre.errors import UserError
from fyre.message import credential_scan
from tests.support.ci_marks import long_case

HEX40 = "0123456789abcdef0123456789abcdef01234567"
AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzz"
SECRET = {  # a command, and the part of it that nobody may see
    "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7ABCDEFG python x": "AKIAIOSFODNN7ABCDEFG",
    f"export aws_secret_access_key={AWS_SECRET}": AWS_SECRET,
    "curl -H 'Authorization: Bearer abcdef1234567890xyz' host": "abcdef1234567890xyz",
    f"GH=ghp_{'a1B2' * 9} gh api": f"ghp_{'a1B2' * 9}",
    f"GH_TOKEN=ghp_{'a1B2c3D4e5F6' * 3} gh api": f"ghp_{'a1B2c3D4e5F6' * 3}",
    f"clone github_pat_{'a1' * 20}": "a1a1a1",
    "x glpat-abcdefghij0123456789": "abcdefghij",
    "python x.py sk-proj-abcd1234efgh5678ijkl90": "abcd1234",
    "python x.py sk-ant-api03-abcdEFGH1234567890abcd": "abcdEFGH",
    "notify xoxb-123456789012-abcdef": "123456789012",
    f"HF=hf_{'aB3' * 11} python x": "aB3aB3",
    "echo '-----BEGIN RSA PRIVATE KEY----- MIIE'": " MIIE",
    "PASSWORD=hunter2 python train.py": "hunter2",
    "tool --password 'corr3ct horse'": "corr3ct horse",
    f"WANDB_API_KEY={HEX40} python train.py": HEX40,
    "mytool --token q8w7e6r5t4y3u2i1": "q8w7e6r5t4y3u2i1",
    'mytool --api-key="Zx81jkQ92mmPo"': "Zx81jkQ92mmPo",
    "git clone https://bob:s3cr3tpw@host/x.git": "s3cr3tpw",
    "call eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl": "eyJzdWIiOiIx",
}
INNOCENT = [
    "python train.py",
    "TOKEN=$TOKEN x",
    "TOKEN=${TOKEN:-none} x",
    'TOKEN="$TOKEN" x',
    "tool --token $(cat file)",
    "tool --token `cat file1234567890`",
    "PASSWORD=changeme x",
    "PASSWORD=xxx x",
    "tool --token xxxxxxxxxxxxxxx",
    "TOKEN=<your-token-here-12345>",
    "export AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE",
    f"git checkout {HEX40}",
    f"python x --sha256={HEX40}",
    f"docker run python@sha256:{'ab12' * 16}",
    "python x --max-tokens 4096",
    "python x --tokenizer bert-base-uncased-2020",
    "python x --pad_token='[PAD]' --special-token '<|endoftext|>'",
    "tool --password-file /run/secrets/password1",
    "tool --token=/run/secrets/token1234567890",
    "tool --token @keys/prod/token-2024-01.txt",
    "pip install sk-learn sk-learn-contrib-something-long-name",
    "python x --secret-name foo12345678910",
    "curl https://host:8080/path@v1",
    "git clone http://u:$PASS@host/x",
    "pip install git+ssh://git@github.com/a/b",
    "echo the token is abcdef1234567890",
    "tool --password=prompt",
    "python -m token train2",
]


@pytest.mark.parametrize("command", SECRET)
def test_credentials_are_found_and_never_shown(command: str) -> None:
    with pytest.raises(UserError) as refused:
        credential_scan.reject_credentials("true", command)
    assert SECRET[command] not in credential_scan.mask_credentials(command)
    assert SECRET[command] not in refused.value.message + refused.value.hint
    assert "--secret" in refused.value.hint


@pytest.mark.parametrize("command", INNOCENT)
def test_what_is_no_credential_passes_untouched(command: str) -> None:
    assert credential_scan.find_credentials(command) == ()
    assert credential_scan.mask_credentials(command) == command


def test_masking_keeps_all_the_rest() -> None:
    both = f"A=1 TOKEN=ghp_{'a1B2c3D4e5F6' * 3} x --password hunter2 && echo done"
    assert credential_scan.mask_credentials(both) == "A=1 TOKEN=**** x --password **** && echo done"


@long_case
@pytest.mark.parametrize("text", ["a" * 200_000 + " ://", "sk-" * 80_000, "eyJaaaaaaaa-" * 20_000])
def test_a_long_text_is_looked_through_in_no_time(text: str) -> None:
    assert (
        credential_scan.mask_credentials(text) == text
    )  # in minutes, where each place in it looks to the end: no thread runs then
