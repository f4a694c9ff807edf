"""Searches before the training, and steps and loaders of the Trainer that are not what they seem."""

import pytest
import torch
from pytorch_lightning.callbacks import BatchSizeFinder
from pytorch_lightning.tuner import Tuner

import lightning_modules as tools
from learn2mix import Learn2Mix, MixedLoader, MixingCallback
from lightning_modules import EPOCH

pytestmark = [
    pytest.mark.filterwarnings(*tools.BENIGN),
    # Of Lightning, in a search.
    pytest.mark.filterwarnings("ignore:.*many workers", "ignore:.*logging interval", "ignore:.*dataloader_iter"),
    pytest.mark.filterwarnings("ignore:You requested to overfit"),
]
one_thread = tools.one_thread


class Net(tools.module_class()):
    """Its learning rate and batch size may be searched for; keeps the indices that it was given."""

    lr, batch_size, validation_step = 0.02, tools.BATCH_SIZE, None

    def __init__(self, make_sampler=None):
        super().__init__("criterion", criterion=torch.nn.CrossEntropyLoss(reduction="none"))
        self.seen, self.make_sampler = [], make_sampler

    def train_dataloader(self):
        self.sampler = self.make_sampler(batch_size=self.batch_size)
        return MixedLoader(tools.Data(), self.sampler)

    def training_step(self, batch, batch_idx):
        self.seen.append(batch[2].tolist())
        return super().training_step(batch, batch_idx)


def sampler_of(seed=0, **settings):
    return tools.make_sampler(Learn2Mix(0.5), seed=seed, **settings)


def trainer_of(tmp_path, *callbacks, **settings):
    return tools.make_trainer(tmp_path, [*callbacks, MixingCallback()], **settings)


def trained(tmp_path, sampler):
    """What a run without a search is given."""
    net = Net()
    trainer_of(tmp_path).fit(net, MixedLoader(tools.Data(), sampler))
    return net.seen


@pytest.mark.parametrize("then", ["the same", "another"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_tuner_leaves_no_trace(tmp_path, num_workers, then):
    sampler, net, trainer = sampler_of(), Net(), trainer_of(tmp_path)
    Tuner(trainer).lr_find(net, MixedLoader(tools.Data(), sampler, num_workers=num_workers), num_training=5)
    assert len(net.seen) == 5
    assert sampler.draws.sum() == sampler.lag == 0
    net.seen.clear()
    if then == "another":
        sampler = sampler_of(seed=11)
    trainer.fit(net, MixedLoader(tools.Data(), sampler, num_workers=0))
    assert sampler.seed == (11 if then == "another" else 0)
    assert net.seen == trained(tmp_path, sampler_of(seed=sampler.seed))


def test_neither_does_a_search_for_a_batch_size_within_fit(tmp_path):
    net = Net(sampler_of)
    trainer_of(tmp_path, BatchSizeFinder(mode="power", init_val=6, max_trials=2, steps_per_trial=2)).fit(net)
    assert net.sampler.batch_size == net.batch_size == 12
    assert net.seen[-2 * len(net.sampler) :] == trained(tmp_path, sampler_of(batch_size=12))


def test_overfit_batches_with_a_loader_of_ours(tmp_path):
    with pytest.raises(ValueError, match=r"subclass.*; .* pass Trainer\(limit_train_batches=2\), which does the same"):
        trainer_of(tmp_path, overfit_batches=2).fit(Net(), MixedLoader(tools.Data(), sampler_of()))


class TestSeveralBatchesInAStep:
    @staticmethod
    def net_of(returns):
        class TwoAtATime(tools.module_class()):
            def training_step(self, dataloader_iter):
                batches = [next(dataloader_iter)[0] for _ in range(2)]
                losses = [torch.nn.functional.cross_entropy(self.net(x), y, reduction="none") for x, y, _ in batches]
                outputs = {"loss": losses[0].mean() + losses[1].mean()}
                return outputs | returns([y for _, y, _ in batches], losses)

        return TwoAtATime()

    def test_a_step_that_takes_two_batches(self, tmp_path):
        net = self.net_of(lambda labels, losses: {"losses": losses[1]})
        with pytest.raises(RuntimeError, match=r'took 2 batches .*MixingCallback\(groups="labels"\)'):
            trainer_of(tmp_path).fit(net, MixedLoader(tools.Data(), sampler_of()))

    def test_may_return_their_losses_with_labels(self, tmp_path):
        told = []

        class Told(Learn2Mix):
            def update(self, losses, info=None):
                told.append(info.counts.sum())

        net = self.net_of(lambda labels, losses: {"losses": torch.cat(losses), "labels": torch.cat(labels)})
        trainer = tools.make_trainer(tmp_path, [MixingCallback(groups="labels")], max_epochs=1)
        trainer.fit(net, MixedLoader(tools.Data(), tools.make_sampler(Told())))
        assert told == [2 * tools.BATCH_SIZE] * (EPOCH // 2)
