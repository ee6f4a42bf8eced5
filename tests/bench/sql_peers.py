"""The same aggregates over one log-prob table in `piref sql` and in DuckDB: equal answers, and the time of both.

    make bench-sql PYTHON=VENV/bin/python TABLE=FOLDER

PYTHON is one with duckdb (tried with 2.0). Each round starts both programs anew and they take turns, so loading a program counts for
both. Integers and texts have to be equal, floating-point numbers to 1e-9 relative: the order of a sum is neither's promise.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

# Plain SQL, so that both dialects read it.
QUERIES = {
    "count": "SELECT count(*) AS n FROM pairs",
    "by source": """
        SELECT source, count(*) AS n, avg(ref_chosen_logps) AS chosen, stddev(ref_chosen_logps - ref_rejected_logps) AS spread,
               avg(CASE WHEN ref_chosen_logps > ref_rejected_logps THEN 1.0 ELSE 0.0 END) AS accuracy
        FROM pairs GROUP BY source ORDER BY source""",
    "length bias": """
        SELECT CAST(floor((chosen_tokens - rejected_tokens) / 16.0) AS BIGINT) AS bucket, count(*) AS n,
               avg(ref_chosen_logps / chosen_tokens - ref_rejected_logps / rejected_tokens) AS margin
        FROM pairs GROUP BY 1 ORDER BY 1""",
    "repeated prompts": """
        SELECT count(*) AS prompts, sum(n) AS pairs, max(n) AS most
        FROM (SELECT prompt, count(*) AS n FROM pairs GROUP BY prompt HAVING count(*) > 1)""",
    "tokens": """
        SELECT count(*) AS tokens, sum(logp) AS nats, min(logp) AS least
        FROM (SELECT CAST(unnest(ref_chosen_token_logps) AS DOUBLE) AS logp FROM pairs)""",
}

DUCKDB = """
import json, sys, duckdb
db = duckdb.connect()
db.execute(f"SET threads = {sys.argv[3]}")
db.execute(f"CREATE VIEW pairs AS SELECT * FROM read_parquet('{sys.argv[1]}/part-*.parquet')")
rows = db.execute(sys.argv[2])
names = [column[0] for column in rows.description]
json.dump([dict(zip(names, row)) for row in rows.fetchall()], sys.stdout, default=float)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--piref", default="piref", help="the program")
    parser.add_argument("--table", required=True, type=Path, help="folder of a log-prob table")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    threads = str(len(os.sched_getaffinity(0)))

    print(f"{'query':18} {'rows':>6} {'piref s':>8} {'duckdb s':>9} {'ratio':>6}")
    for name, query in QUERIES.items():
        commands = [
            [args.piref, "sql", str(args.table), "--format", "ndjson", "-c", query],
            [sys.executable, "-c", DUCKDB, str(args.table), query, threads],
        ]
        seconds = [[], []]
        for turn in range(args.rounds):
            answers = [None, None]
            for which in (0, 1) if turn % 2 == 0 else (1, 0):
                began = time.perf_counter()
                done = subprocess.run(commands[which], stdout=subprocess.PIPE, check=True, text=True)
                seconds[which].append(time.perf_counter() - began)
                answers[which] = done.stdout
            ours = [json.loads(line) for line in answers[0].splitlines()]
            theirs = json.loads(answers[1])
            if difference := first_difference(ours, theirs):
                sys.exit(f"{name}: {difference}")
        ratio = statistics.median(a / b for a, b in zip(*seconds))
        print(f"{name:18} {len(ours):6} {statistics.median(seconds[0]):8.2f} {statistics.median(seconds[1]):9.2f} {ratio:6.2f}")


def first_difference(ours, theirs):
    """What differs first between two answers, in words; None where nothing does."""
    if len(ours) != len(theirs):
        return f"piref has {len(ours)} rows, DuckDB {len(theirs)}"
    for number, (row, other) in enumerate(zip(ours, theirs)):
        for column, value in other.items():
            found = row.get(column)
            if isinstance(value, float) and isinstance(found, (int, float)):
                if math.isclose(found, value, rel_tol=1e-9, abs_tol=1e-12):
                    continue
            if found != value:
                return f"row {number}, {column}: piref {found!r}, DuckDB {value!r}"
    return None


if __name__ == "__main__":
    main()
