"""What others ask of alerts: account mail, the state of channels, rules and the log, and the worker that delivers.

`AlertService` is the noun's front; `rules` and `log` are its rooms. Delivering is the outbox worker's (`outbox.py`).
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from appliance.accounts.access import Actor, NotFoundError, Permission
from appliance.alerts.channels import Channels
from appliance.alerts.compose import AccountMail, Site, compose_account_mail, compose_test
from appliance.alerts.entries import (
    TEST_KEY,
    Body,
    Purpose,
    add_entry,
    create_default_rules,
    enqueue_changes,
    require_test_budget,
)
from appliance.alerts.facts import addresses
from appliance.alerts.log import AlertLog
from appliance.alerts.notices import Notices
from appliance.alerts.outbox import AlertPlugins, OutboxWorker
from appliance.alerts.rules import Rules
from appliance.alerts.schemas import ChannelItem, NotifierItem
from appliance.config import Config
from appliance.hookspecs import Clock, EventStore
from appliance.metadata.database import Database

__all__ = ["AccountMail", "AlertService", "create_default_rules", "enqueue_changes"]


class AlertService:
    """Rules, alerts and deliveries, as an actor may see and change them; one for each process."""

    def __init__(
        self,
        database: Database,
        store: EventStore,
        clock: Clock,
        plugins: AlertPlugins,
        config: Config,
        *,
        site_url: str = "",
    ) -> None:
        """Wire up.

        Args:
            database: metadata.
            store: where the event behind an alert is looked up.
            clock: time.
            plugins: the plugin host.
            config: the appliance's.
            site_url: where links lead; "" = `[site] url`.
        """
        self._clock = clock
        self._database = database
        self._site = Site(url=(site_url or config.site.url).rstrip("/"), name=config.site.name)
        self._channels = Channels(
            config.channels,
            plugins.notifiers,
            clock,
            breaker_failures=config.alerts.breaker_failures,
            breaker_minutes=config.alerts.breaker_minutes,
        )
        self._log_days = config.alerts.delivery_log_days
        self.default_throttle_minutes = config.alerts.throttle_minutes
        self.rules = Rules(database, clock, plugins.rules, self._channels, self._site)
        self.log = AlertLog(database, clock)
        self.notices = Notices(self._channels, clock, self._site, config.monitoring.channel)
        # Started by the role that runs the pipeline; elsewhere it is only poked, which does nothing.
        self.worker = OutboxWorker(database, store, clock, plugins, self._channels, config.alerts, self._site)

    def mail_problem(self) -> str:
        """ "" when the channel "email" could deliver, else the sentence that says what is missing."""
        return self._channels.problem("email")

    async def send_account_mail(
        self, session: AsyncSession, kind: AccountMail, *, to: str, link: str, hours: int, by: str = ""
    ) -> None:
        """Put a mail with a one-time link into the outbox, in the caller's transaction. Call `worker.poke()` after it.

        Args:
            session: the write session that makes the link.
            kind: which text.
            to: the address.
            link: the whole address, made from `site.url`; wiped from the outbox once delivered or given up.
            hours: how long the link works.
            by: who invites, as the reader knows them.
        """
        notification = compose_account_mail(self._site, kind, to=to, link=link, hours=hours, by=by)
        body = Body(notification=notification, secret=True)
        key = f"{kind}:{notification.id}"
        await add_entry(session, Purpose.NOTIFICATION, key, body, self._clock.now(), channel="email")

    def channels(self, actor: Actor) -> list[ChannelItem]:
        """Each channel with its chain, whether it is configured, and its breakers as this process knows them."""
        actor.require(Permission.ALERTS_READ)
        return [
            ChannelItem(
                name=name,
                problem=self._channels.problem(name),
                notifiers=[
                    NotifierItem(
                        name=state.name,
                        problem=state.problem,
                        open_until=state.open_until,
                        failures=state.failures,
                        last_error=state.last_error,
                    )
                    for state in self._channels.states(name)
                ],
            )
            for name in self._channels.chains
        ]

    async def test_channel(self, actor: Actor, channel: str) -> int | None:
        """Put a test message to the actor's own address into the outbox; its number in the log. Raises `WaitError`."""
        actor.require(Permission.SYSTEM_WRITE)
        if channel not in self._channels.chains:
            raise NotFoundError(self._channels.problem(channel))
        why = f"{actor.name or actor.email} tries the channel."
        notification = compose_test(self._site, channel, addresses(actor.email), at=self._clock.now(), why=why)
        body, key = Body(notification=notification), f"{TEST_KEY}{notification.id}"
        async with self._database.write() as session:
            await require_test_budget(session, None, self._clock.now())
            return await add_entry(session, Purpose.NOTIFICATION, key, body, self._clock.now(), channel=channel)

    async def prune(self) -> int:
        """Forget what is older than `[alerts] delivery_log_days`; how many rows went. For the schedule, once a day."""
        return await self.log.prune(self._log_days)
