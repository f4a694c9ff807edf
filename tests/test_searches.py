"""Searches before the training, and steps and loaders of the Trainer that are not what they seem."""

import pytest
import torch
from pytorch_lightning.callbacks import BatchSizeFinder
from pytorch_lightning.tuner import Tuner
from torch.nn import functional as F
from torch.utils.data import DataLoader

import lightning_modules as tools
from learn2mix import AnnealedMix, Learn2Mix, MixAdjustedLoss, MixedLoader, MixedStream, MixingCallback
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


class NetOfItsMix(Net):
    """Trains on a loss that knows the mix of its batch; keeps each loss with the logits and targets that it is of."""

    def __init__(self, make_sampler=None):
        super().__init__(make_sampler)
        self.criterion, self.steps = MixAdjustedLoss(), []

    def training_step(self, batch, batch_idx):
        logits = self.net(batch[0])
        loss = self.criterion(logits, batch[1])
        self.steps.append((loss.item(), logits.detach(), batch[1]))
        return loss


END = [0.1, 0.3, 0.6]


def annealed(start):
    return AnnealedMix(start, END, num_steps=5)


def mix_of(step):
    return (1 - step / 4) / 3 + step / 4 * torch.tensor(END)


def joined(samples):
    return [torch.cat(column) for column in zip(*samples, strict=True)]


def loader_of(kind, mixer):
    if kind == "stream":
        features, labels = tools.Data().features, tools.Data().labels
        sources = [[(features[index], labels[index]) for index in (labels == label).nonzero()] for label in range(3)]
        return MixedLoader(MixedStream(sources, mixer, batch_size=tools.BATCH_SIZE, collate_fn=joined))
    sampler = tools.make_sampler(mixer)
    if kind == "DataLoader":
        return DataLoader(tools.Data(), batch_sampler=sampler)
    return MixedLoader(tools.Data(), sampler, num_workers=int(kind[-1]))


@pytest.mark.parametrize("kind", ["MixedLoader, 0", "MixedLoader, 2", "DataLoader", "stream"])
@pytest.mark.parametrize("start", [lambda: "uniform", lambda: Learn2Mix(initial="uniform")], ids=["fixed", "learn2mix"])
def test_a_loss_that_knows_its_mix_has_that_of_each_batch_of_a_search(tmp_path, kind, start):
    net, trainer = NetOfItsMix(), trainer_of(tmp_path)
    Tuner(trainer).lr_find(net, loader_of(kind, annealed(start())), num_training=5)
    assert len(net.steps) == 5
    for step, (loss, logits, targets) in enumerate(net.steps):
        mix = mix_of(step)
        assert loss == pytest.approx(F.cross_entropy(logits + (3 * mix).log(), targets).item(), abs=1e-6)


def test_so_it_does_where_a_search_makes_loaders_anew(tmp_path):
    net = NetOfItsMix(lambda **settings: tools.make_sampler(annealed("uniform"), **settings))
    trainer_of(tmp_path, BatchSizeFinder(mode="power", init_val=6, max_trials=2, steps_per_trial=2)).fit(net)
    searched = net.steps[: -2 * len(net.sampler)]
    assert {len(targets) for _, _, targets in searched} >= {12}
    for number, (loss, logits, targets) in enumerate(searched):
        mix = mix_of(number % 2)  # of two steps for each size
        assert loss == pytest.approx(F.cross_entropy(logits + (3 * mix).log(), targets).item(), abs=1e-6)


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
        sampler = sampler_of()
        with pytest.raises(RuntimeError, match=r'took 2 batches .*MixingCallback\(groups="labels"\)'):
            trainer_of(tmp_path).fit(net, MixedLoader(tools.Data(), sampler))
        assert sampler.last_observed is None

    def test_may_return_their_losses_with_labels(self, tmp_path):
        told = []

        class Told(Learn2Mix):
            def update(self, losses, info=None):
                told.append(info.counts.sum())

        net = self.net_of(lambda labels, losses: {"losses": torch.cat(losses), "labels": torch.cat(labels)})
        trainer = tools.make_trainer(tmp_path, [MixingCallback(groups="labels")], max_epochs=1)
        trainer.fit(net, MixedLoader(tools.Data(), tools.make_sampler(Told())))
        assert told == [2 * tools.BATCH_SIZE] * (EPOCH // 2)
