# SPDX-License-Identifier: Apache-2.0
# make run      set up what is missing, run the scenarios, then make lab; leave out/      ARGS="..." goes to pytest
# make lab      the scenarios on KVM, in labs; leave out/lab/                         LAB_ARGS="..." goes to pytest
# make test     set up what is missing, lint, types, tests of the harness
# make bench    the performance figures, each beside its floor
# make setup    only set up
# make clean    remove what make put into this directory; the cache with QEMU and the guests stays

PYTHON_IN_VENV := .venv/bin/python

# All CPUs: left to itself, xdist counts cores without their hardware threads.
export PYTEST_XDIST_AUTO_NUM_WORKERS ?= $(shell nproc)

.PHONY: run lab test bench setup clean

run: setup
	@status=0; $(PYTHON_IN_VENV) -m pytest scenarios -n auto $(ARGS) || status=$$?; \
	$(MAKE) --no-print-directory lab || status=$$?; \
	echo "reports: $(CURDIR)/out/report.html $(CURDIR)/out/lab/report.html"; exit $$status

# A chosen set: the control, what found the first bug of nested virtualisation (which stops and starts the machine too, as `pause`
# does), one way to save and restore, which QEMU blocks at vEL2, and a second life. Left to whoever asks for it: what takes half a
# minute a case, which a Linux that is a guest hypervisor does, and a vCPU whose thread is held back.
LAB_ARGS ?= --lifecycle straight --lifecycle poll-registers --lifecycle file --lifecycle reset \
	--deselect scenarios/nested/test_linux.py --deselect scenarios/registers/test_looked_at.py

lab: setup
	@$(PYTHON_IN_VENV) -m pytest scenarios -n auto --platform lab --out out/lab $(LAB_ARGS)

test: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(PYTHON_IN_VENV) -m pytest tests -n $$((2 * $(PYTEST_XDIST_AUTO_NUM_WORKERS))) --dist worksteal $(ARGS)

bench: setup
	$(PYTHON_IN_VENV) -m bench $(ARGS)

setup:
	@harness/assets/venv.sh
	@$(PYTHON_IN_VENV) -m harness.cli setup

clean:
	rm -rf .venv .venv.lock out build *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
