"""Outputs over HTTP: by path, by hash, from any byte, and only with the run's own address."""

from __future__ import annotations

import hashlib

import requests

from tests.support.person import Person, person

__all__ = ["person"]

PAGE = b"<script>alert(1)</script>"


def test_an_output_is_sent_to_be_saved_and_only_by_its_runs_address(person: Person) -> None:
    first = person.run(f"printf '%s' '{PAGE.decode()}' > \"$FYRE_OUTPUTS/a page.html\"")
    second = person.run('echo other > "$FYRE_OUTPUTS/b"')
    page, other = (person.final(sha)["target_url"] for sha in (first, second))

    def get(path: str, **headers: str) -> requests.Response:
        return requests.get(page + path, headers=headers, timeout=30)

    answer = get("/outputs/a%20page.html")
    assert answer.content == PAGE
    assert answer.headers["Content-Disposition"] == "attachment"
    assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    blob = f"/blobs/{hashlib.sha256(PAGE).hexdigest()}"
    for asked, part in (
        ("8-", PAGE[8:]),
        ("0-2", PAGE[:3]),
        ("-4", PAGE[-4:]),
        ("3-999", PAGE[3:]),
    ):
        rest = get(blob, Range=f"bytes={asked}")
        assert (rest.status_code, rest.content) == (206, part), asked
    for asked in ("bytes=0-", "bytes=3-1", "bytes=0-1,3-4", "lines=1-2", "bytes=-", "bytes=-999"):
        assert get(blob, Range=asked).content == PAGE, asked
    assert get(blob, Range=f"bytes={len(PAGE)}-").status_code == 416
    changed = get(blob, Range="bytes=8-", **{"If-Range": '"another"'})
    assert (changed.status_code, changed.content) == (200, PAGE)

    (listed,) = get("/outputs.json").json()["artifacts"]
    assert (listed["path"], listed["size"]) == ("a page.html", len(PAGE))

    stranger = hashlib.sha256(b"other\n").hexdigest()
    assert requests.get(f"{other}/blobs/{stranger}", timeout=30).content == b"other\n"
    for path in (f"/blobs/{stranger}", "/outputs/b", "/outputs/../../b", "/blobs/..%2f..%2fx"):
        assert get(path).status_code == 404
    forged = page[:-1] + ("0" if page[-1] != "0" else "1")
    for path in ("/outputs.json", "/outputs/a%20page.html"):
        assert requests.get(forged + path, timeout=30).status_code == 404
