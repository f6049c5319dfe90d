"""The run of a study: cases one after the other, in processes, or on a Dask cluster, each to the same results."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bayesmv.errors import SpecError
from bayesmv.numerics.progress import waiting
from bayesmv.studies.data import setting_columns
from bayesmv.studies.declared import Case, StudySpec
from bayesmv.studies.fits import Row, complete, run_case
from bayesmv.studies.store import Store

#: Seconds after which rows are written as a part.
_PART = 5.0
#: Cases that wait at a worker, so that it does not wait for them.
_AHEAD = 3


def study(
    source: str | Path | StudySpec,
    folder: str | Path,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    client: Any = None,
    max_cpu: float | None = None,
    progress: bool | None = None,
) -> pd.DataFrame:
    """Run a study, or what is missing of it, and return all its rows.

    A case is one data set: all models, priors and methods of it are fitted in one process, on one thread. Its random
    numbers follow from the seed of the study and its own name alone, so that results do not depend on how many workers
    there are, or on what had been done before.

    Parameters
    ----------
    source
        Study file (TOML), or what was read from one.
    folder
        Where the results are, a Parquet data set. If it holds results of this study, those cases are not run again;
        more replicates may be asked for.
    workers
        Processes of this machine, by Dask if more than one.
    scheduler
        Address of a Dask scheduler that exists, ``tcp://…``, instead.
    client
        A ``distributed.Client``, instead.
    max_cpu
        Hours of CPU time after which no further case is begun.
    progress
        Show how many cases are done and the time left; by default in a terminal.

    Returns
    -------
    DataFrame
        A row for every case, model, prior, method and quantity: truth, estimate, interval, verdict, effective size,
        R-hat, divergences, CPU seconds, and the failure of what failed. :func:`bayesmv.study_summary` condenses them.

    Raises
    ------
    SpecError
        If the study is malformed, or Dask is needed and not installed.
    DataError
        If the folder holds something else.
    OSError
        If results cannot be written; what was written stays, and the same call goes on from there.
    """
    spec = source if isinstance(source, StudySpec) else StudySpec.from_file(source)
    if workers < 1:
        raise SpecError(f"workers must be at least 1, not {workers}")
    store = Store(folder, spec.identity, spec.name)
    rows = store.rows()
    done = set() if rows.empty else set(rows["key"])
    # Replicate by replicate, so that a run that is ended has some of every setting.
    left = sorted((case for case in spec.cases if case.key not in done), key=lambda case: case.replicate)
    spent, began, waiting_rows, written = 0.0, time.monotonic(), list[Row](), time.monotonic()
    text = f"{spec.name}: {len(spec.cases) - len(left)} of {len(spec.cases)} cases"
    with waiting(text, progress) as say:
        try:
            for count, found in enumerate(_run(spec, left, workers, scheduler, client), 1):
                waiting_rows += found
                spent += sum({(r["model"], r["method"], r["prior"]): r["seconds"] for r in found}.values())
                if time.monotonic() - written > _PART:
                    store.add(waiting_rows)
                    waiting_rows, written = [], time.monotonic()
                say(_told(spec, len(left), count, time.monotonic() - began))
                if max_cpu is not None and spent > 3600 * max_cpu:
                    break
        finally:
            if waiting_rows:
                store.add(waiting_rows)
    return store.rows()


def _told(spec: StudySpec, wanted: int, count: int, seconds: float) -> str:
    left = seconds / count * (wanted - count)
    done = len(spec.cases) - wanted + count
    unit = f"{left / 60:.0f} min" if left > 90 else f"{left:.0f} s"
    return f"{spec.name}: {done} of {len(spec.cases)} cases, {unit} left"


def _run(
    spec: StudySpec, cases: Sequence[Case], workers: int, scheduler: str | None, client: Any
) -> Iterator[list[Row]]:
    """Rows of every case, as they are done."""
    if client is None and scheduler is None and (workers == 1 or len(cases) < 2):
        for case in cases:
            yield run_case(spec, case)
        return
    distributed = _distributed()
    if client is not None:
        yield from _on(client, spec, cases, distributed)
        return
    # What is lost is said once, by us; the client of a program keeps its log.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    if scheduler is not None:
        with distributed.Client(scheduler, timeout="30s") as own:
            yield from _on(own, spec, cases, distributed)
        return
    with (
        distributed.LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as own,
    ):
        yield from _on(own, spec, cases, distributed)


def _distributed() -> Any:
    try:
        import distributed
        import distributed.client
        import distributed.comm
    except ImportError:
        raise SpecError(
            "several workers need Dask: pip install 'dask[distributed]', or run the study with one worker"
        ) from None
    return distributed


def _on(client: Any, spec: StudySpec, cases: Sequence[Case], distributed: Any) -> Iterator[list[Row]]:
    """Rows of every case from a client; a case whose worker was lost three times is a row that says so."""
    shared = client.scatter(spec, broadcast=True)
    ahead = _AHEAD * max(len(client.scheduler_info(n_workers=-1)["workers"]), 1)
    left = iter(cases)
    names: dict[Any, Case] = {}

    def submit() -> Any:
        case = next(left, None)
        if case is None:
            return None
        future = client.submit(run_case, shared, case, pure=False)
        names[future] = case
        return future

    running = distributed.as_completed([f for f in (submit() for _ in range(ahead)) if f is not None])
    for future in running:
        case = names.pop(future)
        try:
            yield future.result()
        except distributed.scheduler.KilledWorker as error:
            yield _lost(spec, case, error)
        except (distributed.client.FutureCancelledError, distributed.comm.CommClosedError):
            raise OSError(
                "the connection to the Dask scheduler was lost; what was done is written, and the same command goes on"
            ) from None
        following = submit()
        if following is not None:
            running.add(following)


def _lost(spec: StudySpec, case: Case, error: Exception) -> list[Row]:
    """Rows of a case whose process was killed, as often as it was tried."""
    failure = f"{type(error).__name__}: the process was killed, perhaps for want of memory"
    return [
        complete({**setting_columns(case), "model": model, "method": method, "seconds": 0.0, "failure": failure})
        for model in spec.models
        for method in spec.methods
    ]
