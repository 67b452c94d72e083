"""The closed word lists of the domain. Channels and timeline event types stay open: any token of the right form is one."""

from __future__ import annotations

from enum import StrEnum

CHANNEL_PATTERN = r"^[a-z0-9_-]{1,50}$"


class ContactStatus(StrEnum):
    ACTIVE = "active"
    INACTIVE = "inactive"
    BLOCKED = "blocked"


class Category(StrEnum):
    """Of a timeline event; also the second token of its subject."""

    GENERAL = "general"
    STATUS = "status"
    PIPELINE = "pipeline"
    ASSIGNMENT = "assignment"
    TAG = "tag"
    NOTE = "note"
    SESSION = "session"
    CUSTOM_FIELD = "custom_field"
    SYSTEM = "system"
    NOTIFICATION = "notification"
    TRACKING = "tracking"


class Priority(StrEnum):
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"


class Source(StrEnum):
    """What kind of thing caused a timeline event."""

    SYSTEM = "system"
    AGENT = "agent"
    WEBHOOK = "webhook"
    WORKFLOW = "workflow"
    AUTOMATION = "automation"
    INTEGRATION = "integration"


class Audience(StrEnum):
    """Who may see a timeline event."""

    CLIENT = "client"
    AGENT = "agent"


class EventType(StrEnum):
    """The predefined timeline event types; others are allowed."""

    STATUS_CHANGED = "status_changed"
    ENTERED_PIPELINE = "entered_pipeline"
    EXITED_PIPELINE = "exited_pipeline"
    PIPELINE_STAGE_CHANGED = "pipeline_stage_changed"
    AGENT_ASSIGNED = "agent_assigned"
    AGENT_TRANSFERRED = "agent_transferred"
    AGENT_UNASSIGNED = "agent_unassigned"
    TAG_ADDED = "tag_added"
    TAG_REMOVED = "tag_removed"
    NOTE_ADDED = "note_added"
    NOTE_UPDATED = "note_updated"
    NOTE_DELETED = "note_deleted"
    SESSION_STARTED = "session_started"
    SESSION_ENDED = "session_ended"
    CUSTOM_FIELD_SET = "custom_field_set"
    CUSTOM_FIELD_CLEARED = "custom_field_cleared"
    WEBHOOK_RECEIVED = "webhook_received"
    NOTIFICATION_SENT = "notification_sent"
    CONTACT_CREATED = "contact_created"
    CONTACT_UPDATED = "contact_updated"
    CONTACT_DELETED = "contact_deleted"
    CONTACT_RESTORED = "contact_restored"
    CONTACT_MERGED = "contact_merged"
    CONTACT_ENRICHED = "contact_enriched"
    CONSENT_GRANTED = "consent_granted"
    CONSENT_REVOKED = "consent_revoked"
    IDENTIFIER_ADDED = "identifier_added"
    IDENTIFIER_REMOVED = "identifier_removed"
    IDENTIFIER_VERIFIED = "identifier_verified"
    IDENTIFIER_PRIMARY_CHANGED = "identifier_primary_changed"
    IDENTIFIER_CHANGED = "identifier_changed"
    IDENTIFIER_CONFLICT = "identifier_conflict"


class OutcomeStatus(StrEnum):
    """What every accepted message ends as."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    DEAD = "dead"


class RejectionCode(StrEnum):
    INVALID = "invalid"
    CONTACT_NOT_FOUND = "contact_not_found"
    CONTACT_DELETED = "contact_deleted"
    AMBIGUOUS_REFERENCE = "ambiguous_reference"
    IDENTIFIER_TAKEN = "identifier_taken"
    IDENTIFIER_NOT_FOUND = "identifier_not_found"
    EXTERNAL_ID_TAKEN = "external_id_taken"
    VERSION_CONFLICT = "version_conflict"


class DeadLetterReason(StrEnum):
    BAD_SUBJECT = "bad_subject"
    BAD_ENVELOPE = "bad_envelope"
    NOT_JSON = "not_json"
    TOO_LARGE = "too_large"
    TYPE_MISMATCH = "type_mismatch"
    TENANT_MISMATCH = "tenant_mismatch"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_VERSION = "unknown_version"
    INVALID_PAYLOAD = "invalid_payload"
    UNSTORABLE = "unstorable"
    HANDLER_FAILED = "handler_failed"
    NOT_INDEXABLE = "not_indexable"


class JobStatus(StrEnum):
    """How far a job has come."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class QueryError(StrEnum):
    """Why a query has no answer."""

    INVALID = "invalid"
    CONTACT_NOT_FOUND = "contact_not_found"
    AMBIGUOUS_REFERENCE = "ambiguous_reference"
    EVENT_NOT_FOUND = "event_not_found"
    MESSAGE_NOT_FOUND = "message_not_found"
    PAGE_TOO_DEEP = "page_too_deep"
    UNKNOWN_QUERY = "unknown_query"
    TOO_LARGE = "too_large"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class Purpose(StrEnum):
    """What a consent is for."""

    MARKETING = "marketing"


class Role(StrEnum):
    """Of who watches timelines: a person of the tenant's, or the client of one contact."""

    AGENT = "agent"
    CONTACT = "contact"

    @property
    def audience(self) -> Audience:
        """As whom its holder is shown timeline events."""
        return Audience.CLIENT if self is Role.CONTACT else Audience.AGENT


class ResyncReason(StrEnum):
    """Why a client is told to refetch."""

    TOO_OLD = "too_old"
    OVERFLOW = "overflow"
    FOREIGN = "foreign"
    STREAM_RESET = "stream_reset"


class FrameError(StrEnum):
    """Why a client's frame is not carried out."""

    BAD_FRAME = "bad_frame"
    NOT_AUTHENTICATED = "not_authenticated"
    BAD_TOKEN = "bad_token"  # noqa: S105 - a code
    BAD_TICKET = "bad_ticket"
    FORBIDDEN = "forbidden"
    BAD_CURSOR = "bad_cursor"
    UNKNOWN_SUBSCRIPTION = "unknown_subscription"
    LIMIT = "limit"
    UNAVAILABLE = "unavailable"


class GoodbyeReason(StrEnum):
    """Why the server ends a connection."""

    DRAINING = "draining"
    EXPIRED = "expired"
    LIMIT = "limit"
    SLOW = "slow"
    UNAVAILABLE = "unavailable"
