"""Signing in: one answer for every failure, throttling, second factor."""

from __future__ import annotations

import asyncio

import pyotp
import pytest
from sqlalchemy import func, select

from appliance.accounts.access import COMMAND_LINE, AccessError, InvalidInputError, NotFoundError, Role, WaitError
from appliance.accounts.models import SignInFailureModel
from appliance.accounts.passwords import PasswordHasher
from appliance.accounts.service import AccountService, Client
from appliance.accounts.sessions import Opened
from appliance.accounts.sign_in import Challenge
from appliance.accounts.throttle import ADDRESS_FACTOR, WINDOW_SECONDS
from appliance.accounts.two_factor import new_totp_secret
from appliance.metadata.database import Database
from appliance.testing.accounts import PASSWORD
from appliance.testing.clock import FakeClock

EMAIL = "Ada@Example.com"
ATTEMPTS = 10  # the default of accounts.sign_in_attempts


@pytest.fixture(autouse=True)
async def ada(accounts: AccountService) -> int:
    return await accounts.setup.create_owner(EMAIL, PASSWORD)


async def refusal(accounts: AccountService, email: str, password: str, client: Client) -> AccessError:
    with pytest.raises(AccessError) as caught:
        await accounts.sign_in.password(email, password, client)
    return caught.value


async def test_the_address_may_be_typed_in_any_case(accounts: AccountService, client: Client) -> None:
    assert isinstance(await accounts.sign_in.password("  ada@EXAMPLE.com ", PASSWORD, client), Opened)


async def test_wrong_unknown_invited_and_disabled_are_answered_alike(
    accounts: AccountService, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accounts.users.invite(COMMAND_LINE, "invited@example.com", Role.VIEWER, ())
    disabled = await accounts.users.create(COMMAND_LINE, "gone@example.com", Role.VIEWER, PASSWORD)
    await accounts.users.set_disabled(COMMAND_LINE, disabled, True)
    hashed: list[str] = []
    really = PasswordHasher.matches

    async def counting(self: PasswordHasher, password: str, stored: str) -> bool:
        hashed.append(password)
        return await really(self, password, stored)

    monkeypatch.setattr(PasswordHasher, "matches", counting)
    answers = [
        await refusal(accounts, email, password, client)
        for email, password in (
            (EMAIL, "wrong wrong"),
            ("nobody@example.com", PASSWORD),
            ("invited@example.com", ""),
            ("gone@example.com", PASSWORD),
        )
    ]
    assert {(type(answer), str(answer), answer.status) for answer in answers} == {
        (InvalidInputError, "The address or the password is wrong.", 422)
    }
    assert len(hashed) == 4  # each costs one hash: time tells no more than the words


@pytest.mark.parametrize("email", [EMAIL, "nobody@example.com"])
async def test_an_account_is_throttled_whether_it_exists_or_not(
    accounts: AccountService, clock: FakeClock, email: str
) -> None:
    for number in range(ATTEMPTS):
        answer = await refusal(accounts, email, "wrong wrong", Client(address=f"198.51.100.{number}"))
        assert isinstance(answer, InvalidInputError)
    answer = await refusal(accounts, email, PASSWORD, Client(address="198.51.100.99"))
    assert isinstance(answer, WaitError)
    assert answer.status == 429
    assert 0 < answer.retry_after <= WINDOW_SECONDS
    clock.advance(WINDOW_SECONDS + 1)
    assert isinstance(await refusal(accounts, email, "wrong wrong", Client(address="x")), InvalidInputError)


async def test_an_address_is_throttled_over_all_accounts(accounts: AccountService) -> None:
    for number in range(ATTEMPTS * ADDRESS_FACTOR):
        await refusal(accounts, f"user{number}@example.com", "wrong wrong", Client(address="2001:db8::1"))
    answer = await refusal(accounts, EMAIL, PASSWORD, Client(address="2001:db8::ffff"))  # the same /64
    assert isinstance(answer, WaitError)
    assert isinstance(await accounts.sign_in.password(EMAIL, PASSWORD, Client(address="2001:db8:1::1")), Opened)


async def test_guesses_sent_at_once_count_each(accounts: AccountService, client: Client) -> None:
    tries = [accounts.sign_in.password(EMAIL, f"wrong {number}", client) for number in range(ATTEMPTS + 8)]
    answers = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(answer, InvalidInputError) for answer in answers) <= ATTEMPTS
    assert any(isinstance(answer, WaitError) for answer in answers)


async def test_success_forgets_the_failures_of_the_account(
    accounts: AccountService, client: Client, database: Database
) -> None:
    for _ in range(ATTEMPTS - 1):
        await refusal(accounts, EMAIL, "wrong wrong", client)
    await accounts.sign_in.password(EMAIL, PASSWORD, client)
    for _ in range(ATTEMPTS - 1):
        await refusal(accounts, EMAIL, "wrong wrong", client)
    async with database.read() as session:  # what the address did wrong still counts against it
        of_address = select(func.count()).where(SignInFailureModel.key.like("address:%"))
        assert await session.scalar(of_address) == 2 * (ATTEMPTS - 1)


async def with_second_factor(accounts: AccountService, client: Client, clock: FakeClock) -> pyotp.TOTP:
    secret = new_totp_secret()
    opened = await accounts.sign_in.password(EMAIL, PASSWORD, client)
    assert isinstance(opened, Opened)
    actor = await accounts.sessions.actor(opened.token)
    assert actor is not None
    totp = pyotp.TOTP(secret)
    await accounts.profile.enable_two_factor(actor, secret, totp.at(clock.now() // 1_000_000), PASSWORD, client)
    clock.advance(60)
    return totp


async def challenged(accounts: AccountService, client: Client) -> str:
    answer = await accounts.sign_in.password(EMAIL, PASSWORD, client)
    assert isinstance(answer, Challenge)
    return answer.secret


async def test_with_a_second_factor_the_password_alone_opens_nothing(
    accounts: AccountService, client: Client, clock: FakeClock
) -> None:
    totp = await with_second_factor(accounts, client, clock)
    challenge = await challenged(accounts, client)
    assert await accounts.sessions.actor(challenge) is None
    opened = await accounts.sign_in.second_factor(challenge, totp.at(clock.now() // 1_000_000), client)
    assert await accounts.sessions.actor(opened.token) is not None


async def test_a_code_works_once(accounts: AccountService, client: Client, clock: FakeClock) -> None:
    totp = await with_second_factor(accounts, client, clock)
    code = totp.at(clock.now() // 1_000_000)
    await accounts.sign_in.second_factor(await challenged(accounts, client), code, client)
    with pytest.raises(InvalidInputError, match="used already"):
        await accounts.sign_in.second_factor(await challenged(accounts, client), code, client)


async def test_one_code_sent_twice_at_once_opens_one_session(
    accounts: AccountService, client: Client, clock: FakeClock
) -> None:
    totp = await with_second_factor(accounts, client, clock)
    code = totp.at(clock.now() // 1_000_000)
    challenge = await challenged(accounts, client)
    answers = await asyncio.gather(
        *(accounts.sign_in.second_factor(challenge, code, client) for _ in range(4)), return_exceptions=True
    )
    assert sum(isinstance(answer, Opened) for answer in answers) == 1


async def test_a_challenge_works_once_and_runs_out(accounts: AccountService, client: Client, clock: FakeClock) -> None:
    totp = await with_second_factor(accounts, client, clock)
    challenge = await challenged(accounts, client)
    clock.advance(601)
    with pytest.raises(NotFoundError):
        await accounts.sign_in.second_factor(challenge, totp.at(clock.now() // 1_000_000), client)
    challenge = await challenged(accounts, client)
    await accounts.sign_in.second_factor(challenge, totp.at(clock.now() // 1_000_000), client)
    clock.advance(60)
    with pytest.raises(NotFoundError):
        await accounts.sign_in.second_factor(challenge, totp.at(clock.now() // 1_000_000), client)


async def test_a_known_password_buys_no_endless_codes(
    accounts: AccountService, client: Client, clock: FakeClock
) -> None:
    await with_second_factor(accounts, client, clock)
    waited = False
    for _ in range(ATTEMPTS + 2):
        try:
            challenge = await challenged(accounts, client)
            await accounts.sign_in.second_factor(challenge, "000000", client)
        except WaitError:
            waited = True
            break
        except InvalidInputError:
            continue
    assert waited


@pytest.mark.parametrize("code", ["", "12345", "abcdef", "１２３４５６", "0" * 1000, "12345\x00"])
async def test_what_is_no_code_is_a_wrong_one(
    accounts: AccountService, client: Client, clock: FakeClock, code: str
) -> None:
    await with_second_factor(accounts, client, clock)
    with pytest.raises(InvalidInputError):
        await accounts.sign_in.second_factor(await challenged(accounts, client), code, client)


async def test_who_lost_their_phone_is_let_in_by_an_owner(
    accounts: AccountService, client: Client, clock: FakeClock, ada: int
) -> None:
    await with_second_factor(accounts, client, clock)
    await accounts.users.remove_two_factor(COMMAND_LINE, ada)
    assert isinstance(await accounts.sign_in.password(EMAIL, PASSWORD, client), Opened)


async def test_a_borrowed_browser_cannot_add_a_second_factor_without_the_password(
    accounts: AccountService, client: Client, clock: FakeClock
) -> None:
    opened = await accounts.sign_in.password(EMAIL, PASSWORD, client)
    assert isinstance(opened, Opened)
    actor = await accounts.sessions.actor(opened.token)
    assert actor is not None
    secret = new_totp_secret()
    code = pyotp.TOTP(secret).at(clock.now() // 1_000_000)
    with pytest.raises(InvalidInputError) as caught:
        await accounts.profile.enable_two_factor(actor, secret, code, "a guess at it", client)
    assert list(caught.value.errors) == ["current_password"]
    assert not await accounts.profile.has_two_factor(actor)
