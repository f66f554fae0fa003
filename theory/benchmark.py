"""How much longer 1000 spectra take than the Fourier transform they cannot do without.

`python -m theory.benchmark OUT.json` times `theory.spectrum.rapsd` against one bare call of torch.fft.rfft2 on the
same batch, and the whole way from images to fitted spectra. Best of several runs each, interleaved, so that load on
the machine hits both. Times depend on the machine, so they are a benchmark, not a result: nothing reads them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import click
import torch
from torch import Tensor

from theory.record import atomic_text
from theory.spectrum import fit_power_law, isotonic, rapsd, rings

LIMIT = 1.6  # what the project promises for the first ratio


def spectrum_cost(threads: int, images: int, size: int, channels: int = 3, repeats: int = 7) -> dict[str, float]:
    """Seconds of each stage for float32 images (images, channels, size, size), and their ratios to the bare FFT."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(images, channels, size, size, generator=generator)
        table = rings(size, size)

        def design() -> Tensor:
            power = rapsd(x, "hann")
            fit_power_law(power, table)
            return isotonic(power, table)

        stages: dict[str, Callable[[], Tensor]] = {
            "fft": lambda: torch.fft.rfft2(x, norm="ortho"),
            "rapsd": lambda: rapsd(x),
            "rapsd_hann": lambda: rapsd(x, "hann"),
            "rapsd_hann_fit_isotonic": design,
        }
        best = dict.fromkeys(stages, float("inf"))
        for _ in range(repeats):
            for name, stage in stages.items():
                stage()  # its own warm-up: buffers of the stage before are no longer in reach
                start = time.perf_counter()
                stage()
                best[name] = min(best[name], time.perf_counter() - start)
    finally:
        torch.set_num_threads(before)
    ratios = {f"{name}_to_fft": best[name] / best["fft"] for name in stages if name != "fft"}
    return {"threads": threads, "images": images, "size": size, "channels": channels, **best, **ratios}


@click.command()
@click.argument("out", type=click.Path(dir_okay=False))
@click.option("--threads", type=click.IntRange(min=1), multiple=True, default=(1, 2), show_default=True)
@click.option("--images", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option("--size", type=click.IntRange(min=6), default=128, show_default=True)
def main(out: str, threads: tuple[int, ...], images: int, size: int) -> None:
    """Time the spectra; write seconds and ratios to OUT as JSON and print the ratios."""
    rows = [spectrum_cost(count, images, size) for count in threads]
    for row in rows:
        ratios = ", ".join(f"{name.removesuffix('_to_fft')} {row[name]:.2f}" for name in row if name.endswith("_to_fft"))
        shape = f"{images} × 3 × {size} × {size}"
        click.echo(f"{row['threads']} thread(s), {shape}, times the bare FFT: {ratios} (limit for rapsd: {LIMIT})")
    atomic_text(out, json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
