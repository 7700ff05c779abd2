"""Outputs over HTTP: by path, by hash, from any byte, and only with the run's own address."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import requests

from fyre.artifacts import object_storage
from fyre.client.outputs import OutputDownload, fetch_outputs
from fyre.errors import UserError
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


def test_10_2_small_outputs_come_together_and_damaged_ones_one_by_one(
    person: Person, tmp_path: Path
) -> None:
    sha = person.run('cd "$FYRE_OUTPUTS"; for n in $(seq 60); do printf $n > $n; done; : > empty')
    page = person.final(sha)["target_url"]
    outputs = fetch_outputs(page)
    assert outputs is not None
    artifacts = outputs.manifest.artifacts
    places = [artifacts.index(outputs.manifest.find_artifact(name)) for name in ("7", "42", "7")]
    bundle = f"{page}/bundle?files={','.join(map(str, places))}"
    assert requests.get(bundle, timeout=30).content == b"7427"
    for wrong in ("", "61", "-1", "0,", "x", ",".join(["0"] * 501)):
        answer = requests.get(f"{page}/bundle?files={wrong}", timeout=30)
        assert answer.status_code == 400, wrong
    assert requests.get(f"{page[:-4]}aaaa/bundle?files=0", timeout=30).status_code == 404
    folder = tmp_path / "pulled"
    (folder / "below").mkdir(parents=True)
    (folder / "5").write_text("5")
    download = OutputDownload(outputs, folder)
    download.run(outputs.select([]))
    pulled = {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}
    assert pulled == {str(n): str(n) for n in range(1, 61)} | {"empty": ""}
    assert (len(download.written), len(download.kept)) == (60, 1)
    damaged = hashlib.sha256(b"42").hexdigest()
    store = person.up.local_forge.root / "artifacts" / object_storage.blob_key(damaged)
    store.write_text("XX")
    with pytest.raises(UserError, match="42: the content in the store is damaged"):
        OutputDownload(outputs, tmp_path / "again").run(outputs.select([]))
