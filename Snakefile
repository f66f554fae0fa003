"""Table of contents of the workflow: what is set, what is run, what comes out.

    snakemake --cores all                                    everything, as config/default.yaml says
    snakemake --cores all --configfile tests/smoke.yaml      everything, small
    snakemake --cores all synthetic_dichotomy                one experiment

Rules live beside their package. A package adds its experiments to the table EXPERIMENTS; theory/rules.smk makes one
rule of each entry, and one that gathers their verdicts.
"""

import json
import os
import shlex
import sys

import yaml
from snakemake.exceptions import WorkflowError

sys.path.insert(0, workflow.basedir)

from theory.config import ConfigError, validate
from theory.imports import code_digest, project_files


configfile: "config/default.yaml"


try:
    validate(config)
except ConfigError as error:
    raise WorkflowError(str(error)) from None

RESULTS = config["results_dir"].rstrip("/")
PYTHON = sys.executable  # the interpreter that runs snakemake, even when .venv is not activated
EXPERIMENTS = {}  # module → {category, data: the files it reads besides code; maybe section, files, priority, resources}

# One thread per job: jobs run side by side, and sums of floats do not depend on how many cores there are.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
    os.environ[variable] = "1"

# glibc hands large tensors back to the system and faults them in anew at every step: a fifth of a small network's training.
# Kept for the process instead; no number changes. Other C libraries ignore this.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(32 << 20))
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2 << 30))
os.environ.setdefault("MALLOC_TOP_PAD_", str(64 << 20))


include: "synthetic/rules.smk"
include: "imagenet/rules.smk"
include: "theory/rules.smk"


rule all:
    default_target: True
    input:
        rules.claims.output,
        rules.theory_verify.output,
        rules.theory_mutate.output,
        rules.theory_figures.output,
        rules.imagenet_design.output,
        rules.imagenet_gallery.output,
        [getattr(rules, module.replace(".", "_")).output for module in EXPERIMENTS],
