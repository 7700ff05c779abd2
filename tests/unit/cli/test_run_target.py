"""Which runs a verb is about."""

from types import SimpleNamespace

from fyre.cli.run_target import CommitTarget


def test_9_40_moved_is_no_run_that_can_run_again() -> None:
    target = CommitTarget(None, "a" * 40, "Train\n\nFyre-Run: x\n")  # type: ignore[arg-type]
    runs = [SimpleNamespace(name=name) for name in ("moved", "run", "noted")]
    assert target.known_run_names(runs) == ["run", "noted"]  # type: ignore[arg-type]
