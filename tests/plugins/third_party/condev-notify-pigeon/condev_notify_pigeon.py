"""Writes each notification onto a slip of paper in a loft: a directory. Uses the public contract alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from appliance.hookspecs import (
    CheckStep,
    DeliveryError,
    Notification,
    Notifier,
    PluginContext,
    PluginInfo,
    Receipt,
    Secret,
    hookimpl,
)


class PigeonConfig(Struct, kw_only=True, forbid_unknown_fields=True):
    """`[plugins.pigeon]`."""

    loft: str = ""
    ring: Secret | None = None


class PigeonNotifier(Notifier):
    """One slip per notification, named by its id: delivering twice overwrites."""

    name = "pigeon"

    def __init__(self, context: PluginContext) -> None:
        self._config: PigeonConfig = context.config
        self._log = context.log

    def configured(self) -> str:
        return "" if self._config.loft and self._config.ring else "The pigeon needs [plugins.pigeon] loft and ring."

    async def deliver(self, notification: Notification) -> Receipt:
        if problem := self.configured():
            raise DeliveryError(problem, retryable=False, stage="config")
        ring = self._config.ring.reveal() if self._config.ring else ""
        slip = Path(self._config.loft) / f"{notification.id}.txt"
        text = f"ring {ring}\nto {', '.join(notification.recipients)}\n{notification.subject}\n\n{notification.text}"
        try:
            await asyncio.to_thread(slip.write_text, text)
        except OSError as error:
            raise DeliveryError(
                f"The loft {self._config.loft} is closed: {error.strerror}.", stage="connect"
            ) from error
        self._log.info("pigeon sent", slip=slip.name)
        return Receipt(reply="coo", provider_id=slip.name)

    async def check(self, notification: Notification | None = None) -> list[CheckStep]:
        if problem := self.configured():
            return [CheckStep(name="config", ok=False, detail=problem, mend="Name a directory and a ring.")]
        steps = [CheckStep(name="config", ok=True, detail=self._config.loft)]
        if notification is None:
            return steps
        try:
            receipt = await self.deliver(notification)
        except DeliveryError as error:
            return [*steps, CheckStep(name="connect", ok=False, detail=str(error), mend="Open the loft.")]
        return [*steps, CheckStep(name="accept", ok=True, detail=receipt.reply)]


plugin = PluginInfo(name="pigeon", version="0.1.0", requires_api="1.0", config=PigeonConfig, summary="Slips of paper.")


@hookimpl
def register_notifiers(context: PluginContext) -> Sequence[Notifier]:
    """One notifier, "pigeon"."""
    return [PigeonNotifier(context)]
