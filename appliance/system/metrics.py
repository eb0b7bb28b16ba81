"""`/metrics` in Prometheus's text format: the figures of the System page, gathered when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from appliance.system.conditions import Code
from appliance.system.schemas import SystemState

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def render(state: SystemState, dropped: Mapping[str, int]) -> bytes:
    """All metrics of one moment.

    Args:
        state: from `SystemService.metrics_state`.
        dropped: by reason.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Moment(state, dropped))
    return generate_latest(registry)


class _Moment(Collector):
    def __init__(self, state: SystemState, dropped: Mapping[str, int]) -> None:
        self._state = state
        self._dropped = dropped

    def collect(self) -> Iterator[Metric]:
        """What Prometheus calls."""
        state = self._state
        yield _gauge("condev_spool_records", "Records that wait in the spool.", state.spool.records)
        yield _gauge("condev_spool_bytes", "Bytes that wait in the spool.", state.spool.bytes)
        yield _gauge("condev_spool_max_bytes", "Bytes that the spool may hold.", state.spool.max_bytes)
        yield _gauge("condev_spool_oldest_seconds", "Age of the oldest record that waits.", state.spool.oldest_seconds)
        yield _gauge("condev_dead_letters", "Records kept because they could not be processed.", state.dead_letters)
        yield _gauge("condev_problems", "Problems that the System page shows.", len(state.problems))
        yield self._conditions()
        yield self._totals()
        drops = CounterMetricFamily("condev_dropped", "What was not kept, by reason.", labels=["reason"])
        for reason, quantity in sorted(self._dropped.items()):
            drops.add_metric([reason], quantity)
        yield drops
        yield from self._store()
        memory = GaugeMetricFamily(
            "condev_process_anonymous_bytes", "Anonymous memory of our processes.", labels=["process"]
        )
        for process in state.processes:
            memory.add_metric([process.name], process.anonymous)
        yield memory
        if state.pipeline is not None:
            pipeline = state.pipeline
            waiting = int(bool(pipeline.error or pipeline.waiting_for))
            yield _gauge("condev_pipeline_waiting", "1 while the pipeline cannot go on.", waiting)
            yield _gauge("condev_pipeline_batch_seconds", "Time the last batch took.", pipeline.batch_seconds)
        failed = GaugeMetricFamily("condev_job_failed", "1 when a job's last run failed.", labels=["job"])
        for job in state.jobs:
            failed.add_metric([job.name], int(bool(job.last_error)))
        yield failed

    def _conditions(self) -> Metric:
        """All of them, the quiet ones as 0: an alert rule can be written before the first time."""
        family = GaugeMetricFamily(
            "condev_condition", "1 while this condition of the appliance is raised.", labels=["code", "subject"]
        )
        raised = {tuple((*key.split(":", 1), "")[:2]) for key in self._state.conditions}
        quiet = {(str(code), "") for code in Code} - raised
        for code, subject in sorted(raised | quiet):
            family.add_metric([code, subject], int((code, subject) in raised))
        return family

    def _totals(self) -> Metric:
        processed = CounterMetricFamily("condev_processed", "What was applied, by kind.", labels=["kind"])
        for name, quantity in sorted(self._state.totals.items()):
            processed.add_metric([name], quantity)
        return processed

    def _store(self) -> Iterator[Metric]:
        store = self._state.store
        yield _gauge("condev_store_up", "1 while the event store answers.", int(not store.problem))
        if not store.problem:
            yield _gauge("condev_store_bytes", "Bytes on disk of the event store.", store.bytes_on_disk)
            yield _gauge("condev_store_memory_bytes", "Memory that the event store counts.", store.memory_bytes)
            yield _gauge("condev_store_memory_limit_bytes", "Its limit.", store.memory_limit_bytes)
            rows = GaugeMetricFamily("condev_store_rows", "Rows by table.", labels=["table"])
            for table in store.tables:
                rows.add_metric([table.table], table.rows)
            yield rows


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_text, value=value)
