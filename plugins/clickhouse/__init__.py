"""The event store on ClickHouse: embedded (chDB in the core process) or a server over HTTP, one SQL for both.

Files by idea: `config` and `engine*` reach ClickHouse, `schema` and `migrations` make the tables, `write` stores and
dedupes, `filters` and `queries_*` answer the dashboard, `summaries` keep hourly sums, `retention` drops days.
"""

from __future__ import annotations

from collections.abc import Mapping

from appliance.hookspecs import EventStoreFactory, PluginContext, PluginInfo, hookimpl

from .config import ClickHouseConfig

plugin = PluginInfo(
    name="clickhouse",
    version="1.0.0",
    config=ClickHouseConfig,
    summary="Events in ClickHouse: embedded in the core process, or a server over HTTP.",
)


@hookimpl
def register_storage_backends(context: PluginContext) -> Mapping[str, EventStoreFactory]:
    """`[storage] backend = "clickhouse"`."""

    def make() -> ClickHouseStore:
        return ClickHouseStore.from_context(context)

    from .store import ClickHouseStore

    return {"clickhouse": make}
