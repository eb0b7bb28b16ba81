"""The sketch of affected users: how near its counts are, and that order and repetition do not matter."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.issues import sketch

users = st.integers(min_value=1, max_value=(1 << 64) - 1)


def user(number: int) -> int:
    return int.from_bytes(hashlib.blake2b(str(number).encode(), digest_size=8).digest(), "little")


def test_no_users_count_as_none() -> None:
    assert sketch.count(b"") == 0
    assert sketch.add(b"", [0, 0]) == b""


@pytest.mark.parametrize("people", [1, 2, 10, 50])
def test_a_few_users_are_counted_to_within_one(people: int) -> None:
    assert abs(sketch.count(sketch.add(b"", [user(n) for n in range(people)])) - people) <= 1


@pytest.mark.parametrize("people", [100, 1_000, 3_000, 20_000, 200_000])
def test_many_users_are_counted_within_ten_per_cent(people: int) -> None:
    counted = sketch.count(sketch.add(b"", (user(n) for n in range(people))))
    assert abs(counted - people) / people < 0.1


def test_a_sketch_of_few_users_is_small_and_one_of_many_is_bounded() -> None:
    assert len(sketch.add(b"", [user(n) for n in range(10)])) <= 21
    assert len(sketch.add(b"", (user(n) for n in range(100_000)))) == 1 + sketch.REGISTERS


def test_the_same_users_again_leave_the_sketch_untouched() -> None:
    for people in (5, 5_000):
        filled = sketch.add(b"", [user(n) for n in range(people)])
        assert sketch.add(filled, [user(n) for n in range(people)]) is filled
        assert sketch.merge(filled, filled, b"") is filled


def test_the_order_of_batches_does_not_matter() -> None:
    numbers = [user(n) for n in range(2_000)]
    forward = sketch.add(sketch.add(b"", numbers[:700]), numbers[700:])
    random.Random(1).shuffle(numbers)
    assert sketch.add(b"", numbers) == forward


@given(st.lists(users, max_size=300), st.lists(users, max_size=300))
def test_merging_two_sketches_equals_one_sketch_of_both(left: list[int], right: list[int]) -> None:
    both = sketch.add(b"", [*left, *right])
    assert sketch.merge(sketch.add(b"", left), sketch.add(b"", right)) == both
    assert sketch.merge(sketch.add(b"", right), sketch.add(b"", left)) == both
