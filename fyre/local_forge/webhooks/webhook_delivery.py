"""One event to one delivery: build the payload, post it, write down what the receiver said."""

from __future__ import annotations

import json
import logging
import re
import sqlite3
import time
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fyre.git.cat_file import ObjectReader
from fyre.local_forge import auth
from fyre.local_forge.api import check_run_json, pull_json
from fyre.local_forge.api.commit_comment_json import COMMIT_COMMENTS_REF, serialize_commit_comment
from fyre.local_forge.api.common_json import ForgeUrls, JsonObject
from fyre.local_forge.api.pull_json import ISSUE_COMMENTS_REF
from fyre.local_forge.auth import User
from fyre.local_forge.database import DELIVERIES_KEPT, DELIVERY_COLUMNS, ForgeDatabase
from fyre.local_forge.storage.notes import GitNotes, NoteRecord
from fyre.local_forge.storage.repository_store import BareRepository, RepositoryStore
from fyre.local_forge.storage.stored_notes import (
    CHECK_NOTE,
    COMMENT_NOTE,
    CONVERSATION_NOTE,
    pull_from_json,
)
from fyre.local_forge.webhooks import webhook_payloads, webhook_sender
from fyre.local_forge.webhooks.webhook_payloads import BRANCH_PREFIX, PushDetails
from fyre.local_forge.webhooks.webhook_sender import DeliveryResult, WebhookSender
from fyre.runs.run import ZERO_SHA
from fyre.stored_form import StoredForm, UnreadableError, parse_json

log = logging.getLogger(__name__)

UNDELIVERED, DELIVERED, WRITING = 0, 1, -1
"""An event's ``delivered``; ``WRITING`` is a comment whose note is not on disk yet."""

_NOTES_REFS = {
    "commit_comment": (COMMIT_COMMENTS_REF, COMMENT_NOTE),
    "issue_comment": (ISSUE_COMMENTS_REF, CONVERSATION_NOTE),
}
"""Which notes an event's comment is among."""

_EVENT_ACTIONS = {"push": None, "check_run": "rerequested"}

_INSERT = (
    f"insert into deliveries ({DELIVERY_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - ours
)

_FINAL_REJECTIONS = frozenset({400, 413, 422})
"""Answers that another attempt at the same bytes can't change. Anything else that is not 2xx may pass."""


@dataclass(frozen=True)
class WebhookDeliverer:
    """Delivers the events of any repository through one connection."""

    database: ForgeDatabase
    sender: WebhookSender
    urls: ForgeUrls
    webhook_secret: bytes

    def next_event(self, repo: BareRepository) -> sqlite3.Row | None:
        """The oldest undelivered event of a repository."""
        rows = self.database.fetch_rows(
            "select * from events where repo = ? and delivered = 0 order by seq limit 1", repo.id
        )
        return rows[0] if rows else None

    def deliver_event(self, repo: BareRepository, event: sqlite3.Row) -> bool:
        """Deliver an event; False when it has to be told again later. One that can't be read is left out."""
        try:
            body = webhook_payloads.encode_payload(self._build_payload(repo, event))
        except UnreadableError as error:
            log.warning("webhook %s of %s is left out: %s", event["guid"], repo.name, error)
            with self.database.transaction() as db:
                self._mark_delivered(db, repo, event)
            return True
        answer = self._send_signed(repo, event["event"], event["guid"], body)
        settled = 200 <= answer.status_code < 300 or answer.status_code in _FINAL_REJECTIONS
        if not 200 <= answer.status_code < 300:
            log.warning(
                "webhook %s of %s: %s %s",
                event["guid"],
                repo.name,
                answer.status_code or "no answer:",
                answer.reason,
            )
        record = self._delivery_writer(repo, event, body, answer)
        with self.database.transaction() as db:
            db.execute(
                "delete from deliveries"  # of an event told again and again only the last failure is worth keeping
                " where repo = ? and seq = ? and not redelivery and status_code not between 200 and 299",
                (repo.id, event["seq"]),
            )
            record(db)
            if settled:
                self._mark_delivered(db, repo, event)
        return settled

    def resend_delivery(self, repo: BareRepository, delivery_id: int) -> None:
        """Send a recorded delivery again: the same bytes, the same GUID."""
        rows = self.database.fetch_rows(
            "select * from deliveries where repo = ? and id = ?", repo.id, delivery_id
        )
        for row in rows:
            body = zlib.decompress(row["payload"])
            answer = self._send_signed(repo, row["event"], row["guid"], body)
            record = self._delivery_writer(repo, row, body, answer, redelivery=True)
            with self.database.transaction() as db:
                record(db)

    def _build_payload(self, repo: BareRepository, event: sqlite3.Row) -> JsonObject:
        actor = user_from_actor(event["actor"])
        if event["event"] == "commit_comment":
            comment = _detail(event, COMMENT_NOTE)
            return webhook_payloads.build_comment_payload(
                repo,
                serialize_commit_comment(repo, event["after"], comment, self.urls),
                actor,
                self.urls,
            )
        if event["event"] == "issue_comment":
            told = _detail(event, CONVERSATION_NOTE)
            issue = pull_json.serialize_issue(repo, pull_from_json(told.get("about")), self.urls)
            comment = pull_json.serialize_issue_comment(repo, told, self.urls)
            return webhook_payloads.build_comment_payload(repo, comment, actor, self.urls) | {
                "issue": issue
            }
        if event["event"] == "check_run":
            check = check_run_json.serialize_check_run(
                repo, event["after"], _detail(event, CHECK_NOTE), self.urls
            )
            return webhook_payloads.build_check_run_payload(repo, check, actor, self.urls)
        tips = self.database.fetch_rows(
            "select ref, tip from positions where repo = ? and ref like ? and ref != ? and tip != ''",
            repo.id, BRANCH_PREFIX + "%", event["ref"],
        )  # fmt: skip
        known = {row["ref"]: row["tip"] for row in tips}
        payload = webhook_payloads.build_push_payload(
            repo,
            PushDetails(event["ref"], event["before"], event["after"], actor, known),
            self.urls,
        )
        if payload["forced"]:
            with self.database.transaction() as db:
                db.execute("update events set forced = 1 where seq = ?", (event["seq"],))
        return payload

    def _send_signed(
        self, repo: BareRepository, event: str, guid: str, body: bytes
    ) -> DeliveryResult:
        return self.sender.send_delivery(
            webhook_sender.delivery_headers(self.webhook_secret, event, guid, repo.id, body), body
        )

    def _delivery_writer(
        self,
        repo: BareRepository,
        event: sqlite3.Row,
        body: bytes,
        result: DeliveryResult,
        *,
        redelivery: bool = False,
    ) -> Callable[[sqlite3.Connection], None]:
        """What became of a POST, to be written in a transaction (in which no id can be minted)."""
        values = (
            self.database.next_id(), repo.id, event["seq"], event["guid"], event["event"],
            _EVENT_ACTIONS.get(event["event"], "created"),
            time.time(), result.duration, redelivery, result.reason, result.status_code,
            zlib.compress(body, 1), result.body.encode(errors="replace"),
        )  # fmt: skip

        def insert_delivery(db: sqlite3.Connection) -> None:
            db.execute(_INSERT, values)
            db.execute(
                "delete from deliveries where repo = ?1 and id <="
                " (select id from deliveries where repo = ?1 order by id desc limit 1 offset ?2)",
                (repo.id, DELIVERIES_KEPT),
            )

        return insert_delivery

    def _mark_delivered(
        self, db: sqlite3.Connection, repo: BareRepository, event: sqlite3.Row
    ) -> None:
        """The receiver has heard of it: that is where the ref stands for what is told next."""
        db.execute("update events set delivered = ? where seq = ?", (DELIVERED, event["seq"]))
        if event["event"] == "push":
            tip = "" if event["after"] == ZERO_SHA else event["after"]
            db.execute(
                "update positions set tip = ? where repo = ? and ref = ?",
                (tip, repo.id, event["ref"]),
            )


def reserve_comment_event(
    database: ForgeDatabase,
    repo: BareRepository,
    sha: str,
    comment: NoteRecord,
    pull_request: Mapping[str, object] | None = None,
) -> int:
    """Write down that a comment is about to be made, before it is; answer the event's number.

    ``about`` are the facts of a pull request, ``sha`` is then its blob's.
    """
    event, detail = (
        "issue_comment" if pull_request else "commit_comment",
        comment | ({"about": pull_request} if pull_request else {}),
    )
    guid = uuid.uuid5(uuid.NAMESPACE_URL, f"{repo.id} comment {comment['id']}")
    with database.transaction() as db:
        cursor = db.execute(
            "insert into events (repo, guid, event, ref, before, after, actor, at, detail, delivered)"
            " values (?, ?, ?, '', '', ?, ?, ?, ?, ?)",
            (
                repo.id,
                str(guid),
                event,
                sha,
                comment["user"],
                time.time(),
                json.dumps(detail),
                WRITING,
            ),
        )
        return int(cursor.lastrowid or 0)


def add_rerequest_event(
    database: ForgeDatabase, repo: BareRepository, sha: str, check_run: NoteRecord, actor: str
) -> None:
    """Have it told that somebody wants a check run once more; each click is an event of its own."""
    guid = uuid.uuid4()
    with database.transaction() as db:
        db.execute(
            "insert into events (repo, guid, event, ref, before, after, actor, at, detail)"
            " values (?, ?, 'check_run', '', '', ?, ?, ?, ?)",
            (repo.id, str(guid), sha, actor, time.time(), json.dumps(check_run)),
        )


def release_comment_event(database: ForgeDatabase, event_number: int) -> None:
    """The comment is made: it may be told."""
    with database.transaction() as db:
        db.execute("update events set delivered = ? where seq = ?", (UNDELIVERED, event_number))


def recover_comment_events(
    database: ForgeDatabase, repositories: RepositoryStore, objects: ObjectReader
) -> None:
    """After a crash: comments that were made are told, those that never came to be are forgotten."""
    notes = {event: GitNotes(ref, objects, form) for event, (ref, form) in _NOTES_REFS.items()}
    rows = database.fetch_rows("select * from events where delivered = ?", WRITING)
    bares = {bare.id: bare for bare in repositories} if rows else {}
    for row in rows:
        bare, about = bares.get(row["repo"]), notes.get(row["event"])
        kept = (
            about.read_commit_notes(bare.git_dir, row["after"])
            if bare is not None and about is not None
            else []
        )
        if any(one.get("id") == _comment_id(row) for one in kept):
            release_comment_event(database, row["seq"])
        else:
            with database.transaction() as db:
                db.execute("delete from events where seq = ?", (row["seq"],))


def _detail(event: sqlite3.Row, form: StoredForm) -> NoteRecord:
    """What an event says of its comment or check run. Raises ``UnreadableError``."""
    found: Any = parse_json(event["detail"])
    form.decode(found)
    return dict(found)


def _comment_id(event: sqlite3.Row) -> int | None:
    """The id of an event's comment; None where that can't be read, and so never came to be."""
    try:
        found = _detail(event, COMMENT_NOTE).get("id")
    except UnreadableError as error:
        log.warning("webhook %s is left out: %s", event["guid"], error)
        return None
    return found if isinstance(found, int) else None


def user_from_actor(actor: str) -> User:
    """A reflog's name as a login: pushes by the file system carry a person's full name."""
    return User(
        auth.valid_login(actor)
        or re.sub(r"[^A-Za-z0-9._-]+", "-", actor).strip("-._")[:100]
        or "unknown"
    )
