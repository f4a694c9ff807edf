"""Run notebooks and store them with their pictures: ``python tests/notebooks.py [FILE ...]``, all without a name."""

import base64
import copy
import io
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from PIL import Image

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NUM_COLORS = 64
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
# Small pictures, drawn as they are on every machine.
KERNEL_ARGUMENTS = ["--InlineBackend.rc={'figure.dpi': 80}"]
EPOCHS = re.compile(r"\b((?:num|max)_epochs)=\d+")


def execute(notebook: nbformat.NotebookNode, folder: Path, timeout: int = 180, **options: Any) -> nbformat.NotebookNode:
    """Run a notebook in a folder, from top to bottom; an error in a cell is raised. Options are nbclient's."""
    from nbclient import NotebookClient

    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    where = {"metadata": {"path": str(folder)}}
    settings = {"timeout": timeout, "resources": where, "extra_arguments": KERNEL_ARGUMENTS} | options
    return NotebookClient(notebook, **settings).execute()


def shortened(notebook: nbformat.NotebookNode, num_epochs: int = 2) -> nbformat.NotebookNode:
    """The same notebook with all that it trains trained for so many epochs: each line runs, and nothing is learned."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = EPOCHS.sub(rf"\1={num_epochs}", cell.source)
    return notebook


def cleaned(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Take out what differs from run to run or from machine to machine: times, warnings, logs; shrink the pictures."""
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [_small(output) for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def kinds(cell: nbformat.NotebookNode) -> list[str]:
    """What a cell put out, without what it said: one word for text, one per picture or page."""
    found: list[str] = []
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            found += [output.name] if output.name != "stderr" and found[-1:] != [output.name] else []
        else:
            found.append(output.output_type if "data" not in output else " ".join(sorted(output.data)))
    return found


def _small(output: Any) -> Any:
    data = output.get("data", {})
    if "metadata" in output:
        output.metadata = {}
    if "image/png" in data:
        drawn = io.BytesIO()
        picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("RGB")
        picture.quantize(NUM_COLORS, dither=Image.Dither.NONE).save(drawn, "PNG", optimize=True)
        data["image/png"] = base64.b64encode(drawn.getvalue()).decode()
    if "text/plain" in data:
        data["text/plain"] = re.sub(r" at 0x[0-9a-f]+", "", data["text/plain"])
    return output


if __name__ == "__main__":
    for named in [Path(argument) for argument in sys.argv[1:]] or NOTEBOOKS:
        with tempfile.TemporaryDirectory() as folder:
            stored = cleaned(execute(nbformat.read(named, as_version=4), Path(folder)))
        nbformat.write(stored, named)
        print(named.name, f"{named.stat().st_size / 1000:.0f} kB")
