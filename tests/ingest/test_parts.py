"""The parts of admission by themselves: routes, buckets, addresses, the table's file, drop counts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.hookspecs import Answer, Decoded, IngestRequest, Peek, Protocol, Route, Verdict
from appliance.ingest.addresses import TrustedProxies, parse_address, rate_key
from appliance.ingest.admission import AdmissionFile, AdmissionTable, AdmittedProject, hash_key, publish
from appliance.ingest.buckets import Buckets
from appliance.ingest.drops import MAX_COUNTS, DropCounter, IngestCounters
from appliance.ingest.routes import MAX_REMEMBERED, RouteTable
from appliance.ingest.shedding import SHED_AT, is_shed
from appliance.model import Category, Record
from appliance.testing.clock import FakeClock


class Routed(Protocol):
    def __init__(self, name: str, *routes: Route) -> None:
        self.name = name
        self.routes = routes

    def peek(self, request: IngestRequest) -> Peek:
        return Peek(key="")

    def decode(self, record: Record) -> Decoded:
        return Decoded()

    def answer(self, verdict: Verdict) -> Answer:
        return Answer(status=200)


def route(path: str, *methods: str) -> Route:
    return Route(path=path, methods=methods or ("POST",), name=path)


def test_a_project_id_is_digits_and_any_other_parameter_one_segment():
    table = RouteTable([Routed("p", route("/api/{project_id}/envelope/"), route("/tracking/{key}"))])
    found = table.find("//api/42//envelope")
    assert found is not None
    assert found["POST"].params == {"project_id": "42"}
    assert table.find("/api/4x/envelope/") is None
    assert table.find(f"/api/{'9' * 30}/envelope/") is None
    assert table.find("/tracking/a/b") is None
    assert table.find("/tracking/") is None
    assert table.find("/tracking/a.b-c_d") is not None


def test_two_protocols_that_claim_one_route_do_not_start():
    with pytest.raises(ValueError, match="'one' and 'two' both claim POST"):
        RouteTable([Routed("one", route("/in/{key}")), Routed("two", route("//in/{name}/"))])
    RouteTable([Routed("one", route("/in/{key}", "POST")), Routed("two", route("/in/{key}", "GET"))])


def test_paths_that_are_tried_out_do_not_fill_the_memory():
    table = RouteTable([Routed("p", route("/tracking/{key}"))])
    for number in range(2 * MAX_REMEMBERED):
        table.find(f"/tracking/{number}")
        table.find(f"/nothing/{number}")
    assert len(table._remembered) <= MAX_REMEMBERED
    assert table.find("/tracking/" + "x" * 10_000) is None


def test_a_bucket_allows_its_burst_then_one_debt_then_its_rate():
    buckets = Buckets()
    taken = [buckets.take("k", 10, 20, 0.0) for _ in range(50)]
    assert sum(wait == 0 for wait in taken) == 40
    assert taken[-1] == pytest.approx(2.1)
    assert sum(buckets.take("k", 10, 20, 3.0) == 0 for _ in range(50)) == 10  # debt is not allowed again yet
    assert sum(buckets.take("k", 10, 20, 4.0) == 0 for _ in range(50)) == 10


def test_a_bucket_that_was_full_again_may_go_into_debt_again():
    buckets = Buckets()
    for _ in range(50):
        buckets.take("k", 10, 20, 0.0)
    assert sum(buckets.take("k", 10, 20, 100.0) == 0 for _ in range(50)) == 40


@given(st.lists(st.floats(0, 5), min_size=1, max_size=200))
def test_no_more_than_rate_burst_and_one_debt_pass_in_any_time(steps):
    buckets, now, passed = Buckets(), 0.0, 0
    for step in steps:
        now += step
        passed += buckets.take("k", 2, 3, now) == 0
        # Each further debt of 3 takes a recovery from empty to full first, at least 1.5 s.
        assert passed <= 2 * now + 2 * 3 + 3 * (now / 1.5)


def test_waiting_as_long_as_told_is_enough():
    buckets = Buckets()
    while (wait := buckets.take("k", 5, 10, 0.0)) == 0:
        pass
    assert buckets.take("k", 5, 10, wait - 0.01) > 0
    assert buckets.take("k", 5, 10, wait + 1e-9) == 0


def test_buckets_are_bounded_and_the_busy_ones_are_kept():
    buckets = Buckets(max_buckets=100)
    for _ in range(25):
        buckets.take("busy", 1, 10, 1_000.0)
    for number in range(5_000):
        buckets.take(number, 1, 10, 1_000.0 + number * 0.001)
        if number % 20 == 0:
            buckets.take("busy", 1, 10, 1_000.0 + number * 0.001)
    assert len(buckets) <= 100
    assert buckets.take("busy", 1, 10, 1_005.0) > 0


@pytest.mark.parametrize(
    ("peer", "header", "client"),
    [
        ("203.0.113.1", "198.51.100.7", "203.0.113.1"),  # the peer is no proxy of ours
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.7", "198.51.100.7"),  # what the client made up stands left
        ("10.0.0.1", "198.51.100.7, 10.0.0.9", "198.51.100.7"),  # two proxies of ours
        ("10.0.0.1", "10.0.0.8, 10.0.0.9", "10.0.0.8"),
        ("10.0.0.1", "rubbish, 10.0.0.9", "10.0.0.9"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "[2001:db8::7]:443", "2001:db8::7"),
        ("10.0.0.1", "198.51.100.7:5123", "198.51.100.7"),
        ("::ffff:10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "1.1.1.1," * 1_000 + "10.0.0.2", "1.1.1.1"),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_no_proxy_of_ours(peer, header, client):
    assert TrustedProxies(["10.0.0.0/8"]).client(peer, header) == client


@given(st.text(max_size=60))
def test_no_header_text_breaks_the_address(text):
    parse_address(text)
    TrustedProxies(["10.0.0.0/8"]).client("10.0.0.1", text)


def test_a_wrong_proxy_names_itself():
    with pytest.raises(ValueError, match=r"'proxy\.local'"):
        TrustedProxies(["proxy.local"])


def test_an_ipv6_customer_is_one_sender():
    assert rate_key("2001:db8:1:2:3:4:5:6") == rate_key("2001:db8:1:2::1") != rate_key("2001:db8:1:3::1")
    assert rate_key("203.0.113.9") == "203.0.113.9"


@pytest.fixture
def admission(tmp_path: Path) -> tuple[Path, FakeClock, AdmissionFile]:
    clock = FakeClock()
    path = tmp_path / "admission.json"
    return path, clock, AdmissionFile(path, clock)


def table(*keys: str) -> AdmissionTable:
    return AdmissionTable(projects=[AdmittedProject(id=1, key_hashes=[hash_key(key) for key in keys])])


def test_a_published_change_is_seen_within_half_a_second(admission):
    path, clock, file = admission
    publish(path, table("a"))
    current = file.current()
    assert current is not None
    assert current.find("a") is not None
    assert current.find("b") is None
    publish(path, table("b"))
    clock.advance(0.6)
    current = file.current()
    assert current is not None
    assert (current.find("a"), current.find("b") is not None) == (None, True)


@pytest.mark.parametrize("content", [b"", b"{", b'{"projects": 3}', b'{"projects": [], "format": 99}', b"\xff\xfe"])
def test_a_damaged_table_keeps_the_last_good_one_and_says_so(admission, content):
    path, clock, file = admission
    publish(path, table("a"))
    assert file.current() is not None
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))
    clock.advance(1)
    current = file.current()
    assert current is not None
    assert current.find("a") is not None
    assert "damaged" in file.problem
    path.unlink()
    clock.advance(1)
    assert file.current() is not None
    assert "cannot be read" in file.problem
    publish(path, table("b"))
    clock.advance(1)
    assert file.current().find("b") is not None
    assert file.problem == ""


def test_publishing_leaves_no_temporary_file_and_replaces_at_once(admission):
    path, _, _ = admission
    publish(path, table("a"))
    publish(path, table("b"))
    assert [entry.name for entry in path.parent.iterdir()] == ["admission.json"]
    assert path.stat().st_mode & 0o077 == 0


def test_clear_keys_do_not_stand_in_the_file(admission):
    path, _, _ = admission
    publish(path, table("0123456789abcdef0123456789abcdef"))
    assert b"0123456789abcdef0123456789abcdef" not in path.read_bytes()


def test_drop_counts_are_bounded_and_none_is_lost():
    counter = DropCounter(IngestCounters())
    for number in range(2 * MAX_COUNTS):
        counter.add(number + 1, "too_large", "error")
    record = counter.take(0)
    assert record is not None
    assert len(record.drops) <= MAX_COUNTS + 1
    assert sum(drop.quantity for drop in record.drops) == 2 * MAX_COUNTS
    assert counter.take(0) is None


def test_every_category_has_its_place_in_the_order_of_shedding():
    assert set(SHED_AT) == set(Category)
    assert max(SHED_AT, key=SHED_AT.__getitem__) is Category.ERROR
    assert not is_shed(Category.REPLAY, 0.49)
    assert is_shed(Category.REPLAY, 0.5)
    assert not is_shed(Category.ERROR, 0.97)
    assert is_shed(Category.ERROR, 1.0)
