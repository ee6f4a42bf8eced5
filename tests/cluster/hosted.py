"""Tables and data by URL: the real program against a real service, with a proxy between the two that makes faults.

One line for each assertion; ends at the first that does not hold. Run by `make check-s3` and `make check-azure`.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from hosted_proxy import Proxy, Server
from hosted_services import SERVICES

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = str(ROOT / "fixtures" / "tiny")
DATA = ROOT / "fixtures" / "pairs" / "standard.jsonl"
DATA_KEY = "data/standard.jsonl"


class Check:
    def __init__(self, piref, service, folder):
        self.piref, self.service, self.folder, self.n = piref, service, folder, 0
        Proxy.upstream, Proxy.codes = service.address, service.codes
        self.proxy = Server(("127.0.0.1", 0), Proxy)
        threading.Thread(target=self.proxy.serve_forever, daemon=True).start()
        self.faults = Proxy.faults

    def url(self, key):
        return f"{self.service.root}/{key}"

    def that(self, holds, what, detail=""):
        self.n += 1
        print(f"{'ok  ' if holds else 'FAIL'} {self.n:3} {what}", flush=True)
        if not holds:
            sys.exit(f"{detail}")

    def environment(self, cache, **more):
        own = (self.service.prefix, "PIREF_", "XDG_CACHE")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        environment |= self.service.environment("http://127.0.0.1:%d" % self.proxy.server_address[1])
        environment |= {
            f"{self.service.prefix}ALLOW_HTTP": "true",
            f"{self.service.prefix}TIMEOUT": "3 seconds",
            "PIREF_CACHE_DIR": str(self.folder / cache),
        }
        return environment | more

    def start(self, *arguments, cache="here", **more):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([self.piref, *map(str, arguments)], cwd=ROOT, env=self.environment(cache, **more), **pipes)

    def run(self, *arguments, expect=0, cache="here", **more):
        process = self.start(*arguments, cache=cache, **more)
        out, err = process.communicate(timeout=600)
        command = " ".join(map(str, arguments))
        self.that(process.returncode == expect, f"exit {expect}: piref {command}"[:150], f"exit {process.returncode}\n{out}{err}")
        self.that(self.service.secret not in out + err, "  and no secret is told", err)
        return out, err

    def precompute(self, out, **options):
        arguments = ["precompute", "--model", MODEL, "--data", self.url(DATA_KEY), "--out", out, "--rows-per-part", 6]
        return self.run(*arguments, "--output-format", "json", **options)

    def objects(self, prefix):
        """Objects under a prefix, by the rest of their names."""
        keys = self.service.keys(prefix + "/")
        return {key.removeprefix(prefix + "/"): self.service.get(key) for key in keys}

    def same(self, prefix, local, what):
        """That a table under a prefix has the files of a local one, and nothing else."""
        there = self.objects(prefix)
        here = {file.name: file.read_bytes() for file in local.iterdir()}
        differing = [name for name in sorted(there.keys() | here.keys()) if there.get(name) != here.get(name)]
        self.that(not differing, what, f"differing: {differing}\nthere: {sorted(there)}\nhere: {sorted(here)}")


def plain(check):
    """Every command reads by URL, and a table under a URL is the local one byte for byte."""
    local = check.folder / "local"
    check.precompute(local)
    check.precompute(check.url("tables/plain"))
    check.same("tables/plain", local, "a table under a URL has the bytes of a local one")
    table = check.url("tables/plain")
    manifest = json.loads((local / "manifest.json").read_text())
    source = manifest["provenance"]["sources"][0]["path"]
    check.that(source == check.url(DATA_KEY), "the data is listed by its URL", source)
    check.that(check.service.secret not in (local / "manifest.json").read_text(), "no secret is in the manifest")

    check.faults.clear()
    out, _ = check.run("sql", table, "-c", "SELECT count(*) AS n FROM pairs", "--format", "csv")
    n_pairs = manifest["n_pairs"]
    check.that(out.split() == ["n", str(n_pairs)], "SQL counts the pairs of the manifest", out)
    parts = [path for method, path in check.faults.log if method == "GET" and "part-" in path]
    check.that(not parts, "where it was written, a table is not fetched to be read", parts)
    for query in (f"SELECT count(*) AS n FROM '{table}'", f"SELECT count(*) AS n FROM '{table}/part-00000.parquet'"):
        out, _ = check.run("sql", "-c", query, "--format", "csv", cache="there")
        expected = n_pairs if query.endswith("plain'") else 6
        check.that(out.split() == ["n", str(expected)], f"  and so does {query}", out)
    check.run("verify", table, "--data", check.url(DATA_KEY), cache="there")
    check.run("inspect", table, cache="there")
    check.run("diff", table, local, cache="there")
    check.run("audit", table, cache="there")
    arguments = ["train", "--model", MODEL, "--max-steps", 2, "--batch-size", 4]
    check.run(*arguments, "--table", table, "--out", check.folder / "run-url", cache="there")
    check.run(*arguments, "--table", local, "--out", check.folder / "run-local")
    policy = [(check.folder / run / "policy" / "model.safetensors").read_bytes() for run in ("run-url", "run-local")]
    check.that(policy[0] == policy[1], "a policy trained by URL has the bytes of one trained locally")
    for out in (check.url("tables/plain"), local):
        check.run("precompute", "--model", MODEL, "--out", out, "--as", "twin", "--rows-per-part", 20)
    check.same("tables/plain/references/twin", local / "references" / "twin", "a further reference under a URL")
    shutil.rmtree(local / "references")
    check.run(*arguments, "--table", table, "--reference", "twin", "--out", check.folder / "run-twin", cache="there")
    file_url = (check.folder / "local").as_uri()
    check.run("verify", file_url)

    check.faults.clear()
    out, _ = check.precompute(table)
    check.that(json.loads(out)["n_scored"] == 0, "a finished table is not scored again", out)
    puts = [path for method, path in check.faults.log if method == "PUT" and "lease" not in path]
    check.that(not puts, "  and nothing of it is sent again", puts)
    return local


def faults(check, local):
    """500s, broken connections, lost answers and slowness: the same bytes."""
    for fault, every in (("503", 3), ("cut-before", 4), ("lost-answer", 2), ("slow", 9)):
        check.faults.clear()
        check.faults.every = {fault: every}
        name = f"fault-{fault}"
        check.precompute(check.url(f"tables/{name}"), cache=name)
        n = check.faults.counts.get(fault, 0) // every
        check.that(n > 0, f"{n} times {fault}")
        check.faults.clear()
        check.same(f"tables/{name}", local, "  and the same table")
    check.faults.clear()
    check.faults.every = {"cut-half": 2}
    check.run("verify", check.url("tables/plain"), cache="cut")
    n = check.faults.counts.get("cut-half", 0) // 2
    check.that(n > 0, f"{n} downloads broke in the middle, and went on")
    check.faults.clear()


def refusals(check):
    """What cannot be helped is told with the URL, the attempts and a hint."""
    check.faults.status = 503
    began = time.monotonic()
    _, err = check.run("verify", check.url("tables/plain"), expect=1, cache="down")
    words = (check.url("tables/plain/manifest.json"), "503", check.service.codes[503], "tried 9 times", "hint:")
    check.that(all(word in err for word in words), f"a server that is down is given up after {time.monotonic() - began:.0f} s", err)
    check.faults.status = 403
    _, err = check.run("precompute", "--model", MODEL, "--data", DATA, "--out", check.url("denied"), expect=1, cache="denied")
    check.that("403" in err and check.service.credentials in err, "who is denied is told where credentials are from", err)
    check.faults.clear()
    allow_http = f"{check.service.prefix}ALLOW_HTTP"
    closed = {check.service.endpoint: "http://127.0.0.1:9"}
    _, err = check.run("verify", check.url("tables/plain"), expect=1, cache="closed", **closed)
    check.that(check.service.endpoint in err and "tried 9 times" in err, "nobody at the endpoint", err)
    _, err = check.run("verify", check.url("tables/plain"), expect=1, cache="closed", **{allow_http: "false"})
    check.that(allow_http in err, "an endpoint without TLS has to be allowed", err)
    _, err = check.run("verify", check.url("tables/none"), expect=1)
    check.that(f"`{check.url('tables/none/manifest.json')}` does not exist" in err, "a table that is not there", err)
    _, err = check.run("verify", "https://host/table", expect=2)
    check.that("unknown scheme `https`" in err, "a URL of another kind", err)
    _, err = check.run("precompute", "--model", check.url("model"), "--data", DATA, "--out", check.folder / "x", expect=2)
    check.that("under a URL" in err, "a model by URL is refused", err)


def n_sent(check, prefix):
    return len([name for name in check.objects(prefix) if name.startswith("part-")])


def wait_for(check, process, prefix, n_parts):
    deadline = time.monotonic() + 300
    while n_sent(check, prefix) < n_parts:
        if process.poll() is not None or time.monotonic() > deadline:
            check.that(False, f"{n_parts} parts are sent", process.communicate()[1])
        time.sleep(0.1)


def kill(run):
    run.send_signal(signal.SIGKILL)
    run.communicate()
    # What the proxy has taken from it arrives.
    time.sleep(2)


def killed(check, local):
    """A run that is killed goes on, here and elsewhere, and two do not write one table."""
    url, prefix = check.url("tables/killed"), "tables/killed"
    arguments = ["precompute", "--model", MODEL, "--data", check.url(DATA_KEY), "--out", url, "--rows-per-part", 6]
    check.faults.clear()
    check.faults.put_delay = 0.7
    run = check.start(*arguments)
    wait_for(check, run, prefix, 2)
    _, err = check.run(*arguments, expect=1, cache="elsewhere")
    check.that("another run writes there: process" in err and ".piref.lease" in err, "a second run is told who writes", err)
    kill(run)
    check.faults.clear()
    sent = n_sent(check, prefix)
    check.that("manifest.json" not in check.objects(prefix), f"killed after {sent} parts")
    _, err = check.run(*arguments, expect=1, cache="elsewhere")
    check.that("another run writes there: process" in err, "elsewhere it is not known that it is dead", err)
    out, _ = check.run(*arguments, "--output-format", "json")
    check.same(prefix, local, "where it was killed it goes on at once: the same table")
    put = [path for method, path in check.faults.log if method == "PUT" and "part-" in path]
    check.that(len(put) == len(set(put)) and len(put) <= 7 - sent, "  and no part was sent twice", put)
    check.that(json.loads(out)["n_resumed"] >= 6 * sent, "  or scored twice", out)

    url, prefix = check.url("tables/moved"), "tables/moved"
    arguments[arguments.index("--out") + 1] = url
    check.faults.put_delay = 0.7
    run = check.start(*arguments)
    wait_for(check, run, prefix, 2)
    kill(run)
    check.faults.clear()
    sent = n_sent(check, prefix)
    check.service.delete(f"{prefix}/.piref.lease")
    out, _ = check.run(*arguments, "--output-format", "json", cache="moved")
    check.same(prefix, local, "another machine goes on: the same table")
    check.that(json.loads(out)["n_resumed"] == 6 * sent, f"  from the {sent} parts that were sent", out)

    url, prefix = check.url("tables/interrupted"), "tables/interrupted"
    arguments[arguments.index("--out") + 1] = url
    check.faults.put_delay = 0.7
    run = check.start(*arguments)
    wait_for(check, run, prefix, 1)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=120)
    check.faults.clear()
    check.that(run.returncode == 130, "Ctrl-C ends it with 130", err)
    check.that(".piref.lease" not in check.objects(prefix), "  and the lease is given back")
    check.run(*arguments, cache="anywhere")
    check.same(prefix, local, "  so that any machine goes on")


def lost(check):
    """A run whose lease was taken over stops, and overwrites nothing."""
    url, prefix = check.url("tables/lost"), "tables/lost"
    arguments = ["precompute", "--model", MODEL, "--data", check.url(DATA_KEY), "--out", url, "--rows-per-part", 6]
    check.faults.put_delay = 0.7
    run = check.start(*arguments)
    wait_for(check, run, prefix, 1)
    check.service.put(f"{prefix}/.piref.lease", b'{"who":"a test","token":"t","n_renewals":0}')
    _, err = run.communicate(timeout=120)
    check.faults.clear()
    check.that(run.returncode == 1 and "another run writes there now: a test" in err, "a run that has lost its lease stops", err)
    check.that(".piref.lease" in check.objects(prefix), "  and leaves it to the other")

    check.service.put("tables/foreign/part-00000.parquet", b"theirs")
    _, err = check.run(*[argument if argument != url else check.url("tables/foreign") for argument in arguments], expect=1)
    theirs = check.objects("tables/foreign")["part-00000.parquet"]
    check.that(theirs == b"theirs", "what somebody else has put there stays", err)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--service", choices=SERVICES, required=True)
    parser.add_argument("--piref", required=True, help="the program")
    arguments = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="piref-hosted-"))
    service = SERVICES[arguments.service]()
    check = Check(str(pathlib.Path(arguments.piref).resolve()), service, folder)
    try:
        check.service.put("data/standard.jsonl", DATA.read_bytes())
        local = plain(check)
        faults(check, local)
        refusals(check)
        killed(check, local)
        lost(check)
        print(f"{check.n} assertions hold")
    finally:
        check.proxy.shutdown()
        service.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
