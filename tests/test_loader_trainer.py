"""The zero-lag loader under the Trainer: the run of a loader without workers, also across a stop."""

import pytest
from pytorch_lightning.callbacks import ModelCheckpoint

from learn2mix import MixingCallback
from learn2mix.batches.loader import ZeroLagLoader
from lightning_modules import BENIGN, Data, Recorder, fit, make_sampler, make_trainer, real_net

pytestmark = pytest.mark.filterwarnings(*BENIGN)


def fit_without_lag(tmp_path, num_epochs, *callbacks, ckpt_path=None, num_workers=2):
    module, mixing = real_net(), MixingCallback()
    record = Recorder(mixing)
    loader = ZeroLagLoader(Data(), make_sampler(), num_workers=num_workers)
    trainer = make_trainer(tmp_path, [mixing, record, *callbacks], max_epochs=num_epochs)
    trainer.fit(module, loader, ckpt_path=ckpt_path)
    return record, [parameter.flatten().tolist() for parameter in module.net.parameters()]


def test_a_run_and_a_resumed_run_are_those_without_workers(tmp_path):
    unbroken = fit(tmp_path, real_net(), max_epochs=3)
    middle = ModelCheckpoint(dirpath=tmp_path / "saved", filename="{step}", every_n_train_steps=11, save_top_k=-1)
    record, weights = fit_without_lag(tmp_path, 3, middle)
    assert (record.indices, record.steps, weights) == (unbroken.indices, unbroken.steps, unbroken.weights)
    assert set(record.lags) == {0}
    stopped_at_11 = tmp_path / "saved" / "step=11.ckpt"
    rest, weights = fit_without_lag(tmp_path, 3, ckpt_path=stopped_at_11, num_workers=1)
    assert (rest.indices, rest.steps) == (unbroken.indices[11:], unbroken.steps[11:])
    assert weights == unbroken.weights
