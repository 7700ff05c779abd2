"""The documentation is true: its site builds, its links lead somewhere, its names exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.support.ci_marks import long_case

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GENERATOR = DOCS / "site/generate.py"
RECORDS = sorted((DOCS / "explanation/adr").glob("[0-9]*.md"))
WRITTEN = [
    *sorted(ROOT.glob("*.md")),
    *(page for page in sorted(DOCS.rglob("*.md")) if page.parent.name != "reference"),
]
PROSE_WIDTH_MAX = 100  # characters


def test_the_reference_is_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, GENERATOR, "--check"],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_line_of_prose_has_at_most_100_characters(page: Path) -> None:
    long, code = [], False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        code ^= line.startswith("```")
        whole = len(line.split()) <= 2 or re.fullmatch(r"- \[[^\]]*\]\(\S+\)", line)
        if len(line) > PROSE_WIDTH_MAX and not (code or line.startswith("|") or whole):
            long.append(number)
    assert long == []


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:fyre|tests|benchmarks|hooks|deploy|docs|action)/[\w./-]+)`", text)
    files = [name for name in named if "." in Path(name).name or name.endswith("/")]
    assert [name for name in files if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_every_test_that_a_decision_names_exists(record: Path) -> None:
    text = record.read_text(encoding="utf-8")
    tested = text.partition("## How it is tested")[2]
    named = re.findall(r"^- `([\w./]+\.py)(?:::(\w+))?`$", tested, re.MULTILINE)
    assert named
    assert len(named) == len([line for line in tested.splitlines() if line.strip()])
    assert [f"{file}::{test}" for file, test in named if not _has(ROOT / file, test)] == []


def test_every_decision_has_its_reason_and_its_cost_and_a_place_in_the_list() -> None:
    index = (DOCS / "explanation/adr/index.md").read_text(encoding="utf-8")
    numbers = [int(record.name[:4]) for record in RECORDS]
    assert numbers == list(range(1, len(RECORDS) + 1))
    for record in RECORDS:
        text = record.read_text(encoding="utf-8")
        title = text.partition("\n")[0].removeprefix("# ")
        assert f"- [{title}]({record.name})" in index
        heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
        assert heads == ["Decision", "Why", "Cost", "How it is tested"], record.name


def test_every_term_has_one_row_and_a_place_in_the_code() -> None:
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    terms = [(term.strip(), place.strip(" `")) for term, _, place in rows[2:]]
    names = [term.strip("`").lower() for term, _ in terms]
    assert names == sorted(names)
    assert [place for _, place in terms if not (ROOT / place).is_file()] == []
    assert len(set(names)) == len(names)


def _has(path: Path, test: str) -> bool:
    return path.is_file() and (not test or f"def {test}(" in path.read_text(encoding="utf-8"))


class _Page(HTMLParser):
    """The links of a page and the places in it that a link can name."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = {""}
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in ("img", "script", "link", "iframe") and given.get("rel") != "canonical":
            self.loaded += [given[name] for name in ("src", "href") if name in given]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built."""
    if find_spec("mkdocs") is None or find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed: pip install '.[docs]'; .ci/run does that")
    target = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet",
         "--config-file", DOCS / "site/mkdocs.yml", "--site-dir", target],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@long_case
@pytest.mark.ci
def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    pages = {path.resolve(): _Page(path) for path in site.rglob("*.html")}
    assert len(pages) > len(RECORDS) + 20
    broken = []
    for path, page in pages.items():
        if path.name == "404.html":  # its links begin at the top of wherever the site is served
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            found = target in pages and unquote(parts.fragment) in pages[target].anchors
            if not found and not (target.is_file() and not parts.fragment):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []


@long_case
@pytest.mark.ci
def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    loaded = {one for path in site.rglob("*.html") for one in _Page(path).loaded}
    assert loaded
    assert [one for one in loaded if urlsplit(one).netloc] == []
