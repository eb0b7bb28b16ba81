"""The hooks themselves, which a plugin implements by name.

The host calls each implementation by itself, with that plugin's own context: one that raises harms no other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence

import pluggy

from appliance.hookspecs.blobs import BlobStoreFactory
from appliance.hookspecs.context import PluginContext
from appliance.hookspecs.event_store import EventStoreFactory
from appliance.hookspecs.extensions import Command, HealthCheck, PluginPage, ServiceSpec
from appliance.hookspecs.notifiers import Notifier
from appliance.hookspecs.processors import Processor
from appliance.hookspecs.protocols import Protocol
from appliance.hookspecs.rules import IssueChange, Rule

hookspec = pluggy.HookspecMarker("condev")


hookimpl = pluggy.HookimplMarker("condev")


@hookspec
def register_storage_backends(context: PluginContext) -> Mapping[str, EventStoreFactory]:
    """Name → factory of an `EventStore`; `[storage] backend` chooses one."""
    raise NotImplementedError


@hookspec
def register_blob_stores(context: PluginContext) -> Mapping[str, BlobStoreFactory]:
    """Name → factory of a `BlobStore`; `[storage] blobs` chooses one."""
    raise NotImplementedError


@hookspec
def register_notifiers(context: PluginContext) -> Sequence[Notifier]:
    """Notifiers, which `[channels]` put in order by name."""
    raise NotImplementedError


@hookspec
def register_processors(context: PluginContext) -> Sequence[Processor]:
    """Processors, run by `order` in the decode worker."""
    raise NotImplementedError


@hookspec
def register_protocols(context: PluginContext) -> Sequence[Protocol]:
    """Wire formats; two that claim one route are an error at boot."""
    raise NotImplementedError


@hookspec
def register_rules(context: PluginContext) -> Sequence[Rule]:
    """Alert conditions."""
    raise NotImplementedError


@hookspec
def register_pages(context: PluginContext) -> Sequence[PluginPage]:
    """Pages under /plugins/NAME."""
    raise NotImplementedError


@hookspec
def register_commands(context: PluginContext) -> Sequence[Command]:
    """Verbs of the `condev` command."""
    raise NotImplementedError


@hookspec
def register_health_checks(context: PluginContext) -> Sequence[HealthCheck]:
    """Checks for the System page and `condev doctor`."""
    raise NotImplementedError


@hookspec
def register_services(context: PluginContext) -> Sequence[ServiceSpec]:
    """Compose services that `condev render` adds.

    Their `mem_limit` counts in the plan (128 MiB when there is none). They are hardened as ours are where they do not
    say otherwise, and may publish no ports. Their files are written below services/NAME/, beside compose.yaml.
    """
    raise NotImplementedError


@hookspec
def on_issue_opened(context: PluginContext, change: IssueChange) -> Awaitable[None] | None:
    """An issue was opened. Called through the outbox: after commit, at least once."""
    raise NotImplementedError


@hookspec
def on_issue_regressed(context: PluginContext, change: IssueChange) -> Awaitable[None] | None:
    """A resolved issue came back. Called through the outbox: after commit, at least once."""
    raise NotImplementedError


@hookspec
def on_issue_resolved(context: PluginContext, change: IssueChange) -> Awaitable[None] | None:
    """A person resolved an issue. Called through the outbox: after commit, at least once."""
    raise NotImplementedError
