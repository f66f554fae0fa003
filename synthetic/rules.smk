# Experiments on laws with exact answers. An entry needs: a module with the five names of theory/experiment.py,
# a section of the same name in config/default.yaml and config/schema.json, and a caption <module>.rst beside it.

EXPERIMENTS["synthetic.dichotomy"] = {"category": "Synthetic laws", "data": [], "priority": 1}
EXPERIMENTS["synthetic.recovery"] = {"category": "Synthetic laws", "data": []}
EXPERIMENTS["synthetic.window"] = {"category": "Spectral testbed", "data": []}
EXPERIMENTS["synthetic.per_image"] = {"category": "Spectral testbed", "data": []}
EXPERIMENTS["synthetic.told"] = {"category": "Spectral testbed", "data": []}
EXPERIMENTS["synthetic.conditioning"] = {"category": "Spectral testbed", "data": []}
EXPERIMENTS["synthetic.crossover"] = {"category": "Spectral testbed", "data": []}
EXPERIMENTS["synthetic.bias"] = {"category": "Spectral testbed", "data": []}
EXPERIMENTS["synthetic.step_count"] = {"category": "Synthetic laws", "data": []}
EXPERIMENTS["synthetic.atlas"] = {"category": "Synthetic laws", "data": [], "priority": 1}
EXPERIMENTS["synthetic.hierarchy"] = {"category": "Synthetic laws", "data": []}
EXPERIMENTS["synthetic.learned"] = {"category": "Synthetic laws", "data": []}
EXPERIMENTS["synthetic.two_mode"] = {"category": "Synthetic laws", "data": []}
EXPERIMENTS["synthetic.spins"] = {"category": "Synthetic laws", "data": []}
EXPERIMENTS["synthetic.portrait"] = {"category": "Synthetic laws", "data": []}
