"""The plugin host for verbs that run outside the serving process."""

from __future__ import annotations

from appliance.cli.context import CliContext, fail
from appliance.host_services import host_services
from appliance.logs import configure_logging
from appliance.plugins import PluginError, PluginHost


def load_plugins(context: CliContext) -> PluginHost:
    """Every plugin, with its own table; ends the process with exit code 2 when anything is wrong."""
    context.prepare()
    configure_logging(context.config.log)  # to standard error: what a verb prints may be JSON for a program
    try:
        return PluginHost.load(context.config, host_services(context.config, context.data_dir, context.site_url))
    except PluginError as error:
        fail(str(error), code=2)
