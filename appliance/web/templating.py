"""The Jinja environment of all pages: autoescape always, undefined names are errors, filters for figures and times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, cast

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined, Template, pass_context
from jinja2.runtime import Context
from litestar.plugins.jinja import JinjaTemplateEngine
from markupsafe import Markup, escape

from appliance.hookspecs import Clock
from appliance.web import formats
from appliance.web.assets import Assets

TEMPLATES: Final = Path(__file__).parent / "templates"


def environment(clock: Clock, assets: Assets, extra: Sequence[Path] = (), reload: bool = False) -> Environment:
    """Make the environment.

    Args:
        clock: what `ago` counts from.
        assets: what `asset("css/app.css")` names.
        extra: more folders to look for templates in, after our own.
        reload: look at the files again at each request; for development.
    """
    env = Environment(
        loader=ChoiceLoader([FileSystemLoader(folder) for folder in (TEMPLATES, *extra)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=reload,
        cache_size=400,
    )

    def ago(us: int) -> str:
        return formats.ago(us, clock.now())

    filters: dict[str, Callable[..., object]] = {
        "number": formats.number,
        "compact": formats.compact,
        "percent": formats.percent,
        "bytes": formats.size,
        "duration": formats.duration,
        "iso": formats.iso,
        "exact": formats.exact,
        "day": formats.day,
        "offset": formats.offset,
        "clip": formats.clip,
        "bar_heights": formats.bar_heights,
        "safe_url": formats.safe_url,
        "ago": ago,
    }
    env.filters.update(filters)
    helpers: dict[str, object] = {"asset": assets.url, "csrf_field": _csrf_field}
    cast("dict[str, object]", env.globals).update(helpers)
    return env


class PageEngine(JinjaTemplateEngine):
    """The environment as Litestar takes it, with blocks as layouts of their own."""

    def __init__(self, env: Environment) -> None:
        """Args: env: from `environment`."""
        super().__init__(engine_instance=env)
        self._blocks: dict[str, Template] = {}

    def asset(self, name: str) -> str:
        """The address of a static file, as templates get it."""
        return str(cast("Callable[[str], str]", self.engine.globals["asset"])(name))

    def block(self, name: str) -> Template:
        """A layout that shows one block alone: what an htmx request gets of a page that extends it."""
        if not name.isidentifier():
            raise ValueError(f"{name!r} is not the name of a block")
        if name not in self._blocks:
            self._blocks[name] = self.engine.from_string(f"{{% block {name} %}}{{% endblock %}}")
        return self._blocks[name]


@pass_context
def _csrf_field(context: Context) -> Markup:
    """The hidden field that every form carries."""
    return Markup('<input type="hidden" name="_csrf_token" value="{}">').format(escape(context["csrf_token"]))
