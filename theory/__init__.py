"""The ground floor: schedules, laws with exact posterior means, samplers, spectra, and the ledger of claims.

It imports neither `synthetic` nor `imagenet`; both stand on it. This file stays light: the workflow imports it.
"""

__version__ = "0.1.0"
