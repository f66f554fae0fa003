"""Numbers the papers report, beside which ours are printed. Each says how well we know it.

"second-hand": from an abstract, a summary or another paper's table, not from the paper's own text, which was not at hand.
FIDs of 50,000 images against ImageNet's training set; class-conditional, with guidance in an interval.
"""

from __future__ import annotations

from dataclasses import dataclass

_SID2 = "Hoogeboom et al., Simpler Diffusion, arXiv 2410.19324"
_SPECTRAL = "Esteves and Makadia, Spectrally-Guided Diffusion Noise Schedules, arXiv 2603.19222, abstract"
SECOND_HAND = "second-hand"


@dataclass(frozen=True)
class Target:
    """One reported number. resolution in px, None for all; evaluations None where the source at hand does not say."""

    what: str
    resolution: int | None
    metric: str
    value: float
    unit: str
    evaluations: int | None
    source: str
    status: str


TARGETS = (
    Target("SiD2, flop-heavy L", 256, "FID", 1.73, "", None, _SID2, SECOND_HAND),
    Target("SiD2, flop-heavy X", 256, "FID", 1.38, "", None, _SID2, SECOND_HAND),
    Target("SiD2, flop-heavy L", 512, "FID", 2.19, "", None, _SID2, SECOND_HAND),
    Target("SiD2, flop-heavy X", 512, "FID", 1.48, "", None, _SID2, SECOND_HAND),
    Target("spectral against SiD2", None, "gain in FID", 15.0, " %", 32, _SPECTRAL, SECOND_HAND),
)
UNKNOWN = "SiD2 reports ImageNet 128 too, as the best of its time; its FID there was not at hand, so no number stands here."
EQUAL_IMAGES = 50_000  # of a published FID: ours with another number of images is not put beside it
