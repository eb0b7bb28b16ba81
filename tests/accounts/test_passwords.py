"""Passwords: what is one, and what a flood of them costs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import bcrypt
import pytest

from appliance.accounts.access import WaitError
from appliance.accounts.passwords import AT_ONCE, WAITING, PasswordHasher, password_problem


@pytest.fixture
def hasher() -> Iterator[PasswordHasher]:
    made = PasswordHasher(rounds=4)
    yield made
    made.close()


async def test_a_password_longer_than_bcrypt_reads_counts_whole(hasher: PasswordHasher) -> None:
    long = "x" * 80
    stored = await hasher.hash(long + "a")
    assert await hasher.matches(long + "a", stored)
    assert not await hasher.matches(long + "b", stored)


async def test_a_nul_does_not_end_a_password(hasher: PasswordHasher) -> None:
    stored = await hasher.hash("before\0after")
    assert not await hasher.matches("before\0other", stored)


async def test_the_same_password_from_another_keyboard_is_the_same(hasher: PasswordHasher) -> None:
    stored = await hasher.hash("Caf\u00e9 au lait")
    assert await hasher.matches("Cafe\u0301 au lait", stored)


async def test_no_password_matches_an_account_without_one(hasher: PasswordHasher) -> None:
    assert not await hasher.matches("", "")
    assert not await hasher.matches("no password has this hash", "")


async def test_an_account_without_a_password_costs_one_hash_of_the_same_cost_and_a_start_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    costs: list[bytes] = []
    really = {name: getattr(bcrypt, name) for name in ("hashpw", "checkpw")}

    def counting(name: str) -> Callable[[bytes, bytes], object]:
        def call(password: bytes, salt: bytes) -> object:
            costs.append(salt[:7])
            return really[name](password, salt)

        return call

    for name in really:
        monkeypatch.setattr(bcrypt, name, counting(name))
    hasher = PasswordHasher(rounds=5)
    assert costs == []
    assert not await hasher.matches("correct horse battery staple", "")
    assert not await hasher.matches("wrong", await hasher.hash("correct horse battery staple"))
    assert costs == [b"$2b$05$"] * 3
    hasher.close()


async def test_an_unpaired_surrogate_is_a_wrong_password_and_not_an_error(hasher: PasswordHasher) -> None:
    assert not await hasher.matches("\ud800", await hasher.hash("something"))


async def test_what_does_not_fit_the_queue_is_refused_in_words(hasher: PasswordHasher) -> None:
    tries = [asyncio.ensure_future(hasher.hash("a password")) for _ in range(AT_ONCE + WAITING + 3)]
    answers = await asyncio.gather(*tries, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, WaitError)]
    assert len(refused) == 3
    assert refused[0].status == 503
    assert refused[0].retry_after > 0
    assert await hasher.hash("the next one") != ""  # the queue is free again


@pytest.mark.parametrize("password", ["short", "password123", "aaaaaaaaaa", "Ada@Example.com", "x" * 300])
def test_bad_passwords_are_refused_in_words(password: str) -> None:
    assert password_problem(password, "ada@example.com").endswith(".")


@pytest.mark.parametrize("password", ["correct horse", "пароль из слов", "七個字的密碼很好"])
def test_words_in_any_script_are_passwords(password: str) -> None:
    assert password_problem(password, "ada@example.com") == ""
