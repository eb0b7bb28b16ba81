"""Accounts, in one place: what app.py builds, and what routes, the command line and the scheduler are given."""

from __future__ import annotations

from typing import Final

from appliance.accounts import audit
from appliance.accounts.access import Actor
from appliance.accounts.api_tokens import ApiTokens
from appliance.accounts.audit import AuditEntry
from appliance.accounts.inputs import email_key
from appliance.accounts.links import prune_links
from appliance.accounts.passwords import ROUNDS, PasswordHasher
from appliance.accounts.profile import Profile
from appliance.accounts.sessions import Sessions
from appliance.accounts.setup import Setup
from appliance.accounts.sign_in import Client, SignIn
from appliance.accounts.throttle import ADDRESS_FACTOR, Throttle, account_key, address_key
from appliance.accounts.users import AccountMailer, Users
from appliance.config import Accounts
from appliance.hookspecs import Clock
from appliance.metadata.database import Database

__all__ = ["AccountMailer", "AccountService", "Client"]

RESETS: Final = 4  # forgotten passwords an account in a quarter of an hour: each is a mail to somebody


class AccountService:
    """Everything about accounts, by what one wants to do."""

    def __init__(
        self, database: Database, clock: Clock, config: Accounts, site_url: str, *, rounds: int = ROUNDS
    ) -> None:
        """Wire the parts.

        Args:
            database: the metadata.
            clock: time.
            config: the table `[accounts]`.
            site_url: what links start with.
            rounds: bcrypt's cost; tests use the least, 4.
        """
        self.site_url = site_url.rstrip("/")
        self._database = database
        self._clock = clock
        self._hasher = PasswordHasher(rounds)
        self._throttle = Throttle(database, clock)
        attempts, hours = config.sign_in_attempts, config.link_hours
        self.sessions = Sessions(database, clock, config.session_days)
        self.tokens = ApiTokens(database, clock)
        self.users = Users(database, clock, self._hasher, site_url, hours)
        self.setup = Setup(database, clock, self._hasher, site_url, hours)
        self.sign_in = SignIn(database, clock, self._hasher, self.sessions, self._throttle, attempts)
        self.profile = Profile(database, clock, self._hasher, self.sessions, self._throttle, attempts)
        self._address_resets = attempts * ADDRESS_FACTOR

    def set_mailer(self, mailer: AccountMailer) -> None:
        """Where mail works, links are mailed too; without a mailer they are only shown on screen."""
        self.users.mailer = mailer

    async def charge_reset(self, email: str, client: Client) -> None:
        """Count a request for a reset mail, for known and unknown addresses alike. Raises `WaitError`."""
        await self._throttle.charge(
            [
                (account_key(email_key(email), "reset"), RESETS),
                (address_key(client.address, "reset-from"), self._address_resets),
            ]
        )

    async def audit_log(self, actor: Actor, limit: int = 50) -> list[AuditEntry]:
        """The latest changes, newest first."""
        return await audit.recent(self._database, actor, limit)

    async def prune(self) -> None:
        """Remove sessions, links and attempts that have ended, and old audit rows; the scheduler calls it hourly."""
        await self.sessions.prune()
        await self._throttle.prune()
        async with self._database.write() as session:
            await prune_links(session, self._clock.now())
            await audit.prune(session, self._clock.now())

    def close(self) -> None:
        """Stop the hashing threads."""
        self._hasher.close()
