"""``token``: who may open a realtime socket."""

from __future__ import annotations

import uuid
from typing import Annotated

import typer

from contracts.vocabulary import Role


def token(
    tenant: Annotated[str, typer.Option(help="Whose timelines.")],
    role: Annotated[Role, typer.Option(help="agent, or contact: the client of one contact.")] = Role.AGENT,
    contact: Annotated[
        list[uuid.UUID] | None,
        typer.Option(
            help="Of an agent: the contacts it may see; several with several options; without, all. Of a contact: which.",
            show_default=False,
        ),
    ] = None,
    sub: Annotated[str, typer.Option(help="The person's name in what it does.")] = "user:cli",
    expires_in: Annotated[int, typer.Option(min=1, help="Seconds that it is good for.")] = 3600,
) -> None:
    """Print a token for the realtime worker, signed with ROLLCALL_JWT_SECRET."""
    from pydantic import ValidationError

    from contracts.commands.base import validation_errors
    from ops.cli.output import WRONG_USAGE, Failure, check_tenant
    from ops.settings import SettingsError, TokenSettings, read
    from workers.realtime.tokens import issue

    check_tenant(tenant)
    named = contact or []
    if role is Role.CONTACT and len(named) != 1:
        raise typer.BadParameter("a contact's token names one contact", param_hint="--contact")
    try:
        made = issue(
            read(TokenSettings),
            tenant=tenant,
            role=role,
            seconds=expires_in,
            sub=sub,
            contacts=named or "*",
            contact_id=named[0] if role is Role.CONTACT else None,
        )
    except ValidationError as error:
        first = validation_errors(error)[0]
        raise typer.BadParameter(first["message"], param_hint=f"--{first['field']}") from None
    except SettingsError as error:
        raise Failure(str(error), WRONG_USAGE) from None
    typer.echo(made)
