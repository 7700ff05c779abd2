"""What a person sees on the pages: colours, times, and a log as a terminal would leave it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import requests

from fyre.message import value_parsers
from fyre.server import run_pages
from tests.support.person import Person, person

__all__ = ["person"]

TEMPLATES = Path(run_pages.__file__).parent / "templates"
STYLE = (TEMPLATES / "base.html").read_text()
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no JavaScript here")


def contrast(first: str, second: str) -> float:
    """The ratio of two colours, as WCAG 2 defines it."""
    lighter, darker = sorted((luminance(first), luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_9_39_every_colour_of_text_can_be_read_by_day_and_in_the_dark() -> None:
    """A ratio of 4.5 is what WCAG asks for; a page without a background has the browser's."""
    day, dark = (
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", rules))
        for rules in re.findall(r":root \{(.*?)\}", STYLE)
    )
    assert "background: var(--back)" in STYLE
    assert day.keys() == dark.keys() >= set(re.findall(r"[{ ]color: var\(--(\w+)\)", STYLE))
    for colours in (day, dark):
        back = colours.pop("back")
        assert {name: ratio for name, colour in colours.items()
                if (ratio := contrast(colour, back)) < 4.5} == {}  # fmt: skip


def test_9_39_on_a_phone_the_list_is_no_table() -> None:
    """Six columns would be wider than it; each cell is a line of its own there."""
    phone = STYLE[STYLE.index("@media (max-width") :]
    assert re.search(r"table, tbody, tr, td \{[^}]*display: block", phone)
    assert re.search(r"td \{[^}]*overflow-wrap: anywhere", phone)


def test_9_39_a_page_says_how_long_a_run_took_and_in_which_time_zone(person: Person) -> None:
    status = person.final(person.run("true"))
    page, listed = requests.get(status["target_url"]).text, requests.get(person.up.url).text
    assert re.search(r'<dd id="elapsed">\d+s</dd>', page)
    asked = r"\d{4}-\d\d-\d\d \d\d:\d\d UTC<"
    assert re.search(asked, page)
    assert re.search(asked, listed)


def displayed(tmp_path: Path, log: bytes, piece_length: int) -> dict[str, str | None]:
    """What the page shows of a log that arrives in pieces: the text of each element."""
    record = dict.fromkeys(("command", "log_url", "created"), "x") | {"sha": "a" * 40, "attempt": 1}
    page = run_pages._TEMPLATES.get_template("run.html").render(run=record)
    (tmp_path / "page.html").write_text(page)
    (tmp_path / "log").write_bytes(log)
    script = Path(__file__).parents[2] / "support" / "run_page.js"
    files = tmp_path / "page.html", tmp_path / "log"
    shown = subprocess.run(
        ["node", script, *files, str(piece_length)], capture_output=True, text=True, check=True
    )
    elements: dict[str, str | None] = json.loads(shown.stdout)
    return elements


RAW_LOG = (
    "plain ü\r\n"
    "\x1b[1;31mred\x1b[0m and \x1b]0;a title\x07"
    "\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\ \x1b(Bset\n"
    "  0%\r 50%\r100%\r\n"
    "bell\x07, null\0, an escape\x1b\n"
    "\x1b[?25l  1/2\r\x1b[K  2/2\r"
).encode()


@needs_node
@pytest.mark.parametrize("piece_length", [1, 7, 10_000])
def test_9_39_a_log_is_shown_as_a_terminal_would_leave_it(
    tmp_path: Path, piece_length: int
) -> None:
    shown = displayed(tmp_path, RAW_LOG, piece_length)
    assert (shown["log"] or "").split("\n") == [
        "plain ü", "red and link set", "100%", "bell, null, an escape", "  2/2",
    ]  # fmt: skip
    assert shown.get("cut") is None
    assert shown["elapsed"] == value_parsers.format_duration(723) == "12m 03s"


@needs_node
def test_9_39_a_page_that_shows_only_the_end_of_a_log_says_so(tmp_path: Path) -> None:
    lines = "".join(f"line {number}\n" for number in range(300_000))
    shown = displayed(tmp_path, lines.encode(), 64_000)
    end = shown["log"] or ""
    assert lines.endswith(end)
    assert 500_000 < len(end) <= 2_000_000
    assert shown["cut"] is not None


@needs_node
def test_9_39_the_page_says_durations_as_the_statuses_do() -> None:
    seconds = [0, 59, 60, 723, 3599, 3600, 7543, 86399, 86400, 270_000]
    script = (TEMPLATES / "log_text.js").read_text()
    script += f"console.log(JSON.stringify({seconds}.map(formatDuration)))"
    said = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    assert json.loads(said.stdout) == [value_parsers.format_duration(one) for one in seconds]
