"""D37: the table of runs on terminals of any width."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime, timedelta

import pytest

from fyre.cli import table
from fyre.client.run_client import RunSummary
from fyre.runs.state import RunState

LONG = "not launched: `Fyre-Tiemout` is no trailer of Fyre; did you mean `Fyre-Timeout`? " * 2


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(name: str, description: str, command: str, *, running: bool = False) -> RunSummary:
    begun = (datetime.now(UTC) - timedelta(hours=3, minutes=20)).isoformat()
    state = RunState.RUNNING if running else RunState.SUCCEEDED
    ended = None if running else begun
    return RunSummary("a" * 40, name, command, state, description, 1, begun, ended, 0, "")


RUNS = [
    run("train", "exit 0 · 3s", "python train.py --lr 0.1"),
    run("eval", LONG, "python eval.py"),
    run("long", "running", "python long.py", running=True),
]


def lines(monkeypatch: pytest.MonkeyPatch, columns: int, notes: dict[str, str]) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", screen := Terminal())
    table.print_run_table(RUNS, as_json=False, notes=notes)
    return screen.getvalue().splitlines()


def test_d37_the_command_stays_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = lines(monkeypatch, 80, {})
    assert max(map(len, shown)) <= 80
    for line, summary in zip(shown, RUNS, strict=True):
        assert line.endswith(summary.command)
    assert "not launched: `Fyre-Tie" in shown[1]


@pytest.mark.parametrize("columns", [20, 40, 60, 100, 200, 400])
def test_d37_no_line_is_longer_than_the_terminal(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    shown = lines(monkeypatch, columns, {"a" * 40: "a note · on 1234567"})
    assert max(map(len, shown)) <= columns


def test_d37_age_and_note_are_shown_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = lines(monkeypatch, 300, {"a" * 40: "a note · on 1234567"})
    assert shown[0].endswith("3h ago · a note · on 1234567")
    assert shown[2].endswith("for 3h · a note · on 1234567")


def test_d37_a_pipe_gets_all_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    table.print_run_table(RUNS, as_json=False, notes={"a" * 40: "a note"})
    shown = capsys.readouterr().out
    assert " ".join(LONG.split()) in shown
    assert "a note" not in shown


def test_10_a_metric_is_whole_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("train", "exit 0 · 12m 03s · val_acc 0.976", f"python train.py {'--lr 0.1 ' * 9}")
    monkeypatch.setattr(sys.modules[__name__], "RUNS", [done])
    assert "12m 03s · val_acc 0.976  python" in lines(monkeypatch, 80, {})[0]
