"""Runs flowerapp's workloads on request: a name a line on standard input, a line of JSON on standard output, the first
of them with the names.

Run as a file with a checkout as working directory, it measures that checkout, whatever version it is of:
``against.py`` runs it in two of them.
"""

import json
import os
import sys
from dataclasses import asdict

sys.path.insert(0, os.getcwd())
os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"

import django

django.setup()

from django.db import connection  # noqa: E402 - Django first

from benchmarks.contenders import FLOWERAPP, started  # noqa: E402
from benchmarks.workloads import WORKLOADS, define_all  # noqa: E402


def main() -> None:
    """Start a worker with as many processes as the first argument says, and run workloads until the input ends."""
    workloads = {workload.name: workload for workload in WORKLOADS}
    with started(int(sys.argv[1])) as bench:
        define_all()
        print(json.dumps(list(workloads)), flush=True)
        for line in sys.stdin:
            run = workloads[line.strip()].run(bench, FLOWERAPP)
            print(json.dumps(asdict(run)), flush=True)
            with connection.cursor() as cursor:
                cursor.execute("VACUUM (ANALYZE) kr_task_stat, kr_task_flow")


if __name__ == "__main__":
    main()
