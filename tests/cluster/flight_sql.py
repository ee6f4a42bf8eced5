"""`piref serve` asked by a client of Flight SQL that others wrote, against `piref sql` on the same tables.

    python flight_sql.py --piref target/debug/piref

Needs PyPI's `adbc-driver-flightsql` and `pyarrow`, and a piref built with `--features cluster`. Run by
`make check-flight-sql`. The tables are those of the embedded tiny model and a file of JSON lines; every query is asked
both ways and the rows have to be equal, to the last bit of every float. Then come statements that have to be refused,
clients at the same time, and the end of the server.
"""

import argparse
import json
import pathlib
import re
import signal
import struct
import subprocess
import tempfile
import threading

import adbc_driver_manager
from adbc_driver_flightsql import dbapi

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = ROOT / "fixtures" / "tiny"
PAIRS = ROOT / "fixtures" / "pairs" / "standard.jsonl"

# Each orders its rows: without that, neither side owes the other an order. Sums are rounded: partial ones may be added
# in any order.
QUERIES = [
    "SELECT pair_id, prompt, chosen_tokens, ref_chosen_logps FROM pairs ORDER BY row_idx",
    "SELECT pair_id, chosen_ids, ref_chosen_token_logps FROM pairs ORDER BY row_idx LIMIT 5",
    "SELECT topic, count(*) AS n, round(avg(ref_margin), 9) AS margin, mad(ref_margin) AS mad FROM scored GROUP BY topic ORDER BY topic",
    "SELECT row_idx, robust_z(ref_chosen_logps) OVER () AS z FROM pairs ORDER BY row_idx",
    "SELECT side, count(*) AS n, round(sum(logp), 6) AS s, min(token) AS t FROM logps GROUP BY side ORDER BY side",
    "SELECT p.row_idx, s.ref_ches FROM pairs AS p JOIN signals AS s ON p.tokens_id = s.tokens_id ORDER BY p.row_idx",
    "SELECT dpo_loss(0.1, ref_chosen_logps - 1, ref_rejected_logps, ref_chosen_logps, ref_rejected_logps) AS loss "
    "FROM pairs ORDER BY row_idx",
    "SELECT * FROM lines ORDER BY step",
    "SELECT n_tokens('Is it?') AS n, cardinality(tokenize('Is it?')) AS m",
    "SELECT row_idx, r['ref_chosen_logps'] = ref_chosen_logps AS same, r['error'] AS error FROM (SELECT row_idx, "
    "ref_chosen_logps, ref_logps(NULL, prompt_ids, chosen_ids, rejected_ids) AS r FROM pairs) AS s ORDER BY row_idx",
]


def f32(value):
    """The float of 32 bits that is nearest: JSON has its shortest text, Arrow its exact value."""
    return struct.unpack("f", struct.pack("f", value))[0]


def is_same(one, other):
    if isinstance(one, float) or isinstance(other, float):
        if one is None or other is None:
            return one is other
        return one == other or f32(one) == f32(other) and is_f32(one, other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    return one == other


def is_f32(one, other):
    """Whether one of two floats is one of 32 bits: only then may the other be its text."""
    return one == f32(one) or other == f32(other)


class Server:
    """`piref serve` on a free port."""

    def __init__(self, command, folder):
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={"TMPDIR": str(folder)})
        self.lines, self.uri = [], None
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.search(r"grpc://\S+:\d+", line):
                self.uri = found[0].rstrip(",")
                break
        assert self.uri, f"no address in: {''.join(self.lines)}"
        # Whatever it says from now on is read, so that it does not wait for a reader.
        threading.Thread(target=lambda: self.lines.extend(self.process.stderr), daemon=True).start()

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=30)


def asked(uri, sql):
    """Rows as dictionaries."""
    with dbapi.connect(uri, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetch_arrow_table().to_pylist()


def run(command):
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout


def check_queries(uri, local):
    for sql in QUERIES:
        served, direct = asked(uri, sql), json.loads(local(sql))
        # JSON leaves out what is null.
        direct = [{key: row.get(key) for key in served[0]} for row in direct]
        assert served and is_same(served, direct), f"{sql}\n  served {served[:3]}\n  direct {direct[:3]}"
        print(f"equal, {len(served)} rows: {sql[:90]}")


def check_refusals(uri, folder, table):
    secret, stolen = folder / "secret.csv", folder / "stolen.parquet"
    secret.write_text("a\n1\n")
    for sql in [
        f"SELECT * FROM '{secret}'",
        f"CREATE EXTERNAL TABLE s STORED AS CSV LOCATION '{secret}'",
        f"CREATE EXTERNAL TABLE s (a INT) STORED AS CSV LOCATION '{secret}'",
        f"COPY (SELECT * FROM pairs) TO '{stolen}'",
        f"EXPLAIN ANALYZE COPY (SELECT * FROM pairs) TO '{stolen}'",
        "INSERT INTO pairs SELECT * FROM pairs",
        "CREATE TABLE t AS SELECT * FROM pairs",
        "CREATE VIEW v AS SELECT * FROM pairs",
        "DROP TABLE pairs",
        "DROP VIEW scored",
        "CREATE SCHEMA s",
        "SELECT * FROM nothing",
        "SELECT ref_logps(repeat('0', 64), [1], [2], [3])",
    ]:
        try:
            rows = asked(uri, sql)
        except adbc_driver_manager.Error as error:
            print(f"refused: {sql[:70]}: {str(error).splitlines()[0][:110]}")
        else:
            raise AssertionError(f"`{sql}` answers {rows[:3]}")
    assert not stolen.exists()
    assert asked(uri, "SELECT count(*) AS n FROM pairs") == [{"n": 42}], f"{table} is not as before"


def check_names(uri):
    with dbapi.connect(uri, autocommit=True) as connection:
        objects = connection.adbc_get_objects(depth="tables").read_all().to_pylist()
    schemas = [schema for catalog in objects for schema in catalog["catalog_db_schemas"] or []]
    names = {table["table_name"] for schema in schemas for table in schema["db_schema_tables"] or []}
    assert {"pairs", "scored", "logps", "signals", "lines"} <= names, names
    assert any(row["table_name"] == "lines" for row in asked(uri, "SHOW TABLES")), "no `lines` in SHOW TABLES"
    print(f"names: {', '.join(sorted(names))}")


def check_clients(uri):
    """Eight at once, each with a number of its own."""
    found = {}

    def ask(number):
        found[number] = asked(uri, f"SELECT sum(ref_chosen_logps * 0 + {number}) AS s FROM pairs")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [{"s": 42.0 * number}] for number in range(8)}, found
    print("eight clients at once")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--piref", required=True)
    piref = str(pathlib.Path(parser.parse_args().piref).resolve())
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        table, lines, scratch = folder / "table", folder / "lines.jsonl", folder / "scratch"
        scratch.mkdir()
        run([piref, "precompute", "--model", TINY, "--data", PAIRS, "--out", table])
        lines.write_text('{"step": 1, "loss": 0.5, "who": "a"}\n{"step": 2, "loss": 0.25, "who": null}\n')
        tables = [str(table), str(lines), "--model", str(TINY)]
        server = Server([piref, "serve", *tables, "--flight-sql", "127.0.0.1:0"], scratch)
        try:
            check_queries(server.uri, lambda sql: run([piref, "sql", *tables, "-c", sql, "--format", "json"]))
            check_names(server.uri)
            check_refusals(server.uri, folder, table)
            check_clients(server.uri)
            code = server.stop()
        finally:
            server.process.kill()
        assert code == 0, f"exit code {code}: {''.join(server.lines)}"
        assert not list(scratch.iterdir()), f"left behind: {list(scratch.iterdir())}"
    print("stopped, nothing left behind")


main()
