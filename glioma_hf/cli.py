"""The command line: thin, every command loads what it needs when it runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from glioma_hf.errors import InputError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The Glioma C6 cell segmentation benchmark.")
data_app = typer.Typer(no_args_is_help=True, help="Make and prepare data sets.")
app.add_typer(data_app, name="data")
err = Console(stderr=True, highlight=False, soft_wrap=True)


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("quickstart"),
    archive: Annotated[
        Path | None, typer.Option(help="Zip or folder in the Glioma C6 layout; generated if left out.")
    ] = None,
    image: Annotated[int, typer.Option(help="Number of the training image, from 1.")] = 1,
) -> None:
    """The main job, offline: archive, data set, LoRA from one image, predictions, scores, report."""
    from glioma_hf.benchmark.quickstart import quickstart as run

    quiet_libraries()
    scores = run(out, archive, image, say=err.print)
    for name, row in scores["models"].items():
        typer.echo(f"{name}: AP50 {row['ap50']:.3f}, precision {row['precision']:.3f}, recall {row['recall']:.3f}")
    typer.echo(f"open {out / 'report.html'}")


@data_app.command()
def synthesize(
    out: Annotated[Path, typer.Option(help="The zip to write.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    train: Annotated[int, typer.Option(min=0)] = 4,
    valid: Annotated[int, typer.Option(min=0)] = 2,
    test: Annotated[int, typer.Option(min=0)] = 2,
    gen: Annotated[int, typer.Option(min=0)] = 2,
    width: Annotated[int, typer.Option(min=64, max=8192)] = 512,
    height: Annotated[int, typer.Option(min=64, max=8192)] = 384,
) -> None:
    """An archive in the Glioma C6 layout, of generated images."""
    from glioma_hf.data.synthetic import SceneConfig
    from glioma_hf.data.synthetic_archive import SyntheticArchiveConfig, write_synthetic_archive

    scene = SceneConfig(width=width, height=height)
    config = SyntheticArchiveConfig(train=train, valid=valid, test=test, gen=gen, scene=scene)
    write_synthetic_archive(out, seed, config, progress=err.print)
    typer.echo(f"wrote {out}")


@data_app.command()
def prepare(
    archive: Annotated[Path, typer.Option(help="Zip or folder in the Glioma C6 layout.")],
    out: Annotated[Path, typer.Option(help="Folder that load_dataset will open.")],
) -> None:
    """Glioma C6 archive -> a folder that load_dataset opens."""
    from glioma_hf.data.publishing import prepare as run

    for split in run(archive, out, progress=err.print):
        counts = ", ".join(f"{count} {name}" for name, count in split.objects.items() if count)
        typer.echo(f"{split.subset}/{split.split}: {split.images} images, {counts or 'no objects'}")


@app.command()
def demo(
    port: Annotated[int | None, typer.Option(help="Port on localhost; a free one if left out.")] = None,
) -> None:
    """The Gradio page on localhost."""
    from glioma_hf.resources import load_script

    quiet_libraries()
    load_script("spaces/demo/app.py").launch(server_name="127.0.0.1", server_port=port)


def quiet_libraries() -> None:
    """No chatter and no look-ups on the network from the libraries below."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    import warnings

    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module="peft")


def main() -> None:
    """Entry point: bad input becomes one line and exit code 2."""
    try:
        app()
    except InputError as error:
        err.print(f"glioma-hf: {error}", markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("glioma-hf: stopped")
        sys.exit(130)


if __name__ == "__main__":
    main()
