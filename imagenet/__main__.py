"""`python -m imagenet COMMAND`: pack images, train the pixel model, draw from it, evaluate, count; design a noise grid."""

from __future__ import annotations

import importlib

import click

# A command is imported when it is asked for: `count` needs no pictures, `pack` no network.
COMMANDS = {
    "pack": "Pack images for training, with their spectra.",
    "train": "Train a pixel model.",
    "average": "Average the weights of a training over any length, after the fact.",
    "export": "Write the weights of a checkpoint alone.",
    "generate": "Draw images from a trained model.",
    "reference": "See the training images through the extractors, for evaluate.",
    "evaluate": "Measure the quality of samples against the number of steps.",
    "count": "Parameters, operations and memory of the models.",
    "design": "Recommend noise levels for your images or latents.",
}


class Commands(click.Group):
    """The modules of imagenet/commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        found: click.Command = importlib.import_module(f"imagenet.commands.{name}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=Commands)
def main() -> None:
    """Images, latents and the pixel model."""


if __name__ == "__main__":
    main()
