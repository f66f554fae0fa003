# One rule per experiment, named after its module, and the gathering of their verdicts into one ledger.

from pathlib import Path

for _module, _entry in EXPERIMENTS.items():
    _package, _name = _module.split(".")
    _folder = f"{RESULTS}/{_package}/{_name}"

    rule:
        name: f"{_package}_{_name}"
        input:
            data=_entry["data"],
            # not older than the theory it tests: snakemake itself does not see imports
            code=project_files("theory.experiment", _module),
        output:
            predicted=f"{_folder}/predicted.nc",
            measured=f"{_folder}/measured.nc",
            verdict=f"{_folder}/verdict.json",
            figure=report(
                f"{_folder}/figure.svg",
                caption=f"../{_package}/{_name}.rst",
                category=_entry["category"],
                labels={"experiment": _module, "file": "figure"},
            ),
        params:
            module=_module,
            settings=json.dumps(config[_package][_entry.get("section", _name)], sort_keys=True),
            files=json.dumps(_entry.get("files", {}), sort_keys=True),
            seed=config["seed"],
            folder=_folder,
        log:
            f"{RESULTS}/logs/{_package}/{_name}.log",
        benchmark:
            f"{RESULTS}/benchmarks/{_package}/{_name}.tsv"
        threads: 1
        priority: _entry.get("priority", 0) # long ones first, so that no core waits for the last
        resources:
            **_entry.get("resources", {}),
        shell:
            "{PYTHON:q} -m theory.experiment {params.module} --settings {params.settings:q}"
            " --files {params.files:q} --seed {params.seed} --out {params.folder:q} > {log:q} 2>&1"


# The claims are found by listing theory/claims, which the import walk does not see: every one is named here.
PROOFS = project_files("theory.__main__", *(f"theory.claims.{path.stem}" for path in sorted(Path("theory/claims").glob("[a-z]*.py"))))


CLAIMS = config["theory"]["claims"]  # ids; none stands for all


rule theory_verify:
    input:
        code=PROOFS,
    output:
        verdict=f"{RESULTS}/theory/verdict.json",
        steps=f"{RESULTS}/theory/steps.json",
        witness=f"{RESULTS}/theory/witness.json",
        text=report(
            f"{RESULTS}/theory/claims.md", caption="proofs.rst", category="Claims", labels={"experiment": "theory", "file": "steps"}
        ),
    params:
        claims=CLAIMS,
        folder=f"{RESULTS}/theory",
    log:
        f"{RESULTS}/logs/theory/verify.log",
    benchmark:
        f"{RESULTS}/benchmarks/theory/verify.tsv"
    threads: 1
    priority: 1 # the mutations wait for it
    shell:
        "{PYTHON:q} -m theory verify {params.claims} --processes {threads} --out {params.folder:q} > {log:q} 2>&1"


rule theory_mutate:
    input:
        witness=rules.theory_verify.output.witness, # measured and argued once
        code=PROOFS,
    output:
        report(
            f"{RESULTS}/theory/mutations.csv",
            caption="mutations.rst",
            category="Claims",
            labels={"experiment": "theory", "file": "mutations"},
        ),
    params:
        claims=CLAIMS,
    log:
        f"{RESULTS}/logs/theory/mutate.log",
    benchmark:
        f"{RESULTS}/benchmarks/theory/mutate.tsv"
    threads: 1
    shell:
        "{PYTHON:q} -m theory mutate {params.claims} --processes {threads} --verified {input.witness:q} --out {output:q} > {log:q} 2>&1"


rule theory_figures:
    input:
        code=PROOFS,
    output:
        report(
            directory(f"{RESULTS}/theory/figures"),
            patterns=["{name}.svg"],
            caption="figures.rst",
            category="Theory",
            labels={"experiment": "{name}", "file": "figure"},
        ),
    params:
        claims=CLAIMS,
    log:
        f"{RESULTS}/logs/theory/figures.log",
    benchmark:
        f"{RESULTS}/benchmarks/theory/figures.tsv"
    threads: 1
    shell:
        "{PYTHON:q} -m theory figures {params.claims} --out {output:q} > {log:q} 2>&1"


rule claims:
    input:
        verdicts=[
            rules.theory_verify.output.verdict,
            *(f"{RESULTS}/{module.replace('.', '/')}/verdict.json" for module in EXPERIMENTS),
        ],
        code=project_files("theory.table"),
    output:
        csv=report(
            f"{RESULTS}/claims.csv", caption="claims.rst", category="Claims", labels={"experiment": "all", "file": "table"}
        ),
        md=f"{RESULTS}/claims.md",
    log:
        f"{RESULTS}/logs/claims.log",
    benchmark:
        f"{RESULTS}/benchmarks/claims.tsv"
    threads: 1
    shell:
        "{PYTHON:q} -m theory.table gather {output.csv:q} {output.md:q} {input.verdicts:q} > {log:q} 2>&1"


# Not part of `all`: its numbers depend on the machine and on what else it does, so no result may depend on them.
rule benchmark:
    input:
        code=project_files("theory.benchmark", "imagenet.benchmark"),
    output:
        [f"{RESULTS}/benchmarks-{package}.{form}" for package in ("theory", "imagenet") for form in ("csv", "json")],
    params:
        stem=f"{RESULTS}/benchmarks",
    log:
        f"{RESULTS}/logs/benchmarks.log",
    threads: 2
    shell:
        "for package in theory imagenet; do {PYTHON:q} -m $package.benchmark"
        " --csv {params.stem:q}-$package.csv --json {params.stem:q}-$package.json; done > {log:q} 2>&1"
