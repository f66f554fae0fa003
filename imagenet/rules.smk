# Experiments on real images. Entries as in synthetic/rules.smk; `data` names images that are not inside a wheel.

_source = config["imagenet"]["spectra"]["source"]
if _source != "embedded" and not os.path.exists(_source):
    raise WorkflowError(
        f"imagenet.spectra.source = {_source!r} does not exist under {os.getcwd()}; "
        "allowed: embedded, a folder of images, or a .npz pack; remedy: correct the path"
    )

EXPERIMENTS["imagenet.spectra"] = {"category": "Real images", "data": [] if _source == "embedded" else [_source]}
