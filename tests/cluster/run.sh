#!/usr/bin/env bash
# Stage one on a scheduler and two executors as processes: the table has to be that of a local run to the byte, whatever
# happens to an executor meanwhile. By hand or by `make check-cluster`; takes some minutes with a real model.
#
#   MODEL=M DATA=FILE tests/cluster/run.sh [CASE…]
#
# plain       two executors share the work
# sql         a query over the table answers the same here and there
# stop        SIGINT for a client whose query the executors compute: they begin no further task of it
# kill        SIGKILL for one of them while it scores; says how many pairs were scored twice
# restart     SIGTERM for the client, whose jobs are cancelled and which then goes on after what came back
# chaos       Ballista injects transient faults into a quarter of the jobs, by a fixed seed
# namespaces  one executor in another network namespace, and then the wire between them cut; needs root and `ip netns`
# overhead    wall time against a local run on the same two threads, alternating
#
# PIREF names a program built with `--features cluster`, LIMIT the number of pairs, KEEP a folder for tables and logs.
set -euo pipefail

PIREF=$(realpath "${PIREF:-${CARGO_TARGET_DIR:-target}/debug/piref}")
MODEL=${MODEL:-fixtures/tiny}
DATA=${DATA:-fixtures/pairs/standard.jsonl}
LIMIT=${LIMIT:-256}
PORT=${PORT:-50250}
SEED=21
CASES=("$@")
[ ${#CASES[@]} -gt 0 ] || CASES=(plain sql stop kill restart chaos namespaces overhead)

WORK=${KEEP:-$(mktemp -d "${TMPDIR:-/tmp}/piref-cluster.XXXXXX")}
mkdir -p "$WORK"
PIDS=()
NAMESPACES=()

fail() { echo "FAILED: $*" >&2; exit 1; }

# Executors first: they tell their scheduler that they go.
stop_all() {
    local pid
    for pid in "${PIDS[@]:1}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${PIDS[@]:1}"; do wait "$pid" 2>/dev/null || true; done
    for pid in "${PIDS[@]:0:1}"; do kill -TERM "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true; done
    PIDS=()
}

clean_up() {
    stop_all
    for namespace in "${NAMESPACES[@]}"; do ip netns del "$namespace" 2>/dev/null || true; done
    [ -n "${KEEP:-}" ] || rm -rf "$WORK"
}
trap clean_up EXIT

# wait_for SECONDS WHAT COMMAND…
wait_for() {
    local until=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ $SECONDS -lt $until ] || fail "waited for $what in vain; logs are in $WORK (KEEP=FOLDER keeps them)"
        sleep 0.1
    done
}

says() { grep -q -- "$2" "$1" 2>/dev/null; }

# start NAME COMMAND…: runs it with its talk in NAME.log; its process id is the last of PIDS.
start() {
    local log=$WORK/$1.log
    shift
    : >"$log"
    "$@" >>"$log" 2>&1 &
    PIDS+=($!)
}

# start_cluster CASE THREADS N [--one-option…]: a scheduler and N executors of so many threads each.
start_cluster() {
    local case=$1 threads=$2 n=$3
    start "$case-scheduler" "$PIREF" cluster scheduler --bind "127.0.0.1:$PORT"
    wait_for 20 "the scheduler" says "$WORK/$case-scheduler.log" "listens at"
    for i in $(seq 1 "$n"); do
        start "$case-executor-$i" "$PIREF" --threads "$threads" cluster executor \
            --scheduler "127.0.0.1:$PORT" --model "$MODEL" --bind "127.0.0.1:$((PORT + 10 * i))"
        wait_for 40 "executor $i" says "$WORK/$case-executor-$i.log" "joins"
    done
}

# Where the table of a case goes; the same name everywhere, since it is in no table.
precompute() {
    local out=$1
    shift
    "$PIREF" precompute --model "$MODEL" --data "$DATA" --limit "$LIMIT" --out "$WORK/$out" --output-format json "$@" \
        >"$WORK/$out.json" 2>"$WORK/$out.client.log"
}

remote() { precompute "$1" --cluster "df://127.0.0.1:$PORT" "${@:2}"; }

number() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$WORK/$1.json" "$2"; }

same() { diff -r "$WORK/local" "$WORK/$1" >/dev/null || fail "$1: another table than that of a local run"; }

# Pairs that an executor has said it scored.
scored() { sed -n 's/.*executor: \([0-9]*\) pairs scored.*/\1/p' "$WORK/$1.log" | tail -1 | grep . || echo 0; }

ok() { echo "ok: $*"; }

case_plain() {
    start_cluster plain 1 2
    remote plain
    same plain
    stop_all
    local one two
    one=$(scored plain-executor-1) two=$(scored plain-executor-2)
    [ "$one" -gt 0 ] && [ "$two" -gt 0 ] || fail "plain: one executor did all the work: $one and $two pairs"
    [ $((one + two)) -eq "$(number plain n_scored)" ] || fail "plain: $one + $two pairs scored, expected $(number plain n_scored)"
    ok "plain: $one + $two pairs in $(number plain seconds) s, the table is the local one"
}

case_sql() {
    start_cluster sql 1 2
    local query="SELECT source, count(*) AS n, min(ref_chosen_logps) AS least, max(chosen_tokens) AS longest FROM pairs GROUP BY source ORDER BY source"
    "$PIREF" sql "$WORK/local" -c "$query" --format csv >"$WORK/here.csv"
    "$PIREF" sql "$WORK/local" -c "$query" --format csv --cluster "df://127.0.0.1:$PORT" >"$WORK/there.csv"
    diff "$WORK/here.csv" "$WORK/there.csv" || fail "sql: another answer"
    local again="SELECT count(*) AS n FROM (SELECT *, ref_logps(NULL, prompt_ids, chosen_ids, rejected_ids) AS s FROM pairs LIMIT 8) WHERE s['ref_chosen_logps'] = ref_chosen_logps"
    local n
    n=$("$PIREF" sql "$WORK/local" -c "$again" --format csv --cluster "df://127.0.0.1:$PORT" | tail -1)
    [ "$n" = 8 ] || fail "sql: ref_logps of 8 rows agrees with $n of the table"
    stop_all
    ok "sql: same rows, and ref_logps agrees with the table"
}

case_stop() {
    start_cluster stop 1 2
    # Six tasks for two executors: those that have begun are computed to their end, the others are not begun.
    local scores="SELECT ref_logps(NULL, prompt_ids, chosen_ids, rejected_ids)['ref_chosen_logps'] AS s FROM pairs" all
    all="$scores UNION ALL $scores UNION ALL $scores"
    "$PIREF" sql "$WORK/local" -c "SELECT sum(s) AS s FROM ($all UNION ALL $all)" --cluster "df://127.0.0.1:$PORT" \
        >"$WORK/stop.out" 2>"$WORK/stop.client.log" &
    local client=$!
    both() { echo $(($(scored stop-executor-1) + $(scored stop-executor-2))); }
    has_begun() { [ "$(both)" -gt 0 ]; }
    wait_for 300 "the first scores" has_begun
    kill -INT "$client"
    local code=0 n_pairs before=-1
    n_pairs=$(number local n_scored)
    wait "$client" || code=$?
    [ "$code" -eq 130 ] || fail "stop: exit code $code, expected 130: $(cat "$WORK/stop.client.log")"
    while [ "$(both)" -ne "$before" ]; do
        before=$(both)
        sleep 10
    done
    [ "$before" -lt $((6 * n_pairs)) ] || fail "stop: all $before pairs were scored for a query nobody waits for"
    stop_all
    ok "stop: $before of $((6 * n_pairs)) pairs were scored for a query that was stopped"
}

case_kill() {
    start_cluster kill 1 2
    local victim=${PIDS[1]}
    remote kill &
    local client=$!
    wait_for 300 "work of executor 1" says "$WORK/kill-executor-1.log" "pairs scored"
    kill -KILL "$victim"
    wait "$client" || { cat "$WORK/kill.client.log" >&2; fail "kill: the client gave up"; }
    same kill
    stop_all
    local one two
    one=$(scored kill-executor-1) two=$(scored kill-executor-2)
    ok "kill: $one pairs by the one that was killed, $two by the other, $((one + two - $(number kill n_scored))) of them scored twice or more (as far as the first could say), in $(number kill seconds) s; the table is the local one"
}

case_restart() {
    start_cluster restart 1 2
    remote restart &
    local client=$!
    wait_for 300 "the first scores" says "$WORK/restart.client.log" "/.* pairs, "
    pkill -TERM -P "$client" || true
    local code=0
    wait "$client" || code=$?
    [ "$code" -eq 130 ] || [ "$code" -eq 0 ] || fail "restart: exit code $code"
    remote restart
    same restart
    stop_all
    local one two
    one=$(scored restart-executor-1) two=$(scored restart-executor-2)
    ok "restart: went on after $(number restart n_reused) pairs (first run: exit code $code), $((one + two)) scored in both runs; the table is the local one"
}

case_chaos() {
    start_cluster chaos 1 2
    remote chaos --cluster-set ballista.testing.chaos_execution.enabled=true \
        --cluster-set ballista.testing.chaos_execution.fault_type=transient \
        --cluster-set ballista.testing.chaos_execution.probability=0.25 \
        --cluster-set "ballista.testing.chaos_execution.seed=$SEED"
    same chaos
    says "$WORK/chaos.client.log" "submitted again" || fail "chaos: the seed $SEED injected no fault"
    stop_all
    ok "chaos: $(grep -c 'submitted again' "$WORK/chaos.client.log") times told of jobs submitted again, in $(number chaos seconds) s; the table is the local one"
}

case_namespaces() {
    if [ "$(id -u)" -ne 0 ] || ! ip netns add piref-$$-a 2>/dev/null; then
        echo "skipped: namespaces need root and a kernel that allows them"
        return
    fi
    NAMESPACES=(piref-$$-a piref-$$-b)
    ip netns add piref-$$-b
    ip link add veth-a netns "piref-$$-a" type veth peer name veth-b netns "piref-$$-b"
    for side in a b; do
        ip -n "piref-$$-$side" link set lo up
        ip -n "piref-$$-$side" link set "veth-$side" up
    done
    ip -n piref-$$-a addr add 10.77.0.1/24 dev veth-a
    ip -n piref-$$-b addr add 10.77.0.2/24 dev veth-b
    local a=(ip netns exec piref-$$-a) b=(ip netns exec piref-$$-b)
    start ns-scheduler "${a[@]}" "$PIREF" cluster scheduler --bind "10.77.0.1:$PORT" --insecure
    wait_for 20 "the scheduler" says "$WORK/ns-scheduler.log" "listens at"
    start ns-executor-1 "${a[@]}" "$PIREF" --threads 1 cluster executor --scheduler "10.77.0.1:$PORT" --model "$MODEL" --bind 10.77.0.1 --insecure
    start ns-executor-2 "${b[@]}" "$PIREF" --threads 1 cluster executor --scheduler "10.77.0.1:$PORT" --model "$MODEL" --bind 10.77.0.2 --insecure
    for i in 1 2; do wait_for 40 "executor $i" says "$WORK/ns-executor-$i.log" "joins"; done
    local client=("${a[@]}" "$PIREF" precompute --model "$MODEL" --data "$DATA" --limit "$LIMIT" --output-format json --cluster "df://10.77.0.1:$PORT")
    "${client[@]}" --out "$WORK/namespaces" >"$WORK/namespaces.json" 2>"$WORK/namespaces.client.log"
    same namespaces
    local before
    before=$(scored ns-executor-2)
    wire() { "${b[@]}" cat "/sys/class/net/veth-b/statistics/$1_bytes"; }
    ok "namespaces: $(scored ns-executor-1) + $before pairs in $(number namespaces seconds) s, $(wire rx) bytes to the executor and $(wire tx) from it; the table is the local one"
    "${client[@]}" --out "$WORK/cut" >"$WORK/cut.json" 2>"$WORK/cut.client.log" &
    local pid=$!
    works() { [ "$(scored ns-executor-2)" -gt "$before" ]; }
    wait_for 300 "work of executor 2" works
    ip -n piref-$$-b link set veth-b down
    wait "$pid" || { cat "$WORK/cut.client.log" >&2; fail "cut: the client gave up"; }
    same cut
    stop_all
    says "$WORK/ns-executor-2.log" "which does not answer" || fail "cut: executor 2 does not say that its scheduler is gone"
    ok "cut: the wire to one executor was cut while it scored; $(number cut seconds) s; the table is the local one"
}

case_overhead() {
    start_cluster overhead 2 1
    remote overhead-warm
    local line here=() there=()
    for i in 1 2 3; do
        precompute "overhead-here-$i" --threads 2
        remote "overhead-there-$i" --threads 2
        here+=("$(number "overhead-here-$i" seconds)") there+=("$(number "overhead-there-$i" seconds)")
    done
    stop_all
    line=$(python3 -c '
import sys
here, there = ([float(x) for x in text.split()] for text in sys.argv[1:])
print(f"local {sorted(here)} s, cluster {sorted(there)} s, least to least {100 * (min(there) / min(here) - 1):+.1f} %")
' "${here[*]}" "${there[*]}")
    ok "overhead, one executor of two threads against two local threads (which load the model each time): $line"
}

precompute local
ok "local: $(number local n_scored) pairs, $(number local n_tokens) tokens in $(number local seconds) s"
for case in "${CASES[@]}"; do
    "case_$case"
done
