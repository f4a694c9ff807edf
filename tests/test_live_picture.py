"""In a notebook the mix draws itself while ``fit`` runs: one output, which is the whole run in the end."""

import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from histories import made_up
from kernels import ForkedKernelManager
from learn2mix.lightning.notebook import LivePicture, in_notebook
from learn2mix.run_page.picture import picture

pytestmark = pytest.mark.filterwarnings("ignore")  # what Jupyter warns of is not ours

FIT = """
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import TensorDataset
from learn2mix import Learn2Mix, MixedBatchSampler, MixedLoader, MixingCallback, PerSampleLoss
from learn2mix.lightning import notebook


class Module(LightningModule):
    def __init__(self):
        super().__init__()
        self.model = nn.Linear(2, 2)
        self.criterion = PerSampleLoss(nn.CrossEntropyLoss(reduction="none"))

    def training_step(self, batch, batch_idx):
        return self.criterion(self.model(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


labels = torch.tensor([0] * 30 + [1] * 10)
sampler = MixedBatchSampler([["cat", "dog"][label] for label in labels], Learn2Mix(), batch_size=4)
loader = MixedLoader(TensorDataset(torch.randn(40, 2), labels), sampler)
quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
"""
RUN = 'Trainer(max_epochs=2, accelerator="cpu", callbacks=[MixingCallback()], **quiet).fit(Module(), loader)'
WITHOUT = RUN.replace("MixingCallback()", "MixingCallback(live_picture=False)")
AFTER_EACH_BATCH = "notebook.LivePicture.__init__.__defaults__ = (0.0,); notebook.MOST_OF_THE_TIME = 1e9"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """What the cells put out, and the messages of the second run, one per drawing."""
    from nbclient import NotebookClient

    notebook = new_notebook(cells=[new_code_cell(code) for code in (FIT, RUN, AFTER_EACH_BATCH, RUN, WITHOUT)])
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    messages = []

    class Client(NotebookClient):
        def process_message(self, message, cell, cell_index):
            if cell_index == 3 and message["msg_type"] in ("display_data", "update_display_data"):
                messages.append(message)
            return super().process_message(message, cell, cell_index)

    folder = tmp_path_factory.mktemp("notebook")
    where = {"metadata": {"path": str(folder)}}
    ran = Client(notebook, timeout=120, resources=where, kernel_manager_class=ForkedKernelManager).execute()
    nbformat.validate(ran)
    return [cell.outputs for cell in ran.cells], messages


def test_one_picture_remains_of_each_run_and_shows_all_of_it(outputs):
    cells, _ = outputs
    for shown, num_batches in ((cells[1], 20), (cells[3], 40)):
        (output,) = [output for output in shown if output.output_type != "stream"]
        assert output.output_type == "display_data"
        svg = output.data["image/svg+xml"]
        assert f"{num_batches} batches: " in svg
        assert "cat" in svg
        assert "dog" in svg


def test_there_is_none_where_none_is_wanted(outputs):
    cells, _ = outputs
    assert [output for output in cells[4] if output.output_type != "stream"] == []


def test_later_drawings_take_the_place_of_the_first(outputs):
    _, messages = outputs
    kinds = [message["msg_type"] for message in messages]
    assert kinds[0] == "display_data"
    assert set(kinds[1:]) == {"update_display_data"}
    assert len(kinds) == 1 + 20 + 1  # at the start, after each batch, at the end
    assert len({message["content"]["transient"]["display_id"] for message in messages}) == 1


def test_outside_of_a_notebook_nothing_is_drawn_or_imported(capsys, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "IPython"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "IPython", None)  # whoever imports it gets an error
    exec(FIT + RUN, {"__name__": "run"})
    assert not in_notebook()
    assert capsys.readouterr().out == ""


def test_it_does_not_draw_where_it_was_not_started():
    live = LivePicture(0.0)
    assert not in_notebook()
    for call in (live.start, live.update, live.stop):
        call(None)  # it asks nothing of a sampler


def test_a_picture_is_alone_in_the_page_that_it_is_put_in():
    svg = picture(made_up(10, 60))
    style = svg.partition("<style>")[2].partition("</style>")[0]
    rules = [rule.strip() for rule in style.split("}") if rule.strip()]
    assert rules
    assert all(rule.startswith(".learn2mix ") for rule in rules)
