"""Every outcome, refusal code and dead-letter reason, explained once: what it means, and how it is mended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from contracts.vocabulary import (
    DeadLetterReason,
    FrameError,
    GoodbyeReason,
    OutcomeStatus,
    QueryError,
    RejectionCode,
    ResyncReason,
)


class Explained(NamedTuple):
    """``details`` names the fields that an answer carries beside the code."""

    meaning: str
    mend: str
    details: tuple[str, ...] = ()


OUTCOMES: Final[Mapping[OutcomeStatus, Explained]] = {
    OutcomeStatus.APPLIED: Explained(
        "Its effects are committed; also when there was nothing to do.", "Nothing to mend."
    ),
    OutcomeStatus.DUPLICATE: Explained(
        "A message of the same tenant, source and id came before; `first` is what became of it.",
        "Nothing to mend. Give another id where another message was meant.",
    ),
    OutcomeStatus.REJECTED: Explained(
        "A command that its schema or the state refuses; nothing was changed.", "See the code."
    ),
    OutcomeStatus.DEAD: Explained(
        "It could not be read, or its handler failed on it; it is kept as a dead letter.",
        "See the reason; `rollcall dlq replay` tries it again.",
    ),
}

REJECTIONS: Final[Mapping[RejectionCode, Explained]] = {
    RejectionCode.INVALID: Explained(
        "A field is missing, unknown, or not of its form.",
        "Mend the fields that `errors` names; the JSON Schema of the command says what they take.",
        ("errors: [{field, message}]",),
    ),
    RejectionCode.CONTACT_NOT_FOUND: Explained(
        "No contact of the tenant is so named.",
        "Check the reference; create or upsert makes a contact, no other command does.",
    ),
    RejectionCode.CONTACT_DELETED: Explained(
        "The contact is deleted.", "Send contact.restore first.", ("contact_id",)
    ),
    RejectionCode.AMBIGUOUS_REFERENCE: Explained(
        "Several contacts have the identifier, each in a scope of its own.",
        "Give the scope, or name the contact by its id.",
        ("contact_ids",),
    ),
    RejectionCode.IDENTIFIER_TAKEN: Explained(
        "The identifier is another contact's.",
        "Send the command to its owner, or remove the identifier there first; a deleted owner keeps what it has.",
        ("contact_id", "channel", "identifier", "deleted"),
    ),
    RejectionCode.IDENTIFIER_NOT_FOUND: Explained(
        "The contact does not have the identifier.",
        "Add it with identifier.add.",
        ("contact_id", "channel", "identifier"),
    ),
    RejectionCode.EXTERNAL_ID_TAKEN: Explained(
        "The external id is another contact's.", "Send the command to its owner.", ("contact_id",)
    ),
    RejectionCode.VERSION_CONFLICT: Explained(
        "The contact has changed since the version that the command expects.",
        "Read the contact again, and send the command with its version.",
        ("expected", "actual"),
    ),
}

DEAD_LETTERS: Final[Mapping[DeadLetterReason, Explained]] = {
    DeadLetterReason.BAD_SUBJECT: Explained(
        "A token of the subject breaks the grammar, or one is missing.",
        "Publish on a subject that `contracts.subjects` makes: tokens of [A-Za-z0-9_-], 1 to 64 characters; the tenant not `-` alone.",
    ),
    DeadLetterReason.BAD_ENVELOPE: Explained(
        "It is no CloudEvent: neither structured nor with `ce-` headers, or without id or source.",
        "Send the envelope; `contracts.client` does.",
    ),
    DeadLetterReason.NOT_JSON: Explained(
        "The body is not JSON, or is nested too deeply.",
        "Send JSON, or give the form's Content-Type with `ce-` headers.",
    ),
    DeadLetterReason.TOO_LARGE: Explained(
        "The body is larger than ROLLCALL_MAX_BODY.",
        "Send less: media by its address; or raise the setting, below the broker's max_payload.",
    ),
    DeadLetterReason.TYPE_MISMATCH: Explained(
        "The command's type contradicts its subject.",
        "Make `type` the subject up to the tenant, or leave it out.",
    ),
    DeadLetterReason.TENANT_MISMATCH: Explained(
        "`tenantid` contradicts the subject.", "Make it the subject's tenant, or leave it out."
    ),
    DeadLetterReason.UNKNOWN_TYPE: Explained(
        "No such command or provider is known.", "Correct the subject, or update the workers, then replay."
    ),
    DeadLetterReason.UNKNOWN_VERSION: Explained(
        "`dataversion` has another major version than the workers read.", "Update the workers, then replay."
    ),
    DeadLetterReason.INVALID_PAYLOAD: Explained(
        "The webhook's body is not of the provider's form; the detail names the field.",
        "Send the provider's body as it came, or update the workers, then replay.",
    ),
    DeadLetterReason.UNSTORABLE: Explained(
        "It holds text that no database can keep: NUL, or half of a surrogate pair.",
        "Send the message without it.",
    ),
    DeadLetterReason.HANDLER_FAILED: Explained(
        "Our handler failed on the message; the detail says where.",
        "Report it; replay once the workers are mended.",
    ),
    DeadLetterReason.NOT_INDEXABLE: Explained(
        "Elasticsearch refuses a contact's document; searches show the contact as it was before. The letter is the contact's "
        "event, without a body.",
        "Mend what the detail names, then `rollcall search audit --repair --tenant …`; such a letter is not replayed.",
    ),
}

QUERY_ERRORS: Final[Mapping[QueryError, Explained]] = {
    QueryError.INVALID: Explained(
        "A field is missing, unknown, or not of its form; or the cursor is of another list.",
        "Mend the fields that `errors` names.",
        ("errors: [{field, message}]",),
    ),
    QueryError.CONTACT_NOT_FOUND: Explained(
        "No contact of the tenant is so named, or it is deleted.",
        "Check the reference; give `include_deleted` for deleted ones.",
    ),
    QueryError.AMBIGUOUS_REFERENCE: Explained(
        "Several contacts have the identifier, each in a scope of its own.", "Give the scope."
    ),
    QueryError.EVENT_NOT_FOUND: Explained("No such timeline event, or it expired.", "Check the id."),
    QueryError.MESSAGE_NOT_FOUND: Explained(
        "No delivery status of such a message was seen.", "Check channel and message id; it may still come."
    ),
    QueryError.PAGE_TOO_DEEP: Explained(
        "By page a search shows its first 10,000 hits.",
        "Take the `next_cursor` of a page before it, or narrow the search.",
    ),
    QueryError.UNKNOWN_QUERY: Explained(
        "There is no query of that name.", "Take one of `known`.", ("known: [name]",)
    ),
    QueryError.TOO_LARGE: Explained(
        "The request, or its answer, is larger than is taken.", "Ask for a smaller page."
    ),
    QueryError.TIMEOUT: Explained(
        "The query took too long.", "Narrow it; a timeline.search by `since` or `contact`."
    ),
    QueryError.UNAVAILABLE: Explained(
        "The database is out of reach.", "Ask again; operators: see `/readyz`."
    ),
    QueryError.INTERNAL: Explained(
        "The query failed.", "Report it; the log has the cause by correlation id."
    ),
}

FRAME_ERRORS: Final[Mapping[FrameError, Explained]] = {
    FrameError.BAD_FRAME: Explained(
        "The frame is no JSON object, has a type that is not known, or a field that is not of its form.",
        "Mend the field that the message names.",
    ),
    FrameError.NOT_AUTHENTICATED: Explained(
        "The first frame was not `auth`; the socket closes with 4401.", "Send `auth` first, within 5 s."
    ),
    FrameError.BAD_TOKEN: Explained(
        "The token is forged, has expired, or lacks a claim; the socket closes with 4401.",
        "Get a new one from who issues them. The log of the worker says no more than the message does.",
    ),
    FrameError.BAD_TICKET: Explained(
        "The ticket was used before, is older than 30 s, or is none; the socket closes with 4401.",
        "Get a new one from `POST /ws/ticket`.",
    ),
    FrameError.FORBIDDEN: Explained(
        "The token does not allow that. For a subscription the socket closes with 4403; nothing is said of whether the contact "
        "exists.",
        "Ask for what the token names, or get another token.",
    ),
    FrameError.BAD_CURSOR: Explained(
        "The cursor cannot be read, or was altered; there is no subscription, and the socket stays.",
        "Subscribe with the cursor as a frame had it, or without one.",
    ),
    FrameError.UNKNOWN_SUBSCRIPTION: Explained(
        "There is no subscription of that name.", "Subscribe first; or it was ended already."
    ),
    FrameError.LIMIT: Explained(
        "More sockets, subscriptions or frames than are allowed; for sockets and frames the socket closes with 4429.",
        "Slow down, or watch more contacts with one subscription; operators: ROLLCALL_REALTIME_…",
    ),
    FrameError.UNAVAILABLE: Explained(
        "The bus or the database is out of reach; in answer to `auth` the socket closes with 1012.",
        "Send the frame again; after 1012 reconnect. Operators: see `/readyz`.",
    ),
}

RESYNCS: Final[Mapping[ResyncReason, Explained]] = {
    ResyncReason.TOO_OLD: Explained(
        "Events after the cursor have left the stream.", "Refetch with contact.timeline; merge by id."
    ),
    ResyncReason.OVERFLOW: Explained(
        "The client read too slowly, and frames were dropped.", "Refetch with contact.timeline; merge by id."
    ),
    ResyncReason.FOREIGN: Explained(
        "The cursor is another tenant's, or another contact's.", "Refetch with contact.timeline; merge by id."
    ),
    ResyncReason.STREAM_RESET: Explained(
        "The stream was made anew, or lost its end.", "Refetch with contact.timeline; merge by id."
    ),
}

GOODBYES: Final[Mapping[GoodbyeReason, Explained]] = {
    GoodbyeReason.DRAINING: Explained(
        "The instance drains; the socket closes with 1012.", "Reconnect: another instance answers."
    ),
    GoodbyeReason.EXPIRED: Explained(
        "The token has expired; the socket closes with 4401.", "Authenticate with a new one."
    ),
    GoodbyeReason.LIMIT: Explained(
        "An `error limit` came before it; the socket closes with 4429.", "See `limit`."
    ),
    GoodbyeReason.SLOW: Explained(
        "The client asks, and does not read what it is answered; the socket closes with 4429.",
        "Read on while asking, or ask less at once.",
    ),
    GoodbyeReason.UNAVAILABLE: Explained(
        "The instance cannot serve the session: no events come to it yet, tickets cannot be looked up, or a fault of ours; the socket closes with 1012.",
        "Reconnect; operators: see `/readyz` and the log of the worker.",
    ),
}

CLOSES: Final[Mapping[int, Explained]] = {
    1009: Explained("A frame of more than 64 kB.", "Send less at once."),
    1012: Explained(
        "The instance drains, or cannot serve the session; `goodbye` says which.",
        "Reconnect with the last cursor after the milliseconds that `goodbye` says.",
    ),
    4401: Explained("No valid token, or it has expired.", "Authenticate with a new one."),
    4403: Explained(
        "The page's origin is not allowed, or the token does not allow that.",
        "Add the origin to ROLLCALL_REALTIME_ORIGINS; or see `forbidden`.",
    ),
    4408: Explained("No `auth` within 5 s.", "Send it first."),
    4429: Explained(
        "Too many sockets or frames, or a client that sends and does not read.", "See `limit`; read."
    ),
}
