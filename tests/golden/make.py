"""`python -m tests.golden.make`: train the golden stores again, small ones with pinned verdicts. A minute on one core.

Each store is one call of `ovpnet train`; then its files become one of runs and one of learning curves,
without the columns that tell of the machine. tests/analysis/test_analysis_golden.py pins what the analysis says.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from ovpnet.record.store import Store

HERE = Path(__file__).parent
OF_THE_MACHINE = ("store", "host", "slurm_job_id", "git_revision", "device_used")
QUICKSTART = ["experiment=quickstart", "evaluations=3"]
ONE_PASS = ["experiment=one_pass", "evaluations=1"]
STORES = {
    # N_eps of a two-layer concept at widths over a factor of 64: no width matters.
    "flat": [*QUICKSTART, "width=64,512,4096", "samples=50,56,63,71,80,90,100", "seed=range(6)", "lr=2"],
    # One-pass SGD with eta = lr / m and lr = 25.6 / m: wide nets learn too slowly, and N_eps grows about as m does.
    "scales": [*ONE_PASS, "samples=500,700,1000,1400,2000,2800,4000,5600,8000,11000,16000", "seed=range(3)",
               "+hydra.sweeper.grids=[{width:64,lr:0.4},{width:256,lr:0.1},{width:1024,lr:0.025}]"],
    # No N of the grid is enough at this epsilon.
    "censored": [*QUICKSTART, "width=32,512", "samples=32,63", "seed=range(3)", "lr=2", "epsilon=0.01"],
    # Half the learning rates are far too large; and the grid of samples is too coarse for a verdict.
    "diverged": [*QUICKSTART, "width=32,512", "samples=32,50,80,126", "seed=range(3)", "lr=2,50000", "epsilon=0.15"],
}


def main() -> None:
    for name, overrides in STORES.items():
        with TemporaryDirectory() as folder:
            subprocess.run([sys.executable, "-m", "ovpnet.train", "-m", *overrides, f"store={name}"], cwd=folder,
                           check=True)
            shutil.rmtree(HERE / name, ignore_errors=True)
            (HERE / name).mkdir()
            store = Store(Path(folder) / name)
            for kind, table in (("runs", store.newest_runs()), ("curves", store.newest_curves())):
                write(table, HERE / name / f"{kind}-golden.parquet")


def write(table: pa.Table, path: Path) -> None:
    """As small as Parquet can be: most of a file of few rows is what it says of its columns."""
    table = table.drop_columns([column for column in OF_THE_MACHINE if column in table.column_names])
    pq.write_table(table, path, compression="zstd", compression_level=19, write_statistics=False, store_schema=False)


if __name__ == "__main__":
    main()
