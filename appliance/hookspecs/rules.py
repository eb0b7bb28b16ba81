"""Conditions under which a channel is told, and the forms of their settings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct


class FormField(Struct, frozen=True, kw_only=True):
    """One field of a form that the dashboard draws."""

    name: str
    label: str
    type: Literal["text", "number", "checkbox", "select", "duration", "email_list"] = "text"
    default: str = ""
    help: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None


class Form(Struct, frozen=True, kw_only=True):
    """The settings of a rule, as fields."""

    fields: tuple[FormField, ...] = ()


class IssueChange(Struct, frozen=True, kw_only=True):
    """What happened to an issue: what rules look at and hooks are told."""

    change: Literal["opened", "regressed", "resolved", "seen"]
    project_id: int
    issue_id: int
    title: str
    culprit: str
    level: str
    kind: str
    event_id: str
    release: str
    environment: str
    event_count: int
    at: int  # µs
    unhandled: bool = False
    overflow: bool = False  # it is the project's overflow issue


class Rule(ABC):
    """A condition under which a channel is told. Evaluated before the metadata transaction; must be quick and pure."""

    name: str
    label: str
    help: str
    form: Form = Form()

    @abstractmethod
    def applies(self, change: IssueChange, settings: Mapping[str, str]) -> bool:
        """True when this change is what the rule waits for."""
