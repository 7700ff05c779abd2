"""Check the ``.fyre.yaml`` of what is committed or pushed; only for commits that ask for runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fyre import hooks

CONFIG_FILE = ".fyre.yaml"


def find_staged_problem() -> str:
    """Return what is wrong with the file that is about to be committed; "" for nothing.

    GIT_INDEX_FILE holds what is about to be committed, also with -a or pathspecs.
    """
    entry = hooks.git_output("ls-files", "--stage", "--", f":(top){CONFIG_FILE}")
    if not entry:
        return ""
    mode, object_name = entry.split()[:2]
    if mode == "120000":
        return f"{CONFIG_FILE} is a symbolic link, and a run does not follow it"
    return find_problem(hooks.git_output("cat-file", "blob", object_name))


def find_committed_problems(shas: Sequence[str]) -> Mapping[str, str]:
    """Return what is wrong with the file in each of these commits, by SHA: one git process."""
    from fyre.git import git_command

    names = "".join(f"{sha}:{CONFIG_FILE}\n" for sha in shas)
    output = git_command.run_git("cat-file", "--batch", stdin=names.encode()).stdout
    problems: dict[str, str] = {}
    for sha in shas:
        header, _, output = output.partition(b"\n")
        if header.endswith(b" missing"):
            continue
        size = int(header.rpartition(b" ")[2])
        if b" blob " in header:
            problem = find_problem(output[:size].decode(errors="surrogateescape"))
            problems |= {sha: problem} if problem else {}
        output = output[size + 1 :]
    return problems


def find_problem(text: str) -> str:
    """Return the mistake in the text of such a file, with its line; "" if there is none.

    A hook begins without the installed packages, of which this needs PyYAML and jsonschema.
    """
    import site

    site.main()
    try:
        from fyre.runs import repo_config

        repo_config.parse_repo_config(text)
    except ImportError:  # moved away: `fyre check` and the receiver will tell
        return ""
    except repo_config.RepoConfigError as error:
        return f"{error}\n  hint: {error.hint}" if error.hint else str(error)
    return ""
