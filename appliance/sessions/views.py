"""A session as its page shows it: its page views in order, and what happened in each. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from appliance.hookspecs import EventSummary, Measure, PageViewSummary, ReplaySummary, SessionSummary
from appliance.issues.views import IssueMention
from appliance.performance.metrics import VITAL_NAMES, described
from appliance.performance.views import SampleRow, sample_row
from appliance.web.formats import number

SETTLED: Final = 15 * 60 * 1_000_000  # µs without a word; an SDK sends what it has within seconds, or never
ARRIVED_NOT: Final[Mapping[bool, str]] = {True: "never arrived", False: "not arrived yet"}
SHOWN_MEASURES: Final = 40  # of one page view, beside its vitals
TONES: Final[Mapping[str, str]] = {
    "exited": "good", "errored": "warn", "abnormal": "warn", "crashed": "bad", "unhandled": "bad",
}  # fmt: skip


class EventLine(Struct, frozen=True, kw_only=True):
    """An event of the session, and the issue that it belongs to."""

    event: EventSummary
    issue: IssueMention | None

    @property
    def href(self) -> str:
        """Its page; "" when it belongs to no issue."""
        return f"/issues/{self.issue.id}/events/{self.event.event_id}" if self.issue else ""


class Happening(Struct, frozen=True, kw_only=True):
    """One line below a page view: an event or a measurement."""

    at: int
    line: EventLine | None = None
    row: SampleRow | None = None


class ViewBlock(Struct, frozen=True, kw_only=True):
    """A page view with what happened in it; without one, what named no page view that is known."""

    view: PageViewSummary | None
    vitals: tuple[SampleRow, ...]
    happened: tuple[Happening, ...]  # all events and the first of other measurements, by time
    more_measures: int
    gap: str


class ReplayLink(Struct, frozen=True, kw_only=True):
    """A replay in which the session can be watched."""

    replay_id: str
    recorded: ReplaySummary | None = None  # unknown where no segment names the session


class SessionPage(Struct, frozen=True, kw_only=True):
    """The whole of it."""

    session: SessionSummary
    blocks: tuple[ViewBlock, ...]
    replays: tuple[ReplayLink, ...]
    gap: str
    settled: bool  # nothing was heard of it for a while
    cut: bool  # more was there than is shown


def gap_words(missing: int, of: int, settled: bool = True) -> str:
    """How many reports did not come; "" when all did. Of a visit that goes on, the rest may be on its way."""
    if missing <= 0:
        return ""
    return f"{number(missing)} of {number(of)} report{'' if of == 1 else 's'} {ARRIVED_NOT[settled]}"


def session_page(
    session: SessionSummary,
    views: Sequence[PageViewSummary],
    events: Sequence[EventSummary],
    measures: Sequence[Measure],
    replays: Sequence[ReplaySummary],
    issues: Mapping[int, IssueMention],
    *,
    cut: bool,
    now: int,
) -> SessionPage:
    """Lay a session out.

    Args:
        session: the session.
        views: its page views.
        events: its events.
        measures: its measurements.
        replays: recorded in it, newest first.
        issues: by group hash, those that the events belong to.
        cut: whether there is more than was given.
        now: µs.
    """
    settled = now - session.timestamp > SETTLED
    ordered = sorted(views, key=lambda view: (view.timestamp, view.page_view_id))
    known = {view.page_view_id for view in ordered}
    lines = [EventLine(event=event, issue=issues.get(event.group_hash)) for event in events]
    blocks = [
        _block(
            view,
            [line for line in lines if line.event.page_view_id == view.page_view_id],
            [one for one in measures if one.page_view_id == view.page_view_id],
            settled,
        )
        for view in ordered
    ]
    stray = [line for line in lines if line.event.page_view_id not in known]
    loose = [one for one in measures if one.page_view_id not in known]
    if stray or loose:
        blocks.append(_block(None, stray, loose, settled))
    missing, captured = sum(view.missing for view in ordered), sum(view.last_sequence for view in ordered)
    return SessionPage(
        session=session,
        blocks=tuple(blocks),
        replays=_replay_links(replays, events),
        gap=gap_words(missing, captured, settled),
        settled=settled,
        cut=cut,
    )


def _replay_links(replays: Sequence[ReplaySummary], events: Sequence[EventSummary]) -> tuple[ReplayLink, ...]:
    """Oldest first: those that name the session, then what its events alone name, as Sentry's SDKs do."""
    recorded = {replay.replay_id: replay for replay in reversed(replays)}
    named = dict.fromkeys(event.replay_id for event in reversed(events) if event.replay_id)
    ids = dict.fromkeys([*recorded, *named])
    return tuple(ReplayLink(replay_id=one, recorded=recorded.get(one)) for one in ids)


def _block(
    view: PageViewSummary | None, events: Iterable[EventLine], measures: Sequence[Measure], settled: bool
) -> ViewBlock:
    rows = [sample_row(one, described(one.metric, one.unit)) for one in sorted(measures, key=lambda one: one.timestamp)]
    vitals = sorted(
        (row for row in rows if row.sample.metric in VITAL_NAMES), key=lambda row: VITAL_NAMES.index(row.sample.metric)
    )
    others = [row for row in rows if row.sample.metric not in VITAL_NAMES]
    happened = [Happening(at=line.event.timestamp, line=line) for line in events]
    happened += [Happening(at=row.sample.timestamp, row=row) for row in others[:SHOWN_MEASURES]]
    return ViewBlock(
        view=view,
        vitals=tuple(vitals),
        happened=tuple(sorted(happened, key=lambda one: one.at)),
        more_measures=max(0, len(others) - SHOWN_MEASURES),
        gap=gap_words(view.missing, view.last_sequence, settled) if view else "",
    )
