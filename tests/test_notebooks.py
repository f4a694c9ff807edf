"""The notebooks are stored with what they show, and run from top to bottom, offline, to show the same again."""

import re

import nbformat
import pytest

from kernels import ForkedKernelManager
from notebooks import KERNEL, NOTEBOOKS, execute, kinds, shortened

MOST_BYTES = 1_500_000  # of all together

pytestmark = pytest.mark.filterwarnings("ignore")  # what Jupyter warns of is not ours
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def outputs_of(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_there_are_six_and_they_are_small():
    assert len(NOTEBOOKS) == 6
    assert sum(path.stat().st_size for path in NOTEBOOKS) < MOST_BYTES


@each
def test_it_is_stored_with_its_pictures_and_no_noise(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "run python tests/notebooks.py"
    outputs = outputs_of(notebook)
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert {output.name for output in outputs if output.output_type == "stream"} <= {"stdout"}
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output.get("metadata") for output in outputs)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec == KERNEL
    texts = [output.get("text", "") or output.data.get("text/plain", "") for output in outputs]
    for text in texts:
        assert not re.search(r"/(home|root|tmp|Users)/|0x[0-9a-f]{6}|\r|\x1b", text), text


@each
def test_it_runs_and_shows_what_is_stored(path, tmp_path, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # whoever asks the network is told no
    stored = nbformat.read(path, as_version=4)
    again = execute(shortened(stored), tmp_path, kernel_manager_class=ForkedKernelManager)
    assert [kinds(cell) for cell in again.cells] == [kinds(cell) for cell in stored.cells]
