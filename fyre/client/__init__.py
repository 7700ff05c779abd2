"""The client: ask a forge and a receiver about runs, for a terminal, a notebook or a page.

Nothing in this package prints, or ends the process. What happens to a run is told by events::

    client = RunClient.from_remote(resolve_remote())
    for event in follow_run(client, sha, "run"):
        match event:
            case LogChunk(data=data): ...
            case RunEnded(outcome=outcome): ...
"""
