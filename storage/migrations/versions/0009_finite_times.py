"""No time is infinite: the first and the last moment there are were kept as that, and came back as times of no zone.

What was kept so becomes the nearest moment that ``contracts.moments`` allows.
"""

from alembic import op

revision = "0009"
down_revision = "0008"

TIMES = {
    "contacts": ("last_contact_at",),
    "contact_events": ("occurred_at", "expires_at"),
    "contact_consents": ("granted_at", "revoked_at"),
    "message_statuses": ("at",),
}


def upgrade() -> None:
    for table, columns in TIMES.items():
        for column in columns:
            op.execute(
                f"update {table} set {column} = case when {column} < now() then '0001-01-01 00:00:00.000001+00'"
                f" else '9999-12-31 23:59:59.999998+00' end::timestamptz where not isfinite({column})"
            )


def downgrade() -> None:
    pass
