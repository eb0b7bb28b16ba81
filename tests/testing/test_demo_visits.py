"""The demonstration's visits are read by the protocol as they are meant: every kind of page has something to show."""

from __future__ import annotations

import random
from collections import Counter

from appliance.cli.demo_visits import visit
from appliance.model import Event, Measurement, Outcome, PageView, Record, Session, Span
from condev_plugins.condev_protocol.v2 import CondevProtocolV2

NOW = 1_800_000_000.0


def test_a_hundred_visits_show_every_kind() -> None:
    draw, protocol = random.Random(4_180), CondevProtocolV2()
    items = [
        item
        for _ in range(100)
        for one in visit(draw, NOW, draw.triangular(0, 170_000, 0))
        for item in protocol.decode(
            Record(
                protocol=protocol.name, route="envelope", project_id=1, received_at=int(NOW * 1_000_000), body=one.body,
                headers={"user-agent": one.user_agent},
            )
        ).items
    ]  # fmt: skip
    kinds = Counter(type(item) for item in items)
    assert all(kinds[kind] >= 10 for kind in (Event, Measurement, Outcome, PageView, Session, Span)), kinds
    dropped = {item.reason for item in items if isinstance(item, Outcome)}
    assert dropped <= {"sample_rate", "before_send", "flood"}, "nothing is unreadable"
    assert {item.kind for item in items if isinstance(item, Event)} == {"white_screen", "error"}
    assert {item.metric for item in items if isinstance(item, Measurement)} >= {"LCP", "INP", "CLS", "long_task"}
    views = [item for item in items if isinstance(item, PageView)]
    assert any(view.last_sequence > len(view.sequences) for view in views)
    visits = [item for item in items if isinstance(item, Session)]
    assert all(0 <= one.timestamp - one.started <= 600_000_000 for one in visits)
    assert all(item.timestamp <= NOW * 1_000_000 for item in (*views, *visits))
    assert any(item.is_segment for item in items if isinstance(item, Span))
