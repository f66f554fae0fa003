# Experiments on laws with exact answers. An entry needs: a module with the five names of theory/experiment.py,
# a section of the same name in config/default.yaml and config/schema.json, and a caption <module>.rst beside it.

EXPERIMENTS["synthetic.dichotomy"] = {"category": "Synthetic laws", "data": []}
