"""What is wrong with the appliance, in sentences with the mend. Pure: from the figures to the words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from appliance.alerts.schemas import ChannelItem
from appliance.pipeline.pipeline import PipelineStatus
from appliance.schedule import JobState
from appliance.system.conditions import Code, Condition
from appliance.system.schemas import Headline, PluginState, Problem, SpoolState, StoreState, Undelivered

LATE_SECONDS: Final = 60.0  # an event is promised within 2 s; a minute is a backlog, not a pause
FULL_SHARE: Final = 0.7  # of the spool: sessions and replays are shed from here on
MEMORY_SHARE: Final = 0.9  # of the store's own limit
NOTHING_UNDELIVERED: Final = Undelivered()
HREFS: Final = {Code.DEAD_LETTERS: "/system/dead-letters", Code.NOTIFIER: "/alerts/channels"}


def find_problems(
    *,
    spool: SpoolState,
    pipeline: PipelineStatus | None,
    store: StoreState,
    dead_letters: int,
    jobs: Sequence[JobState],
    plugins: Sequence[PluginState],
    channels: Sequence[ChannelItem] = (),
    undelivered: Undelivered = NOTHING_UNDELIVERED,
    conditions: Sequence[Condition] = (),
) -> list[Problem]:
    """Everything that a person should know, worst first. What is a raised condition is said in its words alone."""
    found = [*_of_pipeline(pipeline), *_of_store(store), *_of_spool(spool), *_of_deliveries(channels, undelivered)]
    if dead_letters:
        words = "record" if dead_letters == 1 else "records"
        found.append(
            Problem(
                text=f"{dead_letters:,} {words} could not be processed.",
                mend="Look at the reasons under Dead letters; retry them once they are mended, or discard them.",
                href=HREFS[Code.DEAD_LETTERS],
                code=Code.DEAD_LETTERS,
            )
        )
    found += [
        Problem(text=f"The job {job.name} failed: {job.last_error[:200]}", mend="It is tried again by itself.")
        for job in jobs
        if job.last_error
    ]
    found += [
        Problem(text=f"Plugin {plugin.name}: {error[:200]}", mend="The log has the whole error.")
        for plugin in plugins
        for error in plugin.errors
    ]
    found += [
        Problem(text=f"{check.name}: {check.detail[:200]}", mend=check.mend)
        for plugin in plugins
        for check in plugin.checks
        if not check.ok
    ]
    raised = {condition.code for condition in conditions}
    found = [*map(_of_condition, conditions), *(problem for problem in found if problem.code not in raised)]
    return sorted(found, key=lambda problem: problem.tone != "bad")


def _of_condition(condition: Condition) -> Problem:
    title = f"{condition.rule.title}: {condition.subject}." if condition.subject else f"{condition.rule.title}."
    return Problem(
        text=f"{title} {condition.text}",
        mend=condition.mend,
        tone=condition.tone,
        href=HREFS.get(condition.code, ""),
        code=condition.code,
        since=condition.since,
    )


def headline_of(problems: Sequence[Problem]) -> Headline:
    """The word beside "System"."""
    if not problems:
        return Headline(word="healthy", tone="good")
    bad = any(problem.tone == "bad" for problem in problems)
    word = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return Headline(word=word, tone="bad" if bad else "warn")


def _of_pipeline(pipeline: PipelineStatus | None) -> list[Problem]:
    if pipeline is None:
        return []
    found: list[Problem] = []
    if not pipeline.running:
        found.append(Problem(text="The pipeline does not run.", mend="Restart the appliance.", tone="bad"))
    if pipeline.error:
        text = f"The pipeline was interrupted: {pipeline.error[:300]}"
        found.append(Problem(text=text, mend="It goes on by itself; the log has the whole error.", tone="bad"))
    if pipeline.waiting_for:
        text = f"The pipeline waits for {pipeline.waiting_for[:300]}"
        mend = "Nothing is lost: what comes in stays in the spool until it answers."
        found.append(Problem(text=text, mend=mend, tone="bad"))
    if pipeline.withholding:
        found.append(
            Problem(
                text="The store is full with today's events, so new ones are kept without their payload.",
                mend="Raise retention.bytes, or lower what is sent.",
            )
        )
    for failure in pipeline.processor_failures.values():
        text = f"The processor {failure.name} failed for {failure.times:,} items; last: {failure.detail[:200]}"
        found.append(Problem(text=text, mend="Mend or disable its plugin; the items were kept unless it forbids that."))
    return found


def _of_store(store: StoreState) -> list[Problem]:
    if store.problem:
        text = f"The event store does not answer: {store.problem[:300]}"
        mend = "Nothing is lost: events wait in the spool."
        return [Problem(text=text, mend=mend, tone="bad", code=Code.STORE_DOWN)]
    if store.memory_limit_bytes and store.memory_bytes > MEMORY_SHARE * store.memory_limit_bytes:
        text = "The event store is near its memory limit."
        mend = "Queries may be refused for a while; give it more memory if this stays."
        return [Problem(text=text, mend=mend, code=Code.MEMORY_ENGINE)]
    return []


def _of_spool(spool: SpoolState) -> list[Problem]:
    found: list[Problem] = []
    if spool.oldest_seconds > LATE_SECONDS:
        text = f"The oldest record has waited for {spool.oldest_seconds:,.0f} s."
        mend = "It catches up by itself once less comes in, or the store answers."
        found.append(Problem(text=text, mend=mend, code=Code.SPOOL_LAG))
    if spool.max_bytes and spool.bytes > FULL_SHARE * spool.max_bytes:
        text = f"The spool is {spool.bytes / spool.max_bytes:.0%} full: less important records are refused."
        mend = "Raise ingest.spool_max_bytes, or see why the pipeline is slow."
        found.append(Problem(text=text, mend=mend, tone="bad", code=Code.SPOOL_FULL))
    return found


def _of_deliveries(channels: Sequence[ChannelItem], undelivered: Undelivered) -> list[Problem]:
    """That people were not told, or will not be: the one failure that no alert can report."""
    found: list[Problem] = []
    if undelivered.failed:
        words = "message was" if undelivered.failed == 1 else "messages were"
        found.append(
            Problem(
                text=f"{undelivered.failed:,} {words} not delivered: no notifier took what alerts had to say.",
                mend="Alerts, Messages has what each provider said: try them again, or give them up.",
                tone="bad",
                href="/alerts/messages?state=failed",
            )
        )
    if undelivered.late:
        words = "message waits" if undelivered.late == 1 else "messages wait"
        found.append(
            Problem(
                text=f"{undelivered.late:,} {words} for another try: every notifier refused so far.",
                mend="They are tried again by themselves for two days.",
                href="/alerts/messages?state=waiting",
            )
        )
    known = {channel.name for channel in channels}
    for name in sorted(set(undelivered.rules) - known if channels else ()):
        text = f'{_rules(undelivered.rules[name])} the channel "{name}", which does not exist: nobody is told.'
        found.append(Problem(text=text, mend="Add it under [channels], or choose another for them.", tone="bad"))
    for channel in channels:
        count = undelivered.rules.get(channel.name, 0)
        ready = [notifier for notifier in channel.notifiers if not notifier.problem]
        if not count:
            continue
        if channel.problem:
            text = f'{_rules(count)} the channel "{channel.name}", which cannot deliver anything yet.'
            found.append(Problem(text=text, mend=channel.problem, href="/alerts/channels"))
        elif ready and all(notifier.open_until for notifier in ready):
            text = f'All notifiers of the channel "{channel.name}" fail; last: {ready[-1].last_error[:200]}'
            mend = "Messages wait and are tried again for two days."
            found.append(Problem(text=text, mend=mend, tone="bad", href="/alerts/channels"))
    return found


def _rules(count: int) -> str:
    return "1 rule tells" if count == 1 else f"{count:,} rules tell"
