"""The plugin contract: everything that a plugin implements, is given, and may import.

A plugin is a module (or an object) with a `plugin` attribute, a `PluginInfo`, and functions marked `@hookimpl`
with the names in `hooks`. It imports this package and `appliance.model`, nothing else of ours; what it needs at run
time comes in its `PluginContext`. The files below are how the contract is kept, a file for each kind of plugin: import
from `appliance.hookspecs` itself. See docs/plugins/ for a page per hook.
"""

from __future__ import annotations

from appliance.hookspecs.blobs import BlobInfo, BlobStore, BlobStoreFactory
from appliance.hookspecs.context import API_VERSION, Clock, HttpAnswer, HttpClient, PluginContext, PluginInfo
from appliance.hookspecs.event_store import (
    BadCursorError,
    Dropped,
    EventNotFoundError,
    EventStore,
    EventStoreError,
    EventStoreFactory,
    StoreChunk,
    StoreExport,
    StoreRefusedError,
    StoreSchema,
    StoreStats,
    StoreUnavailableError,
    TableStats,
)
from appliance.hookspecs.extensions import Command, HealthCheck, HealthResult, PluginPage, ServiceSpec
from appliance.hookspecs.hooks import (
    hookimpl,
    hookspec,
    on_issue_opened,
    on_issue_regressed,
    on_issue_resolved,
    register_blob_stores,
    register_commands,
    register_health_checks,
    register_notifiers,
    register_pages,
    register_processors,
    register_protocols,
    register_rules,
    register_services,
    register_storage_backends,
)
from appliance.hookspecs.notifiers import CheckStep, DeliveryError, Notification, Notifier, Receipt
from appliance.hookspecs.processors import Processor
from appliance.hookspecs.protocols import (
    Answer,
    Decoded,
    DecodeError,
    IngestRequest,
    Peek,
    ProjectSettings,
    Protocol,
    Route,
    Verdict,
    VerdictKind,
)
from appliance.hookspecs.queries import (
    Bucket,
    EventFilter,
    EventSummary,
    FieldTable,
    GroupStats,
    LatestEvent,
    Measure,
    MetricBucket,
    MetricElement,
    MetricSummary,
    Neighbours,
    Page,
    PageViewSummary,
    ReleaseSummary,
    ReplaySummary,
    SessionSummary,
    SpanSummary,
    TagCount,
)
from appliance.hookspecs.rules import Form, FormField, IssueChange, Rule
from appliance.model import Batch, Category, Event, Item, JsonObject, Record
from appliance.secret import Secret

__all__ = [
    "API_VERSION", "Answer", "BadCursorError", "Batch", "BlobInfo", "BlobStore", "BlobStoreFactory", "Bucket",
    "Category", "CheckStep", "Clock", "Command", "DecodeError", "Decoded", "DeliveryError", "Dropped", "Event",
    "EventFilter", "EventNotFoundError", "EventStore", "EventStoreError", "EventStoreFactory", "EventSummary",
    "FieldTable", "Form", "FormField", "GroupStats", "HealthCheck", "HealthResult", "HttpAnswer", "HttpClient",
    "IngestRequest", "IssueChange", "Item", "JsonObject", "LatestEvent", "Measure", "MetricBucket", "MetricElement",
    "MetricSummary", "Neighbours", "Notification", "Notifier", "Page", "PageViewSummary", "Peek", "PluginContext",
    "PluginInfo", "PluginPage", "Processor", "ProjectSettings", "Protocol", "Receipt", "Record", "ReleaseSummary",
    "ReplaySummary", "Route", "Rule", "Secret", "ServiceSpec", "SessionSummary", "SpanSummary", "StoreChunk",
    "StoreExport", "StoreRefusedError", "StoreSchema", "StoreStats", "StoreUnavailableError", "TableStats",
    "TagCount", "Verdict", "VerdictKind", "hookimpl", "hookspec", "on_issue_opened", "on_issue_regressed",
    "on_issue_resolved", "register_blob_stores", "register_commands", "register_health_checks", "register_notifiers",
    "register_pages", "register_processors", "register_protocols", "register_rules", "register_services",
    "register_storage_backends",
]  # fmt: skip
