"""The two conditions that everybody wants first: a new issue, and one that comes back after it was resolved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from appliance.hookspecs import Form, FormField, IssueChange, PluginContext, PluginInfo, Rule, hookimpl

LEVELS: Final = ("debug", "info", "warning", "error", "fatal")  # from harmless to worst

FORM: Final = Form(
    fields=(
        FormField(
            name="level",
            label="At least this level",
            type="select",
            default="debug",
            choices=(
                ("debug", "any"),
                ("info", "info"),
                ("warning", "warning"),
                ("error", "error"),
                ("fatal", "fatal"),
            ),
        ),
        FormField(
            name="environment",
            label="Only in these environments",
            help="Separated by commas; empty for all.",
        ),
        FormField(name="unhandled_only", label="Only what nothing caught", type="checkbox"),
    )
)


class NewIssueRule(Rule):
    """Fires once in an issue's life."""

    name = "new_issue"
    label = "New issue"
    help = "When a problem is seen for the first time."
    form = FORM

    def applies(self, change: IssueChange, settings: Mapping[str, str]) -> bool:
        """See `Rule.applies`."""
        return change.change == "opened" and _matches(change, settings)


class RegressionRule(Rule):
    """Fires each time an issue regresses."""

    name = "regression"
    label = "Regression"
    help = "When a resolved issue comes back."
    form = FORM

    def applies(self, change: IssueChange, settings: Mapping[str, str]) -> bool:
        """See `Rule.applies`."""
        return change.change == "regressed" and _matches(change, settings)


def _matches(change: IssueChange, settings: Mapping[str, str]) -> bool:
    wanted = settings.get("level", "debug")
    if change.level in LEVELS and wanted in LEVELS and LEVELS.index(change.level) < LEVELS.index(wanted):
        return False
    environments = [name.strip() for name in settings.get("environment", "").split(",") if name.strip()]
    if environments and change.environment not in environments:
        return False
    return change.unhandled or settings.get("unhandled_only", "") not in {"on", "true", "1"}


plugin = PluginInfo(
    name="basic_rules", version="1.0", requires_api="1.0", summary="Alert rules: new issue and regression."
)


@hookimpl
def register_rules(context: PluginContext) -> Sequence[Rule]:
    """The rules "new_issue" and "regression"."""
    return [NewIssueRule(), RegressionRule()]
