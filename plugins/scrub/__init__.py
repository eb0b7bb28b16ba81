"""Takes secrets and personal data out of everything, before anything else sees it and before it is stored.

It is a net, not a proof: what no key names and no pattern knows passes through. What a page sets on purpose, a user's
id and e-mail address, stays unless the configuration says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct, field

from appliance.hookspecs import PluginContext, PluginInfo, Processor, hookimpl
from appliance.model import Event, Item, Kind, Measurement, Outcome, PageView, ReplaySegment, Session, Span

from .keys import Keys
from .recordings import clean_recording
from .values import Cleaner
from .walking import Options, Walk

__all__ = ["ScrubConfig", "ScrubProcessor", "plugin", "register_processors"]


class ScrubConfig(Struct, kw_only=True, forbid_unknown_fields=True):
    """`[plugins.scrub]`."""

    sensitive_keys: list[str] = field(default_factory=list[str])  # further words: a key that holds one is hidden
    safe_keys: list[str] = field(default_factory=list[str])  # whole keys that are never hidden
    emails: bool = True  # hide e-mail addresses in messages, addresses and data
    user_email: Literal["keep", "drop"] = "keep"  # the one that the page set with setUser
    ip_address: Literal["keep", "anonymise", "drop"] = "keep"  # anonymise: without its last byte (IPv6: 80 bits)
    replays: bool = True  # look through recordings too


class ScrubProcessor(Processor):
    """Runs first, and nothing is stored that it could not look through."""

    name = "scrub"
    order = 10
    on_failure = "dead_letter"

    def __init__(self, config: ScrubConfig) -> None:
        """Args: config: `[plugins.scrub]`."""
        self._config = config
        self._options = Options(config.ip_address, config.user_email == "drop")
        self._keys = Keys(config.sensitive_keys, config.safe_keys)
        self._cleaner = Cleaner(self._keys, emails=config.emails)

    def process_batch(self, items: list[Item]) -> list[Item]:
        """Clean items in place; none is dropped."""
        for item in items:
            if isinstance(item, ReplaySegment):
                item.urls = [self._cleaner.clean(url) for url in item.urls]
                if self._config.replays:
                    item.body = clean_recording(item.body)
            elif not isinstance(item, Outcome):
                first = Walk(self._keys, self._cleaner, self._options)
                _walk(first, item)
                suspected = first.suspicions()
                if suspected:
                    _walk(Walk(self._keys, self._cleaner, self._options, suspected), item)
            if (
                self._options.drop_emails
                and not isinstance(item, (Event, Outcome))
                and "@" in getattr(item, "user_id", "")
            ):
                item.user_id = ""
        return items


def _walk(walk: Walk, item: Event | Measurement | PageView | Session | Span) -> None:
    if isinstance(item, Event):
        _walk_event(walk, item)
        return
    match item:
        case Measurement():
            item.url, item.route, item.element = walk.text(item.url), walk.text(item.route), walk.text(item.element)
            walk.object(item.attributes)
        case PageView():
            item.url, item.route, item.referrer = walk.text(item.url), walk.text(item.route), walk.text(item.referrer)
            item.title = walk.text(item.title)
        case Span():
            item.url, item.name = walk.text(item.url), walk.text(item.name)
            walk.object(item.attributes)
        case Session():
            pass
    item.release, item.environment = walk.label(item.release), walk.label(item.environment)
    item.user_id = walk.label(item.user_id)


def _walk_event(walk: Walk, event: Event) -> None:
    contact: object = None
    feedback = event.contexts.get("feedback") if event.kind is Kind.FEEDBACK else None
    if isinstance(feedback, dict):  # the address at which the person wants to be answered
        contact = feedback.pop("contact_email", None)
    walk.event(event)
    if isinstance(feedback, dict) and isinstance(contact, str) and not walk.drops_emails:
        feedback["contact_email"] = contact
    if event.user is not None:
        walk.user(event.user)


plugin = PluginInfo(
    name="scrub",
    version="1.0",
    requires_api="1.0",
    config=ScrubConfig,
    summary="Takes secrets and personal data out of events before they are stored.",
)


@hookimpl
def register_processors(context: PluginContext) -> Sequence[Processor]:
    """One processor, the first of all."""
    return [ScrubProcessor(context.config)]
