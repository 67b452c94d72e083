"""Every outcome, refusal code and dead-letter reason, explained once: what it means, and how it is mended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from contracts.vocabulary import DeadLetterReason, OutcomeStatus, QueryError, RejectionCode


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
        "The contact does not have the identifier.", "Add it with identifier.add."
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
        "Publish on a subject that `contracts.subjects` makes: tokens of [A-Za-z0-9_-], 1 to 64 characters.",
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
