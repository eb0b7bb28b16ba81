"""Reads an event that `wire` refuses: field by field, keeping what can be read and noting what cannot.

The same body gives the same structs here as there whenever both can read it; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from msgspec import Struct

from appliance.decoding import json_object, json_value, read_object, text, texts, truth, whole
from appliance.decoding.reading import name_of
from appliance.model import Json, JsonObject

from .wire import (
    MendedEvent,
    WireCrumb,
    WireDebugMeta,
    WireEvent,
    WireException,
    WireExceptions,
    WireFrame,
    WireImage,
    WireMechanism,
    WireMessage,
    WireRequest,
    WireSdk,
    WireSettings,
    WireStacktrace,
    WireThread,
    WireThreads,
)

T = TypeVar("T", bound=Struct)


def read_event(payload: bytes) -> tuple[WireEvent, list[str]]:
    """Read an event forgivingly, and note in words what could not be used.

    Raises:
        UnreadableError: the payload is not a JSON object.
    """
    return event_of(read_object(payload))


def event_of(found: JsonObject) -> tuple[WireEvent, list[str]]:
    """An event from JSON of any shape, and what could not be used."""
    fields = _Fields(found)
    event = MendedEvent(
        **{name: fields.text(name) for name in _TEXTS},
        timestamp=fields.time("timestamp"),
        message=_message_text(found.get("message")),
        logentry=_logentry(found, fields),
        fingerprint=texts(fields.array("fingerprint"), 100),
        exception=_exceptions(found.get("exception"), fields),
        stacktrace=_stacktrace(fields.raw("stacktrace", dict)),
        threads=_threads(found.get("threads"), fields),
        breadcrumbs=[_crumb(entry) for entry in fields.values("breadcrumbs")],
        user=json_object(fields.raw("user", dict)),
        request=_request(fields),
        tags=_tags(found.get("tags"), fields),
        contexts=json_object(fields.raw("contexts", dict)),
        extra=json_object(fields.raw("extra", dict)),
        modules=_modules(fields.raw("modules", dict)),
        debug_meta=_debug_meta(fields.raw("debug_meta", dict)),
        sdk=_sdk(fields.raw("sdk", dict)),
    )
    return event, fields.notes


_TEXTS = (
    "event_id",
    "type",
    "platform",
    "level",
    "logger",
    "transaction",
    "release",
    "dist",
    "environment",
    "server_name",
    "culprit",
)


class _Fields:
    """The fields of an event; each that is there and cannot be used leaves a note."""

    def __init__(self, found: JsonObject) -> None:
        self._found = found
        self.notes: list[str] = []

    def text(self, name: str) -> str | None:
        value = self._found.get(name)
        if isinstance(value, (dict, list)):
            self.refuse(name, "a string", value)
            return None
        return text(value) if value is not None else None

    def time(self, name: str) -> float | int | str | None:
        value = self._found.get(name)
        if isinstance(value, (dict, list, bool)):
            self.refuse(name, "a time", value)
            return None
        return value

    def raw(self, name: str, wanted: type[dict[str, Json]] | type[list[Json]]) -> Json:
        value = self._found.get(name)
        if value is None or isinstance(value, wanted):
            return value
        self.refuse(name, "an object" if wanted is dict else "an array", value)
        return None

    def array(self, name: str) -> Json:
        return self.raw(name, list)

    def values(self, name: str) -> list[Json]:
        """An array, or an object with the array in `values`."""
        value = self._found.get(name)
        found = value.get("values") if isinstance(value, dict) else value
        if isinstance(found, list):
            return found
        if found is not None:
            self.refuse(name, "an array", found)
        return []

    def refuse(self, name: str, wanted: str, value: Json) -> None:
        self.notes.append(f"{name}: expected {wanted}, found {name_of(value)}; left out")


def _object(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _optional(value: Json) -> str | None:
    return text(value) if value is not None else None


def _each(values: Json, make: Callable[[JsonObject], T]) -> list[T]:
    return [make(entry) for entry in values if isinstance(entry, dict)] if isinstance(values, list) else []


def _message_text(value: Json) -> str | None:
    if isinstance(value, dict):  # the interface's long form: the same as logentry
        return None
    return _optional(value)


def _logentry(found: JsonObject, fields: _Fields) -> WireMessage | None:
    value = found.get("logentry")
    if value is None and isinstance(found.get("message"), dict):
        value = found["message"]
    if isinstance(value, str):
        return WireMessage(message=text(value))
    if not isinstance(value, dict):
        if value is not None:
            fields.refuse("logentry", "an object", value)
        return None
    params = json_value(value.get("params"))
    if isinstance(params, dict):
        params = list(params.values())
    return WireMessage(
        message=_optional(value.get("message")),
        formatted=_optional(value.get("formatted")),
        params=params if isinstance(params, list) else None,
    )


def _exceptions(value: Json, fields: _Fields) -> WireExceptions | None:
    if value is None:
        return None
    if isinstance(value, dict) and "values" not in value:  # one exception, unwrapped
        value = [value] if {"type", "value", "stacktrace"} & value.keys() else []
    return WireExceptions(
        values=_each(value if isinstance(value, list) else fields.values("exception"), _exception),
        mechanism=_mechanism(_object(value).get("mechanism")),
    )


def _exception(found: JsonObject) -> WireException:
    return WireException(
        type=_optional(found.get("type")),
        value=_optional(found.get("value")),
        module=_optional(found.get("module")),
        mechanism=_mechanism(found.get("mechanism")),
        stacktrace=_stacktrace(found.get("stacktrace")),
    )


def _mechanism(value: Json) -> WireMechanism | None:
    if not isinstance(value, dict):
        return None
    return WireMechanism(type=_optional(value.get("type")), handled=truth(value.get("handled")))


def _stacktrace(value: Json) -> WireStacktrace | None:
    if not isinstance(value, dict):
        return None
    return WireStacktrace(frames=_each(value.get("frames"), _frame))


def _frame(found: JsonObject) -> WireFrame:
    source = found.get("context_line")
    return WireFrame(
        function=text(found.get("function")),
        filename=text(found.get("filename")),
        abs_path=text(found.get("abs_path")),
        module=text(found.get("module")),
        lineno=whole(found.get("lineno")),
        colno=whole(found.get("colno")),
        in_app=truth(found.get("in_app")),
        context_line=_optional(source),
        pre_context=texts(found.get("pre_context"), 100),
        post_context=texts(found.get("post_context"), 100),
        vars=json_object(found.get("vars")),
        debug_id=text(found.get("debug_id")),
    )


def _threads(value: Json, fields: _Fields) -> WireThreads | None:
    if value is None:
        return None
    return WireThreads(values=_each(fields.values("threads"), _thread))


def _thread(found: JsonObject) -> WireThread:
    return WireThread(
        crashed=truth(found.get("crashed")),
        current=truth(found.get("current")),
        stacktrace=_stacktrace(found.get("stacktrace")),
    )


def _crumb(value: Json) -> WireCrumb:
    if not isinstance(value, dict):
        return WireCrumb(message=text(value))
    timestamp = value.get("timestamp")
    return WireCrumb(
        timestamp=cast("int | None", timestamp if isinstance(timestamp, (int, float, str)) else None),  # as sent
        type=text(value.get("type")),
        category=text(value.get("category")),
        level=text(value.get("level")),
        message=text(value.get("message")),
        data=json_object(value.get("data")),
        event_id=text(value.get("event_id")),
    )


def _request(fields: _Fields) -> WireRequest | None:
    found = fields.raw("request", dict)
    if not isinstance(found, dict):
        return None
    query = found.get("query_string")
    return WireRequest(
        url=_optional(found.get("url")),
        method=_optional(found.get("method")),
        query_string="&".join(f"{key}={value}" for key, value in _pairs(query).items())
        if isinstance(query, (dict, list))
        else _optional(query),
        headers=_pairs(found.get("headers")),
        data=json_value(found.get("data")),
        cookies=_cookies(found.get("cookies")),
        env=json_object(found.get("env")),
    )


def _cookies(value: Json) -> dict[str, str]:
    if not isinstance(value, str):
        return _pairs(value)
    parts = (part.partition("=") for part in text(value).split(";"))
    return {name.strip(): content.strip() for name, _, content in parts if name.strip()}


def _pairs(value: Json) -> dict[str, str]:
    """An object, or the list of pairs that the protocol also allows."""
    if isinstance(value, list):
        pairs = (entry for entry in value if isinstance(entry, list) and len(entry) == 2)
        return {text(key): text(content) for key, content in pairs}
    return {text(key): text(content) for key, content in _object(value).items()}


def _tags(value: Json, fields: _Fields) -> dict[str, int | str | float | bool | None]:
    if isinstance(value, list):
        return dict(_pairs(value))
    if value is not None and not isinstance(value, dict):
        fields.refuse("tags", "an object", value)
    return {
        text(key): entry if isinstance(entry, (bool, int, float)) or entry is None else text(entry)
        for key, entry in _object(value).items()
    }


def _modules(value: Json) -> dict[str, str]:
    return {text(key): text(entry) for key, entry in _object(value).items()}


def _debug_meta(value: Json) -> WireDebugMeta:
    images = _each(_object(value).get("images"), _image)
    return WireDebugMeta(images=images)


def _image(found: JsonObject) -> WireImage:
    return WireImage(code_file=_optional(found.get("code_file")), debug_id=_optional(found.get("debug_id")))


def _sdk(value: Json) -> WireSdk:
    found = _object(value)
    settings = WireSettings(infer_ip=_optional(_object(found.get("settings")).get("infer_ip")))
    return WireSdk(name=_optional(found.get("name")), version=_optional(found.get("version")), settings=settings)
