"""Checks, orders and calls plugins; `plugin_sources` knows where they come from.

pluggy registers and validates the hooks. Calling them is done here, one implementation at a time with that plugin's own
context, because an implementation that raises inside a pluggy call takes the others' answers with it.
"""

from __future__ import annotations

import difflib
import inspect
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, cast

import pluggy
import structlog
from msgspec import Struct, field
from structlog.typing import FilteringBoundLogger

from appliance import hookspecs, plugin_sources
from appliance.config import Config
from appliance.config_file import ConfigError, Problem, decode_table
from appliance.hookspecs import (
    API_VERSION,
    BlobStore,
    Clock,
    Command,
    EventStore,
    HealthCheck,
    HttpClient,
    IssueChange,
    Notifier,
    PluginContext,
    PluginInfo,
    PluginPage,
    Processor,
    Protocol,
    Rule,
    ServiceSpec,
)

_NAME: Final = re.compile(r"^[a-z][a-z0-9_]{0,39}$")
# A plugin that fails in one of these would leave data unscrubbed, unread or unstored: the appliance does not start.
_ESSENTIAL: Final = frozenset(
    {"register_storage_backends", "register_blob_stores", "register_processors", "register_protocols"}
)

log = cast("FilteringBoundLogger", structlog.get_logger(__name__))


class PluginError(ConfigError):
    """Plugins cannot be used as they are; each problem names the plugin, the hook and the mend."""


class HostServices(Struct, frozen=True, kw_only=True):
    """What the host gives to every plugin's context."""

    http: HttpClient
    clock: Clock
    data_dir: Path
    site_url: str
    memory_bytes: int
    cpus: float


class LoadedPlugin(Struct, kw_only=True):
    """One plugin as the System page and `condev plugins list` show it."""

    info: PluginInfo
    module: object
    origin: str  # first-party, a distribution's name and version, or a path
    context: PluginContext
    hooks: tuple[str, ...] = ()
    errors: list[str] = field(default_factory=list[str])


class PluginHost:
    """All plugins of this process, and what they registered."""

    def __init__(self, config: Config, services: HostServices, environ: Mapping[str, str] | None = None) -> None:
        """Find, check and register; use `load`, which raises when anything is wrong."""
        self._config = config
        self._services = services
        self._environ = os.environ if environ is None else environ
        self._problems: list[Problem] = []
        self._manager = pluggy.PluginManager("condev")
        self._manager.add_hookspecs(hookspecs)
        self.plugins: dict[str, LoadedPlugin] = {}
        self.protocols: list[Protocol] = []
        self.processors: list[Processor] = []
        self.notifiers: dict[str, Notifier] = {}
        self.rules: dict[str, Rule] = {}
        self.pages: dict[str, list[PluginPage]] = {}
        self.commands: dict[str, Command] = {}
        self.health_checks: list[tuple[str, HealthCheck]] = []
        self.services: list[ServiceSpec] = []

    @classmethod
    def load(
        cls,
        config: Config,
        services: HostServices,
        *,
        only: Iterable[Literal["protocols", "processors"]] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> PluginHost:
        """Load every plugin.

        Args:
            config: the appliance's configuration, with the plugins' raw tables.
            services: what contexts are made of.
            only: register these alone; the decode worker needs no more, and must stay small.
            environ: where `{ env = … }` secrets are looked up.

        Raises:
            PluginError: anything is wrong; all problems are named.
        """
        host = cls(config, services, environ)
        for module, origin in plugin_sources.found(config, services.data_dir, host._problems):
            host._register(module, origin)
        host._check_tables()
        host._collect(frozenset(only) if only is not None else None)
        if host._problems:
            raise PluginError(host._problems)
        return host

    # ── what the appliance asks ──

    def event_store(self) -> EventStore:
        """A new instance of the event store that `[storage] backend` names."""
        return self._chosen("register_storage_backends", "storage.backend", self._config.storage.backend)()

    def blob_store(self) -> BlobStore:
        """A new instance of the blob store that `[storage] blobs` names."""
        return self._chosen("register_blob_stores", "storage.blobs", self._config.storage.blobs)()

    @property
    def issue_hooks(self) -> frozenset[str]:
        """The on_issue_* hooks that some plugin implements."""
        return frozenset(
            hook for plugin in self.plugins.values() for hook in plugin.hooks if hook.startswith("on_issue_")
        )

    async def call_issue_hook(self, name: str, change: IssueChange) -> list[str]:
        """Tell every plugin of a change; returns one sentence for each that failed, so that the outbox can retry."""
        failures: list[str] = []
        for plugin, function in self._implementations(name):
            try:
                answer = function(context=plugin.context, change=change)
                if inspect.isawaitable(answer):
                    await answer
            except Exception as error:
                failures.append(f"{plugin.info.name}.{name}: {type(error).__name__}: {error}")
                log.warning("plugin hook failed", plugin=plugin.info.name, hook=name, exc_info=error)
        return failures

    # ── loading ──

    def _problem(self, name: str, message: str) -> None:
        self._problems.append(Problem(source=f"plugin {name}", key="", message=message))

    def _register(self, module: object, origin: str) -> None:
        info = getattr(module, "plugin", None)
        label = getattr(module, "__name__", repr(module))
        if not isinstance(info, PluginInfo):
            self._problem(label, "has no `plugin = PluginInfo(...)`; see docs/plugins/writing.md")
            return
        if info.name in self._config.plugins.disabled:
            return
        complaint = _complaint(info, self.plugins)
        if complaint:
            self._problem(info.name, f"{complaint} ({origin})")
            return
        context = self._context(info)
        if context is None:
            return
        hooks = self._hooks_of(module, info.name)
        if hooks is None:
            return
        self._manager.register(module, info.name)
        self.plugins[info.name] = LoadedPlugin(info=info, module=module, origin=origin, context=context, hooks=hooks)

    def _context(self, info: PluginInfo) -> PluginContext | None:
        raw = self._config.plugin_tables.get(info.name, {})
        source = str(self._config.source or "the environment")
        kind = info.config or _NoConfig
        config = decode_table(raw, kind, f"plugins.{info.name}", source, self._environ, self._problems)
        if config is None:
            return None
        own = self._services.data_dir / "plugins" / info.name
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        return PluginContext(
            name=info.name,
            config=config,
            http=self._services.http,
            clock=self._services.clock,
            log=cast("FilteringBoundLogger", structlog.get_logger(f"plugin.{info.name}")),
            data_dir=own,
            site_url=self._services.site_url,
            mail_from=self._config.mail.sender,
            memory_bytes=self._services.memory_bytes,
            cpus=self._services.cpus,
            data_root=self._services.data_dir,
            sdk_path=self._config.sdk.path,
        )

    def _hooks_of(self, module: object, name: str) -> tuple[str, ...] | None:
        """The hooks a plugin implements, after checking each against its spec; None when one is wrong."""
        hooks: list[str] = []
        before = len(self._problems)
        for attribute in dir(module):
            if self._manager.parse_hookimpl_opts(module, attribute) is None:
                continue
            spec = getattr(hookspecs, attribute, None)
            if self._manager.parse_hookspec_opts(hookspecs, attribute) is None:
                known = [hook for hook in dir(hookspecs) if self._manager.parse_hookspec_opts(hookspecs, hook)]
                near = difflib.get_close_matches(attribute, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"hooks are {', '.join(known)}"
                self._problem(name, f"{attribute}: no such hook; {hint}")
                continue
            self._check_signature(name, attribute, cast("Callable[..., object]", getattr(module, attribute)), spec)
            hooks.append(attribute)
        return tuple(hooks) if len(self._problems) == before else None

    def _check_signature(self, name: str, hook: str, function: Callable[..., object], spec: object) -> None:
        wanted = list(inspect.signature(cast("Callable[..., object]", spec)).parameters)
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name not in wanted:
                self._problem(name, f"{hook}: takes {parameter.name!r}, which the hook does not have; it has {wanted}")
            elif parameter.default is not inspect.Parameter.empty:
                self._problem(
                    name, f"{hook}: {parameter.name!r} has a default value, so it would never be passed; remove it"
                )
        if inspect.iscoroutinefunction(function) and not hook.startswith("on_"):
            self._problem(name, f"{hook}: is `async def`, but the hook is called synchronously; make it `def`")

    def _check_tables(self) -> None:
        source = str(self._config.source or "the environment")
        for name in self._config.plugin_tables:
            if name in self.plugins or name in self._config.plugins.disabled:
                continue
            if any(problem.source == f"plugin {name}" for problem in self._problems):
                continue
            if any(problem.key.startswith(f"plugins.{name}.") for problem in self._problems):
                continue
            near = difflib.get_close_matches(name, self.plugins, n=1)
            hint = f"did you mean {near[0]}?" if near else f"installed are {', '.join(sorted(self.plugins))}"
            message = f"no plugin of this name is installed; {hint}"
            self._problems.append(Problem(source=source, key=f"plugins.{name}", message=message))

    # ── what plugins register ──

    def _collect(self, only: frozenset[str] | None) -> None:
        def wanted(kind: str) -> bool:
            return only is None or kind in only

        if wanted("protocols"):
            for plugin, protocols in self._answers("register_protocols"):
                self._add_protocols(plugin, cast("Sequence[Protocol]", protocols))
        if wanted("processors"):
            for _, processors in self._answers("register_processors"):
                self.processors += cast("Sequence[Processor]", processors)
            self.processors.sort(key=lambda processor: (processor.order, processor.name))
        if only is not None:
            return
        self._add_named("register_notifiers", self.notifiers)
        self._add_named("register_rules", self.rules)
        self._add_named("register_commands", self.commands)
        for plugin, pages in self._answers("register_pages"):
            self.pages[plugin.info.name] = list(cast("Sequence[PluginPage]", pages))
        for plugin, checks in self._answers("register_health_checks"):
            self.health_checks += [(plugin.info.name, check) for check in cast("Sequence[HealthCheck]", checks)]
        for _, services in self._answers("register_services"):
            self.services += cast("Sequence[ServiceSpec]", services)
        self._check_channels()

    def _check_channels(self) -> None:
        source = str(self._config.source or "the environment")
        for channel, chain in self._config.channels.items():
            for name in chain:
                if name not in self.notifiers:
                    message = f"no notifier {name!r}; installed are {', '.join(sorted(self.notifiers)) or 'none'}"
                    self._problems.append(Problem(source=source, key=f"channels.{channel}", message=message))

    def _add_protocols(self, plugin: LoadedPlugin, protocols: Sequence[Protocol]) -> None:
        for protocol in protocols:
            for other in self.protocols:
                taken = {(route.path, method) for route in other.routes for method in route.methods}
                for route in protocol.routes:
                    if any((route.path, method) in taken for method in route.methods):
                        self._problem(plugin.info.name, f"the route {route.path} belongs to {other.name} already")
            self.protocols.append(protocol)

    def _add_named(self, hook: str, into: dict[str, Any]) -> None:
        for plugin, registered in self._answers(hook):
            for item in cast("Sequence[Any]", registered):
                if item.name in into:
                    self._problem(plugin.info.name, f"{hook}: {item.name!r} is registered already by another plugin")
                into[item.name] = item

    def _answers(self, hook: str) -> list[tuple[LoadedPlugin, object]]:
        answers: list[tuple[LoadedPlugin, object]] = []
        for plugin, function in self._implementations(hook):
            try:
                answers.append((plugin, function(context=plugin.context)))
            except Exception as error:
                text = f"{hook} raised {type(error).__name__}: {error}"
                plugin.errors.append(text)
                log.error("plugin failed to register", plugin=plugin.info.name, hook=hook, exc_info=error)
                if hook in _ESSENTIAL:
                    self._problem(plugin.info.name, f"{text}; mend it, or name it in [plugins] disabled")
        return answers

    def _implementations(self, hook: str) -> list[tuple[LoadedPlugin, Callable[..., object]]]:
        found: list[tuple[LoadedPlugin, Callable[..., object]]] = []
        caller = cast("pluggy.HookCaller", getattr(self._manager.hook, hook))
        for implementation in caller.get_hookimpls():
            function = cast("Callable[..., object]", implementation.function)
            names = tuple(implementation.argnames)
            found.append((self.plugins[implementation.plugin_name], _passing(function, names)))
        return sorted(found, key=lambda pair: pair[0].info.name)

    def _chosen(self, hook: str, key: str, name: str) -> Callable[[], Any]:
        factories: dict[str, Callable[[], Any]] = {}
        for _, registered in self._answers(hook):
            factories.update(cast("Mapping[str, Callable[[], Any]]", registered))
        if name not in factories:
            known = ", ".join(sorted(factories)) or "none"
            message = f"no such backend {name!r}; installed are {known}"
            raise PluginError([Problem(source=str(self._config.source or "config"), key=key, message=message)])
        return factories[name]


class _NoConfig(Struct, kw_only=True):
    """The table of a plugin that takes no settings."""


def _passing(function: Callable[..., object], names: tuple[str, ...]) -> Callable[..., object]:
    """Pass only the arguments that the implementation asks for, as pluggy does."""

    def call(**arguments: object) -> object:
        return function(**{name: arguments[name] for name in names})

    return call


def _complaint(info: PluginInfo, loaded: Mapping[str, LoadedPlugin]) -> str:
    if not _NAME.match(info.name):
        return "the name must be lower-case letters, digits and _, at most 40"
    if info.name in loaded:
        return f"the name is taken by {loaded[info.name].origin}"
    if info.name in ("install", "directory", "disabled"):
        return "the name is a key of [plugins]; choose another"
    ours, theirs = (_version(API_VERSION), _version(info.requires_api))
    if theirs is None or ours is None or theirs[0] != ours[0] or theirs[1] > ours[1]:
        return f"requires_api is {info.requires_api}, this appliance has {API_VERSION}; install a matching version"
    return ""


def _version(text: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None
