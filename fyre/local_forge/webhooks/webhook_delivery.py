"""Deliver one event: build the payload, post it, record the receiver's response."""

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
from fyre.local_forge.storage.git_notes import GitNotes, NoteRecord
from fyre.local_forge.storage.note_forms import (
    CHECK_NOTE,
    COMMENT_NOTE,
    CONVERSATION_NOTE,
    pull_from_json,
)
from fyre.local_forge.storage.repository_store import BareRepository, RepositoryStore
from fyre.local_forge.webhooks import webhook_payloads, webhook_sender
from fyre.local_forge.webhooks.webhook_payloads import BRANCH_PREFIX, PushDetails
from fyre.local_forge.webhooks.webhook_sender import DeliveryResult, WebhookSender
from fyre.runs.run import ZERO_SHA
from fyre.stored_form import StoredForm, UnreadableError, parse_json

log = logging.getLogger(__name__)

UNDELIVERED, DELIVERED, WRITING = 0, 1, -1
"""Values of an event's ``delivered``; ``WRITING`` is a comment whose note is not on disk yet."""

_NOTES_REFS = {
    "commit_comment": (COMMIT_COMMENTS_REF, COMMENT_NOTE),
    "issue_comment": (ISSUE_COMMENTS_REF, CONVERSATION_NOTE),
}
"""Ref of the notes that hold the comment of an event."""

_EVENT_ACTIONS = {"push": None, "check_run": "rerequested"}

_INSERT = (
    f"insert into deliveries ({DELIVERY_COLUMNS})"  # noqa: S608 - our own text
    " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

_FINAL_REJECTIONS = frozenset({400, 413, 422})
"""Status codes that another attempt with the same bytes can't change.

Any other that is not 2xx may pass.
"""


@dataclass(frozen=True)
class WebhookDeliverer:
    """Delivers the events of any repository through one connection."""

    database: ForgeDatabase
    sender: WebhookSender
    urls: ForgeUrls
    webhook_secret: bytes

    def next_event(self, repo: BareRepository) -> sqlite3.Row | None:
        """Return the oldest undelivered event of a repository."""
        rows = self.database.fetch_rows(
            "select * from events where repo = ? and delivered = 0 order by seq limit 1", repo.id
        )
        return rows[0] if rows else None

    def deliver_event(self, repo: BareRepository, event: sqlite3.Row) -> bool:
        """Deliver an event; return False if it must be sent again later.

        An event that can't be read is skipped.
        """
        try:
            body = webhook_payloads.encode_payload(self._build_payload(repo, event))
        except UnreadableError as error:
            log.warning("webhook %s of %s is skipped: %s", event["guid"], repo.name, error)
            with self.database.transaction() as db:
                self._mark_delivered(db, repo, event)
            return True
        result = self._send_signed(repo, event["event"], event["guid"], body)
        accepted = 200 <= result.status_code < 300
        done = accepted or result.status_code in _FINAL_REJECTIONS
        if not accepted:
            status = result.status_code or "no response:"
            guid, reason = event["guid"], result.reason
            log.warning("webhook %s of %s: %s %s", guid, repo.name, status, reason)
        insert_delivery = self._delivery_writer(repo, event, body, result)
        with self.database.transaction() as db:
            # Of an event that is sent again and again only the last failure is kept.
            db.execute(
                "delete from deliveries where repo = ? and seq = ? and not redelivery"
                " and status_code not between 200 and 299",
                (repo.id, event["seq"]),
            )
            insert_delivery(db)
            if done:
                self._mark_delivered(db, repo, event)
        return done

    def resend_delivery(self, repo: BareRepository, delivery_id: int) -> None:
        """Send a recorded delivery again: the same bytes, the same GUID."""
        rows = self.database.fetch_rows(
            "select * from deliveries where repo = ? and id = ?", repo.id, delivery_id
        )
        for row in rows:
            body = zlib.decompress(row["payload"])
            result = self._send_signed(repo, row["event"], row["guid"], body)
            insert_delivery = self._delivery_writer(repo, row, body, result, redelivery=True)
            with self.database.transaction() as db:
                insert_delivery(db)

    def _build_payload(self, repo: BareRepository, event: sqlite3.Row) -> JsonObject:
        actor = user_from_actor(event["actor"])
        if event["event"] == "commit_comment":
            record = _event_detail(event, COMMENT_NOTE)
            comment = serialize_commit_comment(repo, event["after"], record, self.urls)
            return webhook_payloads.build_comment_payload(repo, comment, actor, self.urls)
        if event["event"] == "issue_comment":
            record = _event_detail(event, CONVERSATION_NOTE)
            issue = pull_json.serialize_issue(repo, pull_from_json(record.get("about")), self.urls)
            comment = pull_json.serialize_issue_comment(repo, record, self.urls)
            payload = webhook_payloads.build_comment_payload(repo, comment, actor, self.urls)
            return payload | {"issue": issue}
        if event["event"] == "check_run":
            record = _event_detail(event, CHECK_NOTE)
            check = check_run_json.serialize_check_run(repo, event["after"], record, self.urls)
            return webhook_payloads.build_check_run_payload(repo, check, actor, self.urls)
        return self._build_push_payload(repo, event, actor)

    def _build_push_payload(
        self, repo: BareRepository, event: sqlite3.Row, actor: User
    ) -> JsonObject:
        tips = self.database.fetch_rows(
            "select ref, tip from positions"
            " where repo = ? and ref like ? and ref != ? and tip != ''",
            repo.id,
            BRANCH_PREFIX + "%",
            event["ref"],
        )
        other_tips = {row["ref"]: row["tip"] for row in tips}
        push = PushDetails(event["ref"], event["before"], event["after"], actor, other_tips)
        payload = webhook_payloads.build_push_payload(repo, push, self.urls)
        if payload["forced"]:
            with self.database.transaction() as db:
                db.execute("update events set forced = 1 where seq = ?", (event["seq"],))
        return payload

    def _send_signed(
        self, repo: BareRepository, event: str, guid: str, body: bytes
    ) -> DeliveryResult:
        headers = webhook_sender.delivery_headers(self.webhook_secret, event, guid, repo.id, body)
        return self.sender.send_delivery(headers, body)

    def _delivery_writer(
        self,
        repo: BareRepository,
        event: sqlite3.Row,
        body: bytes,
        result: DeliveryResult,
        *,
        redelivery: bool = False,
    ) -> Callable[[sqlite3.Connection], None]:
        """Return a function that records the result of a POST within a transaction.

        The new id is created before, because that is impossible inside a transaction.
        """
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
        """Mark an event as delivered; a push also sets the tip that the receiver knows."""
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
    """Record the event of a comment before the comment is written; return the event's number.

    ``pull_request`` has the facts of a pull request; ``sha`` is then the SHA of its blob.
    """
    event = "issue_comment" if pull_request else "commit_comment"
    detail = json.dumps(comment | ({"about": pull_request} if pull_request else {}))
    guid = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{repo.id} comment {comment['id']}"))
    with database.transaction() as db:
        cursor = db.execute(
            "insert into events"
            " (repo, guid, event, ref, before, after, actor, at, detail, delivered)"
            " values (?, ?, ?, '', '', ?, ?, ?, ?, ?)",
            (repo.id, guid, event, sha, comment["user"], time.time(), detail, WRITING),
        )
        return int(cursor.lastrowid or 0)


def add_rerequest_event(
    database: ForgeDatabase, repo: BareRepository, sha: str, check_run: NoteRecord, actor: str
) -> None:
    """Add an event for a click on Re-run; each click is an event of its own."""
    guid = uuid.uuid4()
    with database.transaction() as db:
        db.execute(
            "insert into events (repo, guid, event, ref, before, after, actor, at, detail)"
            " values (?, ?, 'check_run', '', '', ?, ?, ?, ?)",
            (repo.id, str(guid), sha, actor, time.time(), json.dumps(check_run)),
        )


def release_comment_event(database: ForgeDatabase, event_number: int) -> None:
    """Allow a comment's event to be delivered, now that the comment is written."""
    with database.transaction() as db:
        db.execute("update events set delivered = ? where seq = ?", (UNDELIVERED, event_number))


def recover_comment_events(
    database: ForgeDatabase, repositories: RepositoryStore, objects: ObjectReader
) -> None:
    """Repair the events of comments after a crash.

    Releases the events of written comments, and deletes those of unwritten ones.
    """
    notes_by_event = {
        event: GitNotes(ref, objects, form) for event, (ref, form) in _NOTES_REFS.items()
    }
    events = database.fetch_rows("select * from events where delivered = ?", WRITING)
    repos = {repo.id: repo for repo in repositories} if events else {}
    for event in events:
        repo, notes = repos.get(event["repo"]), notes_by_event.get(event["event"])
        records = []
        if repo is not None and notes is not None:
            records = notes.read_commit_notes(repo.git_dir, event["after"])
        if any(record.get("id") == _comment_id(event) for record in records):
            release_comment_event(database, event["seq"])
        else:
            with database.transaction() as db:
                db.execute("delete from events where seq = ?", (event["seq"],))


def _event_detail(event: sqlite3.Row, form: StoredForm) -> NoteRecord:
    """Return an event's comment or check run. Raises ``UnreadableError``."""
    record: Any = parse_json(event["detail"])
    form.decode(record)
    return dict(record)


def _comment_id(event: sqlite3.Row) -> int | None:
    """Return the id of an event's comment; None if it can't be read, and so was never written."""
    try:
        comment_id = _event_detail(event, COMMENT_NOTE).get("id")
    except UnreadableError as error:
        log.warning("webhook %s is skipped: %s", event["guid"], error)
        return None
    return comment_id if isinstance(comment_id, int) else None


def user_from_actor(actor: str) -> User:
    """Return a user for a reflog's name.

    Pushes by the file system carry a person's full name, which is turned into a login.
    """
    login = re.sub(r"[^A-Za-z0-9._-]+", "-", actor).strip("-._")[:100]
    return User(auth.valid_login(actor) or login or "unknown")
