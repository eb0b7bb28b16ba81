"""The conformance suite of notifiers: subclass it, give it your notifier, and pytest runs the contract against it.

::

    class TestMine(NotifierConformance):
        @pytest.fixture
        def stage(self, tmp_path): ...  # a `NotifierStage`

The other side is yours to stand up, over the real wire: an HTTP server, a mail server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import pytest
from msgspec import Struct

from appliance.hookspecs import CheckStep, DeliveryError, Notification, Notifier, Receipt

STEPS = ("config", "dns", "connect", "tls", "auth", "accept")


class NotifierStage(Struct, frozen=True, kw_only=True):
    """A notifier with its other side."""

    ready: Notifier  # configured, and the other side takes what it sends
    unconfigured: Notifier  # with its default config
    unreachable: Notifier  # configured for an address where nothing listens
    refused: Notifier  # configured with credentials that the other side refuses
    received: Callable[[], Sequence[str]]  # the texts that arrived, oldest first: whatever holds the subject
    secret: str  # a secret of `ready` and `refused`, which must never show
    close: Callable[[], Awaitable[None]] | None = None


def sample_notification(**changes: object) -> Notification:
    """A notification with hostile text in it, as the core composes it."""
    values: dict[str, object] = {
        "id": "condev-0123456789abcdef",
        "kind": "new_issue",
        "subject": "[Shop] New issue: TypeError: “x” is <b>not</b> a function",
        "text": "TypeError: “x” is <b>not</b> a function\n.\n\nOpen the issue: https://monitor.example.com/issues/7\n",
        "html": "<!doctype html><p>TypeError: “x” is &lt;b&gt;not&lt;/b&gt; a function</p>",
        "recipients": ("ann@example.com", "bob@example.com"),
        "url": "https://monitor.example.com/issues/7",
        "data": {"issue": {"id": 7, "title": "TypeError"}},
        **changes,
    }
    return Notification(**values)  # type: ignore[arg-type]


class NotifierConformance:
    """What the host relies on."""

    async def test_it_has_a_name_that_channels_can_list(self, stage: NotifierStage) -> None:
        """`[channels]` name it."""
        assert stage.ready.name
        assert stage.ready.name == stage.ready.name.strip().lower()

    async def test_configured_says_in_one_sentence_what_is_missing(self, stage: NotifierStage) -> None:
        """The page and the CLI show it as it stands."""
        assert stage.ready.configured() == ""
        sentence = stage.unconfigured.configured()
        assert sentence.endswith(".")
        assert "\n" not in sentence

    async def test_a_delivered_notification_arrives_once_and_gives_a_receipt(self, stage: NotifierStage) -> None:
        """One call, one message."""
        receipt = await stage.ready.deliver(sample_notification())
        assert isinstance(receipt, Receipt)
        assert receipt.reply
        assert len(receipt.reply) <= 500
        assert len(stage.received()) == 1
        assert "TypeError" in stage.received()[0]

    async def test_delivering_without_configuration_is_final(self, stage: NotifierStage) -> None:
        """Retrying cannot configure it."""
        with pytest.raises(DeliveryError) as raised:
            await stage.unconfigured.deliver(sample_notification())
        assert not raised.value.retryable

    async def test_an_unreachable_other_side_is_retryable_and_not_ambiguous(self, stage: NotifierStage) -> None:
        """Nothing was sent, so nothing can have arrived."""
        with pytest.raises(DeliveryError) as raised:
            await stage.unreachable.deliver(sample_notification())
        assert raised.value.retryable
        assert not raised.value.ambiguous

    async def test_refused_credentials_are_final_and_never_shown(self, stage: NotifierStage) -> None:
        """The log is read by people who may not know the secret."""
        with pytest.raises(DeliveryError) as raised:
            await stage.refused.deliver(sample_notification())
        assert not raised.value.retryable
        shown = f"{raised.value} {raised.value.reply} {raised.value!r} {stage.refused!r}"
        assert stage.secret not in shown

    async def test_check_without_a_notification_sends_nothing(self, stage: NotifierStage) -> None:
        """It may be called every hour."""
        steps = await stage.ready.check()
        _check_shape(steps, stage.secret)
        assert all(step.ok for step in steps)
        assert stage.received() == []

    async def test_check_with_a_notification_ends_with_its_acceptance(self, stage: NotifierStage) -> None:
        """`condev notify test` prints the steps."""
        steps = await stage.ready.check(sample_notification())
        _check_shape(steps, stage.secret)
        assert [step.name for step in steps][-1] == "accept"
        assert all(step.ok for step in steps)
        assert len(stage.received()) == 1

    @pytest.mark.parametrize("which", ["unconfigured", "unreachable", "refused"])
    async def test_check_never_raises_and_says_how_to_mend_what_failed(self, stage: NotifierStage, which: str) -> None:
        """The last step is the one that failed; nothing is claimed beyond it."""
        notifier: Notifier = getattr(stage, which)
        steps = await notifier.check(sample_notification())
        _check_shape(steps, stage.secret)
        assert not steps[-1].ok
        assert all(step.ok for step in steps[:-1])
        assert steps[-1].mend


def _check_shape(steps: Sequence[CheckStep], secret: str) -> None:
    names = [step.name for step in steps]
    assert names
    assert names == [name for name in STEPS if name in names], "steps come in the order of STEPS, each once"
    assert all(step.detail for step in steps)
    assert secret not in repr(steps)
