"""What a plugin says of itself, and what it is given to work with."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, runtime_checkable
from typing import Protocol as Interface

from msgspec import Struct
from structlog.typing import FilteringBoundLogger

API_VERSION: Final = "1.0"  # a plugin's requires_api is compared by major, then at-least by minor


class PluginInfo(Struct, frozen=True, kw_only=True):
    """What a plugin states about itself, in a module attribute `plugin`."""

    name: str  # the table [plugins.NAME] in config.toml
    version: str
    requires_api: str = API_VERSION
    config: type[Struct] | None = None  # a kw_only Struct, all fields with defaults; unknown keys are errors
    summary: str = ""


@runtime_checkable
class Clock(Interface):
    """Time, as something that tests can move."""

    def now(self) -> int:
        """Microseconds since the epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class HttpAnswer(Struct, frozen=True, kw_only=True):
    """What the other side answered; the body is cut at the client's limit."""

    status: int
    headers: Mapping[str, str]  # lower-case names
    body: bytes

    @property
    def retry_after(self) -> float | None:
        """Seconds that `Retry-After` asks to wait, at most a day; None when it says nothing readable."""
        value = self.headers.get("retry-after", "").strip()
        if value.isdecimal():
            return min(float(value[:9]), 86_400.0)
        try:
            until, since = (parsedate_to_datetime(text) for text in (value, self.headers.get("date", "")))
            return min(max((until - since).total_seconds(), 0.0), 86_400.0)
        except (TypeError, ValueError):  # absent, not a date, or one of the two without its zone
            return None


class HttpClient(Interface):
    """The one guarded way out. Raises `DeliveryError` with words for the reader when nothing was answered."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: float = 10.0,
        trusted: bool = False,
    ) -> HttpAnswer:
        """Send one request; never follows a redirect to another host.

        Args:
            method: the HTTP method.
            url: an absolute http or https URL.
            headers: sent as given; a secret is revealed by the caller, at the call.
            body: the request body.
            timeout: seconds for the whole exchange.
            trusted: True only for a URL from config.toml; any other must resolve to a public address, to which
                the connection is then pinned.
        """
        ...


class PluginContext(Struct, frozen=True, kw_only=True):
    """What a plugin is given. It holds this plugin's own config alone."""

    name: str
    config: Any  # an instance of PluginInfo.config
    http: HttpClient
    clock: Clock
    log: FilteringBoundLogger
    data_dir: Path  # data/plugins/NAME, mode 0700; made when first asked for by the host
    site_url: str  # without a trailing slash
    mail_from: str = "Condev Monitor <monitor@localhost>"  # [mail] from: what notifiers send mail as
    memory_bytes: int  # what this appliance may use in all, for plugins that size caches
    cpus: float
    data_root: Path  # the appliance's data directory; for storage backends only
    sdk_path: str = "v2"  # [sdk] path: the name of the endpoint that our SDK reports to; for its protocol only
