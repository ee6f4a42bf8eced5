"""Both stages of piref against TRL's DPOTrainer, on the same pairs, model, machine and number of threads.

    make bench-peers PYTHON=VENV/bin/python MODEL=HF_FOLDER DATA="hh=FILE ultrafeedback=FILE"

PYTHON is one with torch, trl, transformers and datasets (peft for `--lora-r`); piref needs none of them. The two take turns, and who begins
alternates; each round starts both programs anew. What counts:

  precompute   TRL: its reference pass, without loading the model. piref: loading the model, scoring, writing the table.
  train        optimiser steps but the first, in which both warm up.
  memory       the most a process has held, both of its stages included.

Figures are medians over rounds; the ratio is the median of the ratios of the rounds.
"""

import argparse
import gzip
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--piref", default="piref", help="the program")
    parser.add_argument("--model", required=True, help="Hugging Face folder")
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME=FILE", help="JSONL, plain or .gz")
    parser.add_argument("--dtype", nargs="+", choices=["f32", "bf16"], default=["f32", "bf16"])
    parser.add_argument("--pairs", type=int, default=64, help="the first of each file")
    parser.add_argument("--steps", type=int, help="optimiser steps; default: all pairs once; 0: none")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--lora-r", type=int, default=0, help="rank of an adapter on all linear maps; 0: all weights")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path, help="every figure of every round")
    args = parser.parse_args()
    if args.steps is None:
        args.steps = args.pairs // args.batch_size

    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        for name, path in (entry.split("=", 1) for entry in args.data):
            pairs = Path(folder) / f"{name}.jsonl"
            rows = read_pairs(path, args.pairs, 3 * args.max_length)
            pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
            for dtype in args.dtype:
                for index in range(args.rounds):
                    engines = [run_trl, run_piref] if index % 2 == 0 else [run_piref, run_trl]
                    found = dict(engine(args, pairs, dtype, folder) for engine in engines)
                    if found["trl"]["pairs"] != found["piref"]["pairs"]:
                        sys.exit(f"TRL takes {found['trl']['pairs']} pairs of {name}, piref {found['piref']['pairs']}: "
                                 "a larger --max-length leaves room for every answer")
                    rounds.append({"data": name, "dtype": dtype, "batch_size": args.batch_size, **found})
                    note(rounds[-1])
                    if args.json:
                        args.json.write_text(json.dumps(rounds, indent=1) + "\n")
    print(f"{machine()}, {args.threads} threads; {versions(args, rounds)}; {args.model}, {args.pairs} pairs, "
          f"{f'LoRA of rank {args.lora_r}, ' if args.lora_r else ''}max_length {args.max_length}, medians of {args.rounds} rounds\n")
    for line in table(rounds):
        print(line)


def read_pairs(path, limit, max_characters):
    """The first pairs of a file as prompt, chosen and rejected: strings, or lists of messages.

    Prompts of so many characters are left out: they may fill max_length alone, and the two do not agree on what then.
    """
    opened = gzip.open(path, "rt") if path.endswith(".gz") else open(path)
    with opened as lines:
        pairs = (as_pair(json.loads(line)) for line in lines)
        fitting = (pair for pair in pairs if len(json.dumps(pair["prompt"])) < max_characters)
        return list(itertools.islice(fitting, limit))


def as_pair(row):
    chosen, rejected = row["chosen"], row["rejected"]
    if isinstance(chosen, list):
        shared = 0
        while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
            shared += 1
        prompt = chosen[:shared] or [{"role": "user", "content": row["prompt"]}]
        return {"prompt": prompt, "chosen": chosen[shared:], "rejected": rejected[shared:]}
    if "prompt" in row:
        return {key: row[key] for key in ("prompt", "chosen", "rejected")}
    # A dialogue in one string, as in hh-rlhf: the prompt ends where the last answer begins.
    cut = os.path.commonprefix([chosen, rejected]).rindex("\n\nAssistant:") + len("\n\nAssistant:")
    return {"prompt": chosen[:cut], "chosen": chosen[cut:], "rejected": rejected[cut:]}


def run_trl(args, pairs, dtype, _):
    command = [sys.executable, HERE / "trl_worker.py", args.model, pairs, "--steps", args.steps, "--dtype", dtype]
    command += ["--batch-size", args.batch_size, "--max-length", args.max_length, "--threads", args.threads]
    command += ["--lora-r", args.lora_r]
    output, peak = run(command)
    return "trl", {**json.loads(output.splitlines()[-1]), "peak_bytes": peak}


def run_piref(args, pairs, dtype, folder):
    table, out = Path(folder) / "table", Path(folder) / "run"
    common = ["--model", args.model, "--dtype", dtype, "--threads", args.threads, "--fresh", "--output-format", "json"]
    output, first_peak = run(
        [args.piref, "precompute", "--data", pairs, "--out", table, "--max-length", args.max_length, *common])
    summary = json.loads(output)
    found = {"pairs": summary["n_pairs"], "precompute_seconds": summary["scoring_seconds"]}
    if args.steps == 0:
        return "piref", {**found, "step_seconds": [], "losses": [], "peak_bytes": first_peak}
    adapter = ["--lora-r", args.lora_r] if args.lora_r else []
    _, second_peak = run(
        [args.piref, "train", "--table", table, "--out", out, "--max-steps", args.steps, "--no-shuffle",
         "--batch-size", args.batch_size, "--beta", 0.1, "--learning-rate", 1e-6, "--lr-scheduler-type", "constant",
         *adapter, *common])
    steps = [json.loads(line) for line in (out / "train/metrics.jsonl").read_text().splitlines()]
    return "piref", {
        **found,
        "step_seconds": [step["step_seconds"] for step in steps],
        "losses": [step["loss"] for step in steps],
        "peak_bytes": max(first_peak, second_peak),
    }


def run(command):
    """What a program prints, and the most memory it held."""
    command = [str(part) for part in command]
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        output = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            errors.seek(0)
            sys.exit(f"`{' '.join(command)}` failed:\n{errors.read()}")
    return output, 1024 * usage.ru_maxrss


def rates(entry, engine):
    """Pairs a second of the stages that were run."""
    found = entry[engine]
    steps = found["step_seconds"][1:]
    measured = {"precompute": found["pairs"] / found["precompute_seconds"]}
    if steps:
        measured["train"] = entry["batch_size"] * len(steps) / sum(steps)
    return measured


def table(rounds):
    yield "| data | stage | dtype | TRL pairs/s | piref pairs/s | ratio | memory TRL / piref, GB |"
    yield "|---|---|---|---|---|---|---|"
    for data, dtype in dict.fromkeys((entry["data"], entry["dtype"]) for entry in rounds):
        chosen = [entry for entry in rounds if (entry["data"], entry["dtype"]) == (data, dtype)]
        peaks = [statistics.median(entry[engine]["peak_bytes"] for entry in chosen) / 1e9 for engine in ("trl", "piref")]
        for stage in rates(chosen[0], "trl"):
            pairs = [(rates(entry, "trl")[stage], rates(entry, "piref")[stage]) for entry in chosen]
            trl, piref = (statistics.median(column) for column in zip(*pairs))
            ratio = statistics.median(ours / theirs for theirs, ours in pairs)
            yield (f"| {data} | {stage} | {dtype} | {trl:.2f} | {piref:.2f} | **{ratio:.2f}** "
                   f"| {peaks[0]:.1f} / {peaks[1]:.1f} |")


def note(entry):
    shown = {engine: {stage: round(rate, 3) for stage, rate in rates(entry, engine).items()} for engine in ("trl", "piref")}
    print(f"{entry['data']}, {entry['dtype']}: {shown}", file=sys.stderr, flush=True)


def versions(args, rounds):
    theirs = ", ".join(f"{name} {version}" for name, version in rounds[0]["trl"]["versions"].items())
    ours = subprocess.run([args.piref, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return f"{ours}, {theirs}"


def machine():
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
