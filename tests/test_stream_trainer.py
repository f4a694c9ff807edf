"""A stream under the Trainer: steered, logged and resumed like a sampler."""

import itertools

import numpy as np
import pytest
from pytorch_lightning.callbacks import ModelCheckpoint

from learn2mix import FixedMix, Learn2Mix, MixedLoader, MixedStream, MixingCallback
from lightning_modules import BENIGN, LABELS, Data, Recorder, make_trainer, real_net

pytestmark = pytest.mark.filterwarnings(*BENIGN, "ignore:.*does not have a length", "ignore:Your `IterableDataset` has")
NUM_BATCHES, NUM_EPOCHS, STOP = 6, 3, 10


def make_stream(mixer, **settings):
    data = Data()
    sources = {f"class {label}": [data[index] for index in (label == LABELS).nonzero()[0]] for label in range(3)}
    return MixedStream(sources, mixer, batch_size=8, **settings)


def fit(tmp_path, num_workers, callbacks=(), ckpt_path=None, stream=None, limit=NUM_BATCHES):
    module, mixing = real_net(), MixingCallback()
    record = Recorder(mixing)
    trainer = make_trainer(tmp_path, [mixing, record, *callbacks], max_epochs=NUM_EPOCHS, limit_train_batches=limit)
    stream = stream or make_stream(Learn2Mix(0.5))
    trainer.fit(module, MixedLoader(stream, num_workers=num_workers), ckpt_path=ckpt_path)
    weights = [parameter.flatten().tolist() for parameter in module.net.parameters()]
    return record, weights, mixing


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_run_is_steered_and_a_resumed_run_is_unbroken(tmp_path, num_workers):
    middle = ModelCheckpoint(dirpath=tmp_path, filename="{step}", every_n_train_steps=STOP, save_top_k=-1)
    record, weights, mixing = fit(tmp_path, num_workers, [middle])
    assert len(record.steps) == NUM_BATCHES * NUM_EPOCHS
    assert len({tuple(mix) for mix, _ in record.steps}) > NUM_EPOCHS
    for indices, (_, counts) in zip(record.indices, record.steps, strict=True):
        assert [sum(LABELS[index] == label for index in indices) for label in range(3)] == counts
        assert sum(counts) == 8
    times = np.bincount(list(itertools.chain(*record.indices)), minlength=len(LABELS))
    for label in range(3):  # passes go on across epochs
        assert np.ptp(times[label == LABELS]) <= 1
    assert mixing.sampler.group_names == ["class 0", "class 1", "class 2"]

    rest, weights_at_the_end, _ = fit(tmp_path, num_workers, ckpt_path=tmp_path / f"step={STOP}.ckpt")
    assert rest.indices == record.indices[STOP:]
    assert rest.steps == record.steps[STOP:]
    assert weights_at_the_end == weights


@pytest.mark.parametrize("num_workers", [0, 2])
def test_also_where_the_data_end_before_the_trainer_s_epoch_would(tmp_path, num_workers):
    """Lightning learns that only when it asks for one batch more: after the checkpoint of the last one."""

    def stream():
        return make_stream(FixedMix("uniform"), on_exhausted="stop_first")

    same = stream()
    ends = list(itertools.accumulate(sum(1 for _ in same) for _ in range(NUM_EPOCHS)))
    settings = {"num_workers": num_workers, "limit": ends[0] + 1}
    every = ModelCheckpoint(dirpath=tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    record, weights, _ = fit(tmp_path, callbacks=[every], stream=stream(), **settings)
    assert len(record.steps) == ends[-1]
    for end in ends[:-1]:
        rest, weights_at_the_end, _ = fit(
            tmp_path, ckpt_path=tmp_path / f"step={end}.ckpt", stream=stream(), **settings
        )
        assert rest.indices == record.indices[end:]
        assert weights_at_the_end == weights
