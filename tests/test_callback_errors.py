"""Where MixingCallback cannot do its work it stops, at the start or at the first batch, and says what to change."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, Sampler

import lightning_modules as tools
from learn2mix import FixedMix, Learn2Mix, MixingCallback, PerSampleLoss
from learn2mix.lightning.finding import check_split
from lightning_modules import NAMESPACES, fit, net

pytestmark = pytest.mark.filterwarnings(*tools.BENIGN)
one_thread = tools.one_thread


def stops(tmp_path, module, loader, mixing=None, **settings):
    """Fit and return the module, so that a test can say how far it came."""
    mixing = mixing or MixingCallback()
    tools.make_trainer(tmp_path, [mixing], **settings).fit(module, loader)


class Subclass(MixingCallback):
    """Has another key for its state, so Lightning takes it beside the first one."""


class TestSettings:
    @pytest.mark.parametrize("losses", [1, ["losses"], True, torch.ones(3)])
    def test_losses_of_another_type(self, losses):
        message = f"losses must be None, a key or a function, got {type(losses).__name__}"
        with pytest.raises(TypeError, match=message):
            MixingCallback(losses=losses)

    def test_the_sampler_before_training(self):
        with pytest.raises(RuntimeError, match="no sampler is known before training starts"):
            MixingCallback().sampler  # noqa: B018
        assert MixingCallback().state_dict() == {}

    def test_a_sampler_that_splits_batches_otherwise_than_the_trainer(self):
        trainer = SimpleNamespace(distributed_sampler_kwargs={"num_replicas": 2, "rank": 1}, strategy=None)
        with pytest.raises(RuntimeError, match=r"has it as 0 of 1; .*num_replicas=2, rank=1\)"):
            check_split(trainer, tools.make_sampler())

    def test_two_callbacks(self, tmp_path):
        trainer = tools.make_trainer(tmp_path, [MixingCallback(), Subclass()])
        module = net()
        with pytest.raises(RuntimeError, match="the Trainer has more than one; a sampler takes its losses only once"):
            trainer.fit(module, tools.make_loader(tools.make_sampler()))
        assert module.num_steps == 0

    def test_two_callbacks_of_one_class(self, tmp_path):
        with pytest.raises(RuntimeError, match="more than one stateful callback of type `MixingCallback`"):
            tools.make_trainer(tmp_path, [MixingCallback(), MixingCallback()])


@pytest.mark.parametrize("mixer", [Learn2Mix, lambda: FixedMix("uniform")], ids=["learn2mix", "fixed"])
def test_batches_that_come_in_another_order_than_they_were_drawn_in(tmp_path, mixer):
    sampler = tools.make_sampler(mixer())
    loader = tools.make_loader(sampler, num_workers=2, in_order=False)
    with pytest.raises(RuntimeError, match=r"in_order=False .* use MixedLoader\(dataset, sampler, in_order=False\)"):
        stops(tmp_path, net(), loader)
    assert sampler.last_observed is None


class Endless(Sampler):
    """Cannot tell its length."""

    def __iter__(self):
        return iter([[0, 1]])

    def __len__(self):
        raise NotImplementedError


class TestNoSampler:
    @pytest.mark.parametrize("namespace", NAMESPACES.values(), ids=NAMESPACES)
    @pytest.mark.parametrize(
        ("loader", "kinds"),
        [
            (lambda: DataLoader(tools.Data(), batch_size=8), "BatchSampler"),
            (lambda: DataLoader(tools.Data(), batch_size=None), "none"),
            (lambda: DataLoader(tools.Data(), batch_sampler=BatchSampler(RandomSampler(range(60)), 8, True)), "BatchS"),
            (lambda: DataLoader(tools.Data(), batch_sampler=Endless()), "Endless"),
            (lambda: [next(iter(DataLoader(tools.Data(), batch_size=8)))], "none"),
        ],
        ids=["plain", "unbatched", "torch", "endless", "list"],
    )
    def test_says_how_to_make_one(self, tmp_path, namespace, loader, kinds):
        module = net(namespace=namespace)
        message = rf"no MixedBatchSampler \(batch samplers found: {kinds}.*make it with MixedLoader\(dataset, MixedB"
        with pytest.raises(RuntimeError, match=message):
            stops(tmp_path, module, loader(), namespace=namespace)
        assert module.num_steps == 0

    def test_two_samplers(self, tmp_path):
        module = net()
        loaders = {name: tools.make_loader(tools.make_sampler()) for name in "ab"}
        with pytest.raises(
            RuntimeError,
            match=r"found 2 to steer in the training loaders .MixedBatchSampler, MixedBatchSampler.; use one",
        ):
            stops(tmp_path, module, loaders)
        assert module.num_steps == 0

    def test_a_new_loader_without_one(self, tmp_path):
        loaders = [DataLoader(tools.Data(), batch_size=8), tools.make_loader(tools.make_sampler())]
        module = net()
        module.train_dataloader = loaders.pop
        trainer = tools.make_trainer(tmp_path, [MixingCallback()], reload_dataloaders_every_n_epochs=1)
        with pytest.raises(RuntimeError, match="no MixedBatchSampler"):
            trainer.fit(module)
        assert module.num_steps == tools.EPOCH

    def test_a_new_loader_of_other_data_keeps_the_mix_and_says_what_it_lets_go(self, tmp_path):
        labels = [tools.LABELS[::-1].copy(), tools.LABELS]
        mixes = []

        class Mixes(pl.Callback):
            def on_train_batch_start(self, *_):
                mixes.append(mixing.sampler.mixer.proportions.tolist())

        def make_loader(labels):
            return DataLoader(tools.Data(labels), batch_sampler=tools.make_sampler(labels=labels))

        module = net()
        module.train_dataloader = lambda: make_loader(labels.pop())
        mixing = MixingCallback()
        trainer = tools.make_trainer(tmp_path, [mixing, Mixes()], reload_dataloaders_every_n_epochs=1)
        with pytest.warns(UserWarning, match=r"state: its fingerprint is .* The mix and the passes .* go on"):
            trainer.fit(module)
        assert module.num_steps == 2 * tools.EPOCH
        assert mixes[tools.EPOCH] != pytest.approx(tools.PRIOR, abs=0.05)


class TestNoLosses:
    @pytest.mark.parametrize("manual", [False, True], ids=["automatic", "manual"])
    @pytest.mark.parametrize("returns", ["nothing", "loses"])
    def test_found_nowhere(self, tmp_path, returns, manual):
        module = net(returns, manual=manual)
        with pytest.raises(RuntimeError) as error:
            fit(tmp_path, module)
        said = str(error.value)
        assert 'PerSampleLoss(nn.CrossEntropyLoss(reduction="none"))' in said
        assert 'return {"loss": ..., "losses": per_sample_losses}' in said
        assert said.endswith("(it returned: 'loss', 'loses')" if returns == "loses" else "(it returned: 'loss')")
        assert module.num_steps == 1

    def test_manual_and_nothing_returned(self, tmp_path):
        class Net(tools.module_class()):
            def training_step(self, batch, batch_idx):
                super().training_step(batch, batch_idx)

        with pytest.raises(RuntimeError, match=r"found no per-sample losses; .* \(it returned: \)"):
            fit(tmp_path, Net("nothing", manual=True))

    @pytest.mark.parametrize("mixer", [Learn2Mix(), FixedMix()])
    @pytest.mark.parametrize("returns", ["losses", "criterion"])
    def test_the_key_that_was_asked_for_is_missing(self, tmp_path, returns, mixer):
        module = net(returns)
        with pytest.raises(RuntimeError, match=r"training_step returned no 'nll' \(it returned: 'loss'"):
            fit(tmp_path, module, mixer=mixer, mixing=MixingCallback(losses="nll"))
        assert module.num_steps == 1

    def test_two_criteria(self, tmp_path):
        class Net(tools.module_class()):
            def __init__(self):
                super().__init__("criterion")
                self.second = PerSampleLoss(torch.nn.CrossEntropyLoss(reduction="none"))

            def training_step(self, batch, batch_idx):
                return super().training_step(batch, batch_idx) + self.second(self.net(batch[0]), batch[1])

        module = Net()
        message = r"PerSampleLoss was called 2 times in one training step; return .* or pass losses=function"
        with pytest.raises(RuntimeError, match=message):
            fit(tmp_path, module)
        assert module.num_steps == 1

    @pytest.mark.parametrize("manual", [False, True])
    def test_one_criterion_called_twice(self, tmp_path, manual):
        class Net(tools.module_class()):
            def training_step(self, batch, batch_idx):
                self.per_sample(self.net(batch[0]), batch[1])
                return super().training_step(batch, batch_idx)

        module = Net("criterion", manual=manual)
        with pytest.raises(RuntimeError, match="PerSampleLoss was called 2 times in one training step"):
            fit(tmp_path, module)
        assert module.num_steps == 1

    def test_one_criterion_before_each_of_several_backward_passes(self, tmp_path):
        """As of a GAN: the mix would follow the generator's losses, which are not of the batch's samples."""

        class Net(tools.module_class()):
            def training_step(self, batch, batch_idx):
                self.manual_backward(self.per_sample(self.net(batch[0]), batch[1]))
                first = self.per_sample.losses
                super().training_step(batch, batch_idx)
                return {"losses": first} if returns else None

        returns = False
        with pytest.warns(UserWarning, match=r"before each of 2 backward passes of one.*the last; .*return") as told:
            fit(tmp_path, Net("criterion", manual=True))
        assert sum("backward passes" in str(warning.message) for warning in told) == 1
        returns = True
        fit(tmp_path, Net("criterion", manual=True))  # where a warning is an error

    def test_an_optimizer_that_evaluates_a_batch_several_times(self, tmp_path):
        class Net(tools.module_class()):
            def configure_optimizers(self):
                return torch.optim.LBFGS(self.parameters(), max_iter=3)

        assert len(fit(tmp_path, Net("criterion")).steps) == 2 * tools.EPOCH

    def test_one_criterion_under_two_names_is_one(self, tmp_path):
        module = net("criterion")
        module.second = module.per_sample
        assert len(fit(tmp_path, module).steps) == 2 * tools.EPOCH

    def test_a_scalar_criterion(self, tmp_path):
        class Own(torch.nn.CrossEntropyLoss):
            pass

        module = net("criterion", criterion=Own())
        with pytest.raises(ValueError, match=r'Own returned a scalar; make it with reduction="none"'):
            fit(tmp_path, module)


class TestWrongLosses:
    @pytest.mark.parametrize(
        ("change", "shape"),
        [
            (lambda losses: losses[:, None], "(8, 1)"),
            (lambda losses: losses[1:], "(7,)"),
            (lambda losses: losses.mean(), "()"),
            (lambda losses: torch.cat([losses, losses]), "(16,)"),
        ],
        ids=["column", "short", "mean", "long"],
    )
    def test_of_another_shape(self, tmp_path, change, shape):
        module = net("raw")
        mixing = MixingCallback(losses=lambda outputs, batch: change(outputs["raw"]))
        message = re.escape(f"losses must be one value per sample, shape (8,), got shape {shape}")
        with pytest.raises(ValueError, match=message):
            fit(tmp_path, module, mixing=mixing)
        assert module.num_steps == 1
        assert mixing.sampler.mixer.proportions.tolist() == tools.PRIOR

    @pytest.mark.parametrize(
        ("value", "kind"), [(torch.nan, "NaN or infinite"), (torch.inf, "NaN or infinite"), (-1.0, "negative")]
    )
    @pytest.mark.parametrize("batch_at", [0, 5])
    def test_that_are_no_losses(self, tmp_path, value, kind, batch_at):
        before = []

        def losses(outputs, batch):
            before.append(mixing.sampler.mixer.proportions.tolist())
            spoilt = (batch[1] == 2) & (len(before) == batch_at + 1)
            return torch.where(spoilt, value, outputs["raw"])

        mixing = MixingCallback(losses=losses)
        message = rf"batch {batch_at} has {kind} losses in 1 of 3 groups \(2\); the mix stays as it was"
        with pytest.raises(ValueError, match=message):
            fit(tmp_path, net("raw"), mixing=mixing)
        assert mixing.sampler.mixer.proportions.tolist() == before[-1]
        assert len(before) == batch_at + 1

    def test_numpy_losses_are_fine(self, tmp_path):
        mixing = MixingCallback(losses=lambda outputs, batch: outputs["raw"].detach().numpy().astype(np.float16))
        assert fit(tmp_path, net("raw"), mixing=mixing).steps == fit(tmp_path).steps
