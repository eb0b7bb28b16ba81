"""What can be done with alerts: rules, the log of alerts and deliveries, account mail, the state of channels.

Delivering is the outbox worker's (`outbox.py`); this only writes what it is to deliver, and shows what it did.
"""

from __future__ import annotations

from typing import Literal

from sqlalchemy.ext.asyncio import AsyncSession

from appliance.alerts.entries import create_default_rules, enqueue_changes

__all__ = ["AlertService", "create_default_rules", "enqueue_changes"]

AccountMail = Literal["invitation", "password_reset"]


class AlertService:
    """Rules, alerts and deliveries, as an actor may see and change them."""

    def mail_problem(self) -> str:
        """ "" when the channel "email" could deliver, else the sentence that says what is missing."""
        raise NotImplementedError

    async def send_account_mail(
        self, session: AsyncSession, kind: AccountMail, *, to: str, link: str, hours: int, by: str = ""
    ) -> None:
        """Put a mail with a one-time link into the outbox, in the caller's transaction.

        Args:
            session: the write session that makes the link.
            kind: which text.
            to: the address.
            link: the whole address, made from `site.url`; wiped from the outbox once delivered or given up.
            hours: how long the link works.
            by: who invites, as the reader knows them.
        """
        raise NotImplementedError
