"""Giving quarantined records another chance, through the same commit as everything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from loader.batches import MAX_READINGS, Gathering
from loader.contracts import Lease
from loader.errors import LeaseLost, LoaderError
from loader.pipeline import Pipeline, Tally
from loader.records import Outcome, Quarantined, RunReport


def replay(pipeline: Pipeline, records: Sequence[Quarantined], held: Lease | None = None) -> RunReport:
    """Decode each record again and commit those that have become readings, under the lease that
    the caller holds or else one of its own.

    Their rows in the quarantine then name the run. What still is no reading stays as it was.
    The ledger is not touched: a replay only adds. Raises LeaseHeld.
    """
    source, store = pipeline.source, pipeline.store
    started = pipeline.clock()
    lease = store.acquire(source.name) if held is None else held
    try:
        run_id = store.begin_run(lease, "replay", started)
        report = RunReport(run_id, source.name, "replay", started)
        tally = Tally()
        states = {s.name: s for s in store.partitions(source.name)}
        refused = 0
        try:
            for at in range(0, len(records), MAX_READINGS):
                gathering, digests = Gathering(pipeline.check), []
                for record in records[at : at + MAX_READINGS]:
                    state = states.get(record.partition)
                    page = None if state is None else source.decode(state, record.payload)
                    if page is None or page.rejects:
                        refused += 1
                        continue
                    gathering.add_page(page, ())
                    digests.append(record.digest)
                if digests:
                    pipeline.commit(lease, gathering, run_id, tally, digests)
            error = f"{refused} of {len(records)} records still are no readings" if refused else None
            outcome = Outcome.PARTIAL if refused else Outcome.OK
            report = replace(report, outcome=outcome, error=error)
        except LeaseLost:
            raise
        except LoaderError as trouble:
            pipeline.finish(lease, replace(report, outcome=Outcome.FAILED, error=str(trouble)), tally)
            raise
        return pipeline.finish(lease, report, tally)
    finally:
        if held is None:
            lease.release()
