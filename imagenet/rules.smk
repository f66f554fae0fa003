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
        code=project_files("imagenet.commands.design"),
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


# ---- the pixel model: pack, train, sweep, and the claims read off the sweeps ------------------------------------------
# What depends on the machine (packs, networks, journals with their images/s) is under runs/; what is reported, beside the rest.

PIXEL = config["imagenet"]["pixel"]
RUNS = f"{RESULTS}/runs"
SIDES = ["data", "held-out"] if PIXEL["source"] == "embedded" else ["data"]
HELD_OUT = f"{RUNS}/held-out" if "held-out" in SIDES else ""
ON_GPU = {"gpu": 1} if PIXEL["device"] == "cuda" else {}
_names = [run["name"] for run in PIXEL["runs"]]
if len(set(_names)) != len(_names):
    raise WorkflowError(f"imagenet.pixel.runs are named {_names}; allowed: no name twice; remedy: rename one")
if PIXEL["source"] != "embedded" and not os.path.exists(PIXEL["source"]):
    raise WorkflowError(
        f"imagenet.pixel.source = {PIXEL['source']!r} does not exist under {os.getcwd()}; allowed: embedded, a folder of images, "
        "a .npz pack or a folder of parquet files; remedy: correct the path"
    )


def launcher():
    """What starts a training: torchrun where several GPUs are visible."""
    if PIXEL["device"] == "cuda":
        import torch

        count = torch.cuda.device_count()
        if count > 1:
            return f"-m torch.distributed.run --standalone --nproc-per-node {count}"
    return ""


def run_folder(name, seed):
    return f"{RUNS}/{name.replace(' ', '-')}/{seed}"


def changes(wildcards):
    """What a run changes of the settings file, and its seed, as options of the command."""
    run = next(run for run in PIXEL["runs"] if run["name"].replace(" ", "-") == wildcards.run)
    return " ".join(f"--set {shlex.quote(change)}" for change in [*run["changes"], f"seed={wildcards.seed}"])


def swept(wildcards):
    """The whole sweep for the first two runs, what the switches compare for the others."""
    if wildcards.run in [name.replace(" ", "-") for name in _names[:2]]:
        return PIXEL["sweep"]
    return {"steps": PIXEL["switches"]["steps"], "samplers": [PIXEL["switches"]["sampler"]]}


# Packs and networks take long, so a comment must not make them anew: their rules watch what the code does, as a parameter.
# Of all that training imports, these show, count, store or draw, and no weight changes with them.
_NO_WEIGHT = {f"imagenet/{name}.py" for name in "checkpoint count denoiser failures generate knowledge monitor parts request resume table".split()}
_NO_WEIGHT |= {"theory/progress.py", "theory/record.py", "theory/sampler.py"}


def settings_of_training(path):
    """The settings file with those it stands on: networks depend on what they say, not on their comments."""
    try:
        with open(path, encoding="utf-8") as file:
            values = yaml.safe_load(file)
    except (OSError, yaml.YAMLError) as error:
        raise WorkflowError(
            f"imagenet.pixel.settings: {path} cannot be read ({error}); allowed: a YAML file; remedy: correct the path or the file"
        ) from None
    for key in ("base", "model"):
        if isinstance(values, dict) and isinstance(values.get(key), str):
            values[key] = settings_of_training(os.path.join(os.path.dirname(path), values[key]))
    return values


rule imagenet_pack:
    input:
        data=[] if PIXEL["source"] == "embedded" else [PIXEL["source"]],
    output:
        f"{RUNS}/{{side}}/meta.json",
    wildcard_constraints:
        side="data|held-out",
    params:
        source=PIXEL["source"],
        size=PIXEL["size"],
        patch=PIXEL["patch"],
        patches=PIXEL["patches_per_photograph"],
        small="" if PIXEL["source"] == "embedded" else "--upsample", # of ImageNet's, 1 % are smaller than 128 px, most than 512
        side=lambda wildcards: "--held-out" if wildcards.side == "held-out" else "",
        seed=config["seed"],
        folder=lambda wildcards: f"{RUNS}/{wildcards.side}",
        code=code_digest(project_files("imagenet.pack")),
    log:
        f"{RESULTS}/logs/imagenet/pack-{{side}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/imagenet/pack-{{side}}.tsv"
    threads: 1 if PIXEL["source"] == "embedded" else workflow.cores or 1 # the bytes do not depend on it
    priority: 2
    # A journal is a pack that was interrupted, and goes on; anything else there is of an earlier setting or code.
    shell:
        "if [ ! -e {params.folder:q}/journal.jsonl ]; then rm -rf {params.folder:q}; fi; "
        "{PYTHON:q} -m imagenet pack {params.source:q} --size {params.size} --patch {params.patch} --patches {params.patches}"
        " {params.side} {params.small} --seed {params.seed} --workers {threads} --out {params.folder:q} > {log:q} 2>&1"


rule imagenet_train:
    input:
        data=f"{RUNS}/data/meta.json",
    output:
        f"{RUNS}/{{run}}/{{seed}}/network.pt",
    params:
        settings=PIXEL["settings"],
        said=json.dumps(settings_of_training(PIXEL["settings"]), sort_keys=True),
        changes=changes,
        folder=lambda wildcards: f"{RUNS}/{wildcards.run}/{wildcards.seed}",
        data=f"{RUNS}/data",
        device=PIXEL["device"],
        code=code_digest(file for file in project_files("imagenet.train") if file not in _NO_WEIGHT),
        launcher=launcher(),
        minutes=f"--max-minutes {PIXEL['minutes']}" if PIXEL["minutes"] else "",
    log:
        f"{RESULTS}/logs/imagenet/train-{{run}}-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/imagenet/train-{{run}}-{{seed}}.tsv"
    threads: 1
    priority: 2 # the longest chain begins first
    resources:
        **ON_GPU,
    # Checkpoints are for going on after a kill: kept, they would end a training of changed code before it began.
    shell:
        "{PYTHON:q} {params.launcher} -m imagenet train {params.settings:q} --data {params.data:q} --out {params.folder:q} --device {params.device}"
        " {params.changes} {params.minutes} > {log:q} 2>&1 && rm -rf {params.folder:q}/checkpoints"


# What all sweeps are compared with. Its folder is made anew when data, settings or code change: no sweep reads an old one.
rule imagenet_reference:
    input:
        data=[f"{RUNS}/{side}/meta.json" for side in SIDES],
        code=project_files("imagenet.commands.reference"),
    output:
        directory(f"{RUNS}/reference"),
    params:
        data=f"{RUNS}/data",
        held_out=f"--held-out {HELD_OUT}" if HELD_OUT else "",
        images=PIXEL["sweep"]["images"],
        extractor=PIXEL["sweep"]["extractor"],
        device=PIXEL["device"],
    log:
        f"{RESULTS}/logs/imagenet/reference.log",
    benchmark:
        f"{RESULTS}/benchmarks/imagenet/reference.tsv"
    threads: 1
    priority: 2
    resources:
        **ON_GPU,
    shell:
        "{PYTHON:q} -m imagenet reference {params.data:q} {params.held_out} --out {output:q} --images {params.images}"
        " --extractor {params.extractor:q} --device {params.device} > {log:q} 2>&1"


# Pictures of all networks together are the gallery's. The journal is for going on after a kill, as checkpoints are.
rule imagenet_evaluate:
    input:
        data=[f"{RUNS}/{side}/meta.json" for side in SIDES],
        reference=rules.imagenet_reference.output,
        network=f"{RUNS}/{{run}}/{{seed}}/network.pt",
        code=project_files("imagenet.commands.evaluate"),
    output:
        f"{RUNS}/{{run}}/{{seed}}/evaluation/measured.nc",
    params:
        data=f"{RUNS}/data",
        held_out=f"--held-out {HELD_OUT}" if HELD_OUT else "",
        steps=lambda wildcards: ",".join(map(str, swept(wildcards)["steps"])),
        samplers=lambda wildcards: ",".join(swept(wildcards)["samplers"]),
        images=PIXEL["sweep"]["images"],
        ranges=PIXEL["sweep"]["seed_ranges"],
        extractor=PIXEL["sweep"]["extractor"],
        gamma=PIXEL["sweep"]["gamma"],
        seed=lambda wildcards: config["seed"] + int(wildcards.seed), # its own noise: bars over trainings then hold sampling too
        device=PIXEL["device"],
        quick="--bfloat16 --compile" if ON_GPU else "", # as its training; compiled if there is a compiler
        folder=lambda wildcards: f"{RUNS}/{wildcards.run}/{wildcards.seed}/evaluation",
    log:
        f"{RESULTS}/logs/imagenet/evaluate-{{run}}-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/imagenet/evaluate-{{run}}-{{seed}}.tsv"
    threads: 1
    priority: 1
    resources:
        **ON_GPU,
    shell:
        "{PYTHON:q} -m imagenet evaluate {input.network:q} --data {params.data:q} {params.held_out} --out {params.folder:q}"
        " --cache {input.reference:q} --no-pictures --steps {params.steps} --samplers {params.samplers:q} --images {params.images}"
        " --seed-ranges {params.ranges} --extractor {params.extractor:q} --gamma {params.gamma} --seed {params.seed}"
        " --device {params.device} {params.quick} > {log:q} 2>&1 && rm -f {params.folder:q}/journal.jsonl"


def of_runs(runs, file):
    """run → seed → path."""
    return {run["name"]: {str(seed): f"{run_folder(run['name'], seed)}/{file}" for seed in run["seeds"]} for run in runs}


def pixel_entry(runs, *, sweeps=True, networks=()):
    """An experiment on the sweeps of `runs` and the networks of the runs named."""
    files = {"data": f"{RUNS}/data", "held-out": HELD_OUT, "reference": f"{RUNS}/reference"}
    files |= {"sweeps": of_runs(runs, "evaluation/measured.nc") if sweeps else {}}
    files["checkpoints"] = of_runs([run for run in runs if run["name"] in networks], "network.pt")
    made = [path for kind in ("sweeps", "checkpoints") for of_seeds in files[kind].values() for path in of_seeds.values()]
    data = [f"{RUNS}/data/meta.json", files["reference"], *made]
    return {"category": "Pixel model", "section": "pixel", "data": data, "files": files, "resources": ON_GPU if networks else {}}


EXPERIMENTS["imagenet.few_steps"] = pixel_entry(PIXEL["runs"][:2])
EXPERIMENTS["imagenet.switches"] = pixel_entry(PIXEL["runs"], networks=_names[1:2])
EXPERIMENTS["imagenet.two_levels"] = pixel_entry(PIXEL["runs"][:1], sweeps=False, networks=_names[:1])
_gallery = pixel_entry(PIXEL["runs"], networks=_names[:2])


rule imagenet_gallery:
    input:
        data=_gallery["data"],
        code=project_files("imagenet.gallery"),
    output:
        table=f"{RUNS}/table.md",
        figures=report(
            expand(f"{RESULTS}/imagenet/gallery/{{name}}.svg", name=("samples", "steering", "spectra")),
            caption="gallery.rst",
            category="Pixel model",
            labels=lambda wildcards: {"experiment": "imagenet.gallery", "file": "pictures"},
        ),
    params:
        settings=json.dumps(PIXEL, sort_keys=True),
        files=json.dumps(_gallery["files"], sort_keys=True),
        seed=config["seed"],
        folder=f"{RESULTS}/imagenet/gallery",
    log:
        f"{RESULTS}/logs/imagenet/gallery.log",
    benchmark:
        f"{RESULTS}/benchmarks/imagenet/gallery.tsv"
    threads: 1
    resources:
        **_gallery["resources"],
    shell:
        "{PYTHON:q} -m imagenet.gallery --settings {params.settings:q} --files {params.files:q} --seed {params.seed}"
        " --out {params.folder:q} --table {output.table:q} > {log:q} 2>&1"


# What `make gpu` runs, for a machine that has snakemake too. Not part of `all`; goes on where it was stopped.
GPU = config["imagenet"]["gpu"]


rule gpu:
    output:
        f"results/reference/gpu/{GPU['size']}/provenance.json" if GPU["device"] == "cuda"
        else f"results/gpu/{GPU['size']}/report/provenance.json",
    params:
        data=f"--data {shlex.quote(GPU['data'])}" if GPU["data"] else "",
        weights=f"--weights {shlex.quote(GPU['weights'])}" if GPU["weights"] else "",
    log:
        f"{RESULTS}/logs/gpu.log",
    threads: 1
    resources:
        gpu=1,
    shell:
        "{PYTHON:q} -m imagenet.gpu run --size {GPU[size]} --device {GPU[device]} {params.data} {params.weights} > {log:q} 2>&1"
