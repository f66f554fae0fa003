# Experiments on real images. Entries as in synthetic/rules.smk; `data` names images that are not inside a wheel.

for _name in ("spectra", "windows", "calibration", "design"):
    _source = config["imagenet"][_name]["source"]
    if _source != "embedded" and not os.path.exists(_source):
        raise WorkflowError(
            f"imagenet.{_name}.source = {_source!r} does not exist under {os.getcwd()}; "
            "allowed: embedded, a folder of images, or a .npz pack; remedy: correct the path"
        )
    if _name != "design":
        EXPERIMENTS[f"imagenet.{_name}"] = {"category": "Real images", "data": [] if _source == "embedded" else [_source]}


# The tool that users run on their own images, on ours.
_design = config["imagenet"]["design"]


rule imagenet_design:
    input:
        data=[] if _design["source"] == "embedded" else [_design["source"]],
        code=project_files("imagenet.__main__"),
    output:
        sigmas=f"{RESULTS}/imagenet/design/sigmas.txt",
        design=f"{RESULTS}/imagenet/design/design.json",
        summary=f"{RESULTS}/imagenet/design/summary.txt",
        figure=report(
            f"{RESULTS}/imagenet/design/figure.svg",
            caption="design.rst",
            category="Real images",
            labels={"experiment": "imagenet.design", "file": "figure"},
        ),
    params:
        seed=config["seed"],
        folder=f"{RESULTS}/imagenet/design",
        **_design,
    log:
        f"{RESULTS}/logs/imagenet/design.log",
    benchmark:
        f"{RESULTS}/benchmarks/imagenet/design.tsv"
    threads: 1
    shell:
        "{PYTHON:q} -m imagenet design {params.source:q} --steps {params.steps} --size {params.size} --window {params.window}"
        " --patches {params.patches_per_photograph} --seed {params.seed} --out {params.folder:q} > {log:q} 2>&1"
