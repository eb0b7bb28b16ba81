"""The conformance suite of rules: subclass it, give it your rule, and pytest runs the contract against it.

::

    class TestMine(RuleConformance):
        @pytest.fixture
        def rule(self): return MyRule()
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from appliance.hookspecs import FormField, IssueChange, Rule

CHANGES = ("opened", "regressed", "resolved", "seen")
LEVELS = ("debug", "info", "warning", "error", "fatal", "")
HOSTILE = ("", " ", "\x00", "\u202eevil", "a" * 8_192, "'; DROP TABLE issues; --", "[unclosed", "NaN", "-1", "9" * 400)


def sample_change(**values: object) -> IssueChange:
    """A change as the pipeline reports it."""
    given: dict[str, object] = {
        "change": "opened",
        "project_id": 1,
        "issue_id": 7,
        "title": "TypeError: x is not a function",
        "culprit": "render (app.js)",
        "level": "error",
        "kind": "error",
        "event_id": "7" * 32,
        "release": "shop@1.2.0",
        "environment": "production",
        "event_count": 1,
        "at": 1_800_000_000_000_000,
        **values,
    }
    return IssueChange(**given)  # type: ignore[arg-type]


class RuleConformance:
    """What the host and the dashboard rely on."""

    def test_it_says_what_it_is(self, rule: Rule) -> None:
        """The list of conditions shows the label and the help."""
        assert rule.name
        assert rule.name == rule.name.strip().lower()
        assert len(rule.name) <= 64  # what the column holds
        assert rule.label
        assert rule.help.endswith(".")

    def test_its_form_can_be_drawn(self, rule: Rule) -> None:
        """Names are those of form fields; a default is a value that the field takes."""
        names = [field.name for field in rule.form.fields]
        assert len(names) == len(set(names))
        for field in rule.form.fields:
            assert field.name.isidentifier()
            assert field.label
            if field.type == "select":
                assert field.choices
                assert not field.default or field.default in {value for value, _ in field.choices}
            if field.type in ("number", "duration") and field.default:
                assert (field.minimum or float("-inf")) <= float(field.default) <= (field.maximum or float("inf"))

    def test_it_answers_every_change_with_yes_or_no(self, rule: Rule) -> None:
        """With the form's defaults, with nothing at all, and with what an older version of the form may have left."""
        defaults = {field.name: field.default for field in rule.form.fields}
        for change in changes():
            for settings in (defaults, {}, {"gone": "x"}):
                assert rule.applies(change, settings) in (True, False)

    @pytest.mark.parametrize("hostile", HOSTILE)
    def test_hostile_text_makes_it_raise_nothing(self, rule: Rule, hostile: str) -> None:
        """Titles come from strangers; settings from people, and fields of theirs may have been renamed."""
        settings = {field.name: hostile for field in rule.form.fields if _is_free(field)}
        change = sample_change(title=hostile, culprit=hostile, release=hostile, environment=hostile, level=hostile)
        assert rule.applies(change, settings) in (True, False)
        assert rule.applies(sample_change(), settings) in (True, False)

    def test_the_same_change_gets_the_same_answer(self, rule: Rule) -> None:
        """After a crash it is asked again; in two processes it is asked twice."""
        defaults = {field.name: field.default for field in rule.form.fields}
        first = [rule.applies(change, defaults) for change in changes()]
        assert [rule.applies(change, defaults) for change in changes()] == first

    def test_settings_are_left_as_they_are(self, rule: Rule) -> None:
        """They are the row's, and the next change is asked about with them."""
        settings = {field.name: field.default for field in rule.form.fields}
        before = dict(settings)
        for change in changes():
            rule.applies(change, settings)
        assert settings == before


def changes() -> Iterator[IssueChange]:
    """Every kind of change at every level, new and old, caught and not."""
    for kind, level, unhandled in itertools.product(CHANGES, LEVELS, (True, False)):
        yield sample_change(change=kind, level=level, unhandled=unhandled)
        yield sample_change(change=kind, level=level, unhandled=unhandled, event_count=1_000_000, overflow=True)


def _is_free(field: FormField) -> bool:
    """Selects, numbers and addresses are checked by the host before they are kept."""
    return field.type == "text"
