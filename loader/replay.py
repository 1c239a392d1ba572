"""Giving quarantined records another chance, through the same commit as everything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from loader import putaside
from loader.batches import MAX_READINGS
from loader.contracts import Lease, Source
from loader.errors import LeaseLost, LoaderError
from loader.pipeline import Pipeline
from loader.readings import Page, PartitionState
from loader.records import Outcome, Quarantined, RunReport
from loader.tally import Tally


def replay(pipeline: Pipeline, records: Sequence[Quarantined], held: Lease | None = None) -> RunReport:
    """Decode each record again and commit those that have become readings, under the lease that
    the caller holds or else one of its own.

    Their rows in the quarantine then name the run. What still is no reading, or what a rule still
    keeps out, stays as it was. The ledger is not touched: a replay only adds. Raises LeaseHeld.
    """
    source, store = pipeline.source, pipeline.store
    started = pipeline.clock()
    lease = store.acquire(source.name) if held is None else held
    try:
        run_id = store.begin_run(lease, "replay", started)
        report = RunReport(run_id, source.name, "replay", started)
        tally = Tally()
        states = {s.name: s for s in store.partitions(source.name)}
        illegible = 0
        try:
            gathering = pipeline.gathering()
            for at in range(0, len(records), MAX_READINGS):
                for record in records[at : at + MAX_READINGS]:
                    page = _decoded(record, states.get(record.partition), source)
                    if page is None or page.rejects:
                        illegible += 1
                    else:
                        gathering.add_record(record.partition, page, record.digest)
                if not gathering.empty:
                    pipeline.commit(lease, gathering, run_id, tally)
            troubles = []
            if illegible:
                troubles.append(f"{illegible} of {len(records)} records still are no readings")
            if tally.kept_out:
                troubles.append(f"rules keep {tally.kept_out} of {len(records)} records out")
            troubles += tally.failed.values()
            outcome = Outcome.PARTIAL if troubles else Outcome.OK
            report = replace(report, outcome=outcome, error="; ".join(troubles) or None)
        except LeaseLost:
            raise
        except LoaderError as trouble:
            pipeline.finish(lease, replace(report, outcome=Outcome.FAILED, error=str(trouble)), tally)
            raise
        return pipeline.finish(lease, report, tally)
    finally:
        if held is None:
            lease.release()


def _decoded(record: Quarantined, state: PartitionState | None, source: Source) -> Page | None:
    if state is None:
        return None
    # A reading that a rule kept out has our own form, whatever the source's records look like.
    return putaside.page(record, state) or source.decode(state, record.payload)
