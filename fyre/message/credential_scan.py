"""Find what looks like a credential in a command. Pure.

A commit stays for ever, and everybody who can read it can read its command. Tokens are recognised
by the prefixes that their makers gave them for this purpose; other credentials by the name that
they are assigned to. Names of secrets, ``$TOKEN``, ``$(cat file)``, placeholders and bare hashes
are not credentials.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from math import log2

from fyre.errors import UserError

_ASSIGNED_NAMES = (
    r"pass(?:word|wd|phrase)|pwd|secret|token"
    r"|api[_-]?key|access[_-]?key|private[_-]?key|auth[_-]?key"
)
_VALUE_PATTERN = r"""(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^\s'";|&()]+))"""

# Each entry: the kind of credential; substrings (lower case) without which the pattern can't match,
# so that most commands compile nothing; the pattern. The credential is the group ``double``,
# ``single`` or ``bare``, or else the whole match. No pattern looks to the end of a long text from
# each place in it: every line of the log goes through here, and strangers write parts of some.
_TOKEN_PATTERNS = (
    ("an AWS access key", ("akia", "asia"), r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    (
        "a GitHub token",
        ("gh", "github_pat_"),
        r"\b(?:gh[pousr]_[A-Za-z0-9](?:[\w.-]{28,}[\w-])|github_pat_\w{22,})",
    ),
    ("a GitLab token", ("glpat-",), r"\bglpat-[\w-]{20,}"),
    ("a Slack token", ("xox",), r"\bxox[abeoprs]-[\w-]{10,}"),
    ("a Google API key", ("aiza",), r"\bAIza[\w-]{35}"),
    ("a Hugging Face token", ("hf_",), r"\bhf_[A-Za-z0-9]{30,}"),
    ("a package registry's token", ("npm_", "pypi-"), r"\b(?:npm_[A-Za-z0-9]{36}|pypi-[\w-]{40,})"),
    (
        "an API key",
        ("sk-", "sk_"),
        r"\bsk[-_](?=[\w-]{0,200}\d)(?=[\w-]{0,200}[A-Za-z]{3})(?:[a-z]+[-_])*\w[\w-]{18,}",
    ),
    ("a JSON web token", ("eyj",), r"\beyJ[\w-]{8,4000}\.eyJ[\w-]{8,}\.[\w-]*"),
    (
        "a private key",
        ("private key-----",),
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^-'\"]*(?:-----END[A-Z ]*-----)?",
    ),
)
_ASSIGNMENT_PATTERNS = (
    ("a password in a URL", ("://",), r"(?<=[\w+.-])://[^\s/:@'\"]*:(?P<bare>[^\s/@'\"]+)@"),
    (
        "an authorization header",
        ("authorization",),
        r"(?i)authorization:\s*(?:\w+\s+)?(?P<bare>[^\s'\"]{8,})",
    ),
    (
        "a value given to {name}",
        ("pass", "pwd", "secret", "token", "key"),
        (
            rf"(?i)(?P<name>(?<![\w-])(?:[\w-]*[_-])?(?:{_ASSIGNED_NAMES}))"
            rf"(?:\s*=\s*|:\s*|(?<=\w)(?P<space>\s+)){_VALUE_PATTERN}"
        ),
    ),
)
_PLACEHOLDER = re.compile(
    r"(?i)[x*.#?-]+"
    r"|.*(?:example|changeme|change[-_]me|placeholder|dummy|redacted|x{4,}|your[-_]|\*{3,}).*"
    r"|(?:my[-_]?)?"
    r"(?:secret|password|passwd|token|key|test|todo|none|null|true|false|prompt|stdin|env)",
)


@dataclass(frozen=True, slots=True)
class CredentialMatch:
    """A kind of credential, and the place of the credential itself in the text."""

    kind: str
    start: int
    end: int


def find_credentials(text: str) -> tuple[CredentialMatch, ...]:
    """Return everything in the text that looks like a credential, in no particular order."""
    lower = text.lower()
    matches = [*find_tokens(text)]
    for kind, substrings, pattern in _ASSIGNMENT_PATTERNS:
        if any(substring in lower for substring in substrings):
            matches += [
                hit
                for match in re.finditer(pattern, text)
                for hit in _plausible_matches(kind, match)
            ]
    return tuple(matches)


def find_tokens(text: str) -> tuple[CredentialMatch, ...]:
    """Return the credentials that are known by the prefix that their makers gave them."""
    lower = text.lower()
    return tuple(
        CredentialMatch(kind, *match.span())
        for kind, substrings, pattern in _TOKEN_PATTERNS
        if any(substring in lower for substring in substrings)
        for match in re.finditer(pattern, text)
        if not _PLACEHOLDER.fullmatch(match[0])
    )


def mask_credentials(text: str) -> str:
    """Return the text with every credential replaced by ``****``."""
    masked, end = "", 0
    for credential in sorted(
        find_credentials(text), key=lambda credential: (credential.start, -credential.end)
    ):
        if credential.end > end:  # two patterns may match the same one
            masked += text[end : credential.start] + ("" if credential.start < end else "****")
            end = credential.end
    return masked + text[end:]


def reject_credentials(*texts: str, allow_option: str = "--allow-credential") -> None:
    """Raise ``UserError`` if a text holds what looks like a credential; that is never shown."""
    for text in texts:
        for credential in find_credentials(text):
            raise UserError(
                f"this looks like {credential.kind}, and commits are for ever: "
                f"{mask_credentials(text)[:200]}",
                hint="keep it in a secret of the cluster and name that with --secret "
                f"(Fyre-Secret), or say {allow_option}",
            )


def _plausible_matches(kind: str, match: re.Match[str]) -> list[CredentialMatch]:
    """Return the match, unless its value is no secret.

    Such a value is a placeholder, a variable, or too plain.
    """
    groups = match.groupdict()
    group = next(name for name in ("double", "single", "bare") if groups.get(name) is not None)
    value, name = groups[group], groups.get("name") or ""
    if groups.get("space") and not name.startswith("-"):
        return []  # "the token is …": only an option has its value after a space
    if group != "single" and value.startswith(("$", "`")):
        return []
    is_url = kind == _ASSIGNMENT_PATTERNS[0][0]  # a word there is a password, however plain
    is_placeholder = _PLACEHOLDER.fullmatch(value) and not (is_url and value.isalpha())
    if value.startswith(("$", "`", "<", "{", "@", "/", "./", "~", "-")) or is_placeholder:
        return []
    if is_url:
        return [CredentialMatch(kind, *match.span(group))]
    is_password = re.search(r"(?i)pass|pwd", name or "pass") and kind != _ASSIGNMENT_PATTERNS[1][0]
    if not (_looks_like_password(value) if is_password else _looks_like_token(value)):
        return []
    return [CredentialMatch(kind.format(name=name.lstrip("-")), *match.span(group))]


def _looks_like_password(value: str) -> bool:
    """Return True if the value has at least 6 characters and is no plain word or number.

    People's passwords are short; but a word is more likely a mode or a file.
    """
    return len(value) >= 6 and not value.isalpha() and not value.isdecimal()


def _looks_like_token(value: str) -> bool:
    """Return True if the value is long, mixes letters and digits, and has no character too often.

    That means at least 3 bits of entropy for each character (a hexadecimal hash has 3.5). Base 64
    has slashes as paths do, but is longer than most paths and has no dots, and paths rarely mix
    digits, lower case and upper case.
    """
    kinds = [any(map(kind, value)) for kind in (str.isdigit, str.islower, str.isupper)]
    is_mixed = (
        all(kinds) and len(value) >= 32 and "." not in value
        if "/" in value
        else kinds[0] and any(kinds[1:])
    )
    return len(value) >= 12 and is_mixed and _entropy_bits(value) >= 3.0


def _entropy_bits(value: str) -> float:
    """Return Shannon's entropy of the characters, in bits for each character."""
    return -sum(n / len(value) * log2(n / len(value)) for n in Counter(value).values())
