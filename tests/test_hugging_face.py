"""``transformers.Trainer`` on a moving mix: what it trains on, observes, logs and refuses."""

import importlib
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

pytest.importorskip("learn2mix.integrations.transformers", exc_type=ImportError, reason="transformers does not load")
from accelerate.data_loader import BatchSamplerShard
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

import reference
from hugging_face import (
    BATCH_SIZE,
    LABELS,
    NUM_BATCHES,
    Classifier,
    Data,
    Logged,
    OfValidation,
    Told,
    arguments,
    means_of_groups,
    own_loss,
    sampler_of,
    trainer_of,
)
from learn2mix import AnnealedMix, FixedMix, Learn2Mix, MixAdjustedLoss, MixedBatchSampler, MixedStream, MixingCallback
from learn2mix.integrations import trainer_checks
from learn2mix.integrations.transformers import MixedTrainer, MixedTrainerMixin

PRIOR = (torch.bincount(LABELS) / len(LABELS)).tolist()


def cross_entropies(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none")


def told_of(model):
    """What a mixer has to be told of the batches that a model was trained on."""
    return [
        means_of_groups(LABELS[indices], cross_entropies(logits, LABELS[indices])) for indices, _, logits in model.seen
    ]


@pytest.mark.parametrize(("accumulated", "parts"), [(1, {}), (3, {}), (2, {"compute_loss_func": own_loss})])
def test_the_mix_follows_the_losses_of_its_own_batches_evaluation_or_not(tmp_path, accumulated, parts):
    settings = {"gradient_accumulation_steps": accumulated, "eval_strategy": "steps", "eval_steps": 1}
    trainer = trainer_of(tmp_path, settings=settings, **parts)
    trainer.train()
    model, sampler = trainer.model, trainer.train_sampler
    assert len(model.seen) == 3 * NUM_BATCHES
    told = told_of(model)
    np.testing.assert_allclose(sampler.mixer.told, told, rtol=1e-5)
    mix = PRIOR
    for losses in told:
        mix = reference.update_proportions(mix, losses, 0.3)
    np.testing.assert_allclose(sampler.mixer.proportions, mix, rtol=1e-5)
    assert sampler.lag == 0


def test_an_epoch_draws_what_the_sampler_alone_draws(tmp_path):
    trainer = trainer_of(tmp_path, FixedMix("uniform"))
    trainer.train()
    alone = sampler_of(FixedMix("uniform"))
    assert trainer.model.batches == [batch for _ in range(3) for batch in alone]
    assert trainer.state.global_step == 3 * NUM_BATCHES
    assert trainer.num_examples(trainer.get_train_dataloader()) == NUM_BATCHES * BATCH_SIZE


class WithConfig(Classifier):
    """Label smoothing asks for it."""

    config = SimpleNamespace(problem_type=None)


class Plain(Trainer):
    """Hugging Face's own Trainer on the same batches."""

    def get_train_dataloader(self):
        no_random_state = torch.Generator()
        sampler = sampler_of(FixedMix("uniform"))
        return DataLoader(self.train_dataset, batch_sampler=sampler, generator=no_random_state)


class Text(Data):
    """Texts of 3 to 8 tokens, padded."""

    def __getitem__(self, index):
        tokens = torch.randint(1, 16, (8,), generator=torch.Generator().manual_seed(index))
        length = 3 + index % 6
        tokens[length:] = 0
        labels = tokens.masked_fill(tokens == 0, -100)
        return {"input_ids": tokens, "attention_mask": (tokens > 0).long(), "labels": labels}


def language_model():
    torch.manual_seed(1)
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=16, n_positions=8, n_embd=8, n_layer=1, n_head=1, loss_type="ForCausalLM")
    )


@pytest.mark.parametrize(
    ("model", "data", "settings", "parts"),
    [
        (Classifier, Data, {}, {}),
        (WithConfig, Data, {"label_smoothing_factor": 0.2, "gradient_accumulation_steps": 2}, {}),
        (Classifier, Data, {"gradient_accumulation_steps": 2}, {"compute_loss_func": own_loss}),
        (language_model, Text, {"gradient_accumulation_steps": 2}, {}),
        (language_model, Text, {"label_smoothing_factor": 0.2}, {}),
    ],
    ids=["classes", "smoothed", "own loss", "tokens", "smoothed tokens"],
)
def test_the_training_is_the_trainer_s_own(tmp_path, model, data, settings, parts):
    weights = []
    for kind in (MixedTrainer, Plain):
        parts = parts | {"kind": kind, "model": model(), "train_dataset": data()}
        trainer = trainer_of(tmp_path, FixedMix("uniform"), settings=settings, **parts)
        trainer.train()
        weights.append(torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()]))
    assert torch.equal(*weights)


def test_texts_are_followed_by_their_tokens(tmp_path):
    """The mean loss of a group is that of its tokens, as each sample alone has it from the model itself."""
    model, sampler = language_model().eval(), sampler_of(Told(0.3))
    told = []
    for batch in sampler:
        losses, tokens = torch.zeros(3), torch.zeros(3)
        for index in batch:
            sample = {name: value[None] for name, value in Text()[index].items()}
            number = (sample["labels"][:, 1:] != -100).sum()
            losses[LABELS[index]] += model(**sample).loss.detach() * number
            tokens[LABELS[index]] += number
        told.append((losses / tokens).tolist())
        sampler.observe(None)
        break
    settings = {"max_steps": 1, "learning_rate": 0.0}
    model.config.resid_pdrop = model.config.embd_pdrop = model.config.attn_pdrop = 0.0
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    trainer = trainer_of(tmp_path, Told(0.3), model=model, settings=settings, train_dataset=Text())
    trainer.train()
    np.testing.assert_allclose(trainer.train_sampler.mixer.told, told, rtol=1e-5)


def test_a_logger_gets_the_mix_with_the_training_loss(tmp_path):
    logged = Logged()
    settings = {
        "logging_strategy": "steps",
        "logging_steps": 4,
        "eval_strategy": "epoch",
        "gradient_accumulation_steps": 2,
    }
    trainer = trainer_of(tmp_path, settings=settings, callbacks=[logged])
    trainer.train()
    entries = [entry for entry in logged.entries if "loss" in entry]
    assert len(entries) == 9 // 4
    # 4 updates have 7 batches, for the last update of an epoch has one.
    for entry, given in zip(entries, (trainer.model.batches[:7], trainer.model.batches[7:14]), strict=True):
        counts = torch.bincount(LABELS[torch.tensor(given).flatten()], minlength=3)
        found = [entry[f"mix/realised/{group}"] for group in range(3)]
        np.testing.assert_allclose(found, counts / counts.sum(), rtol=1e-6)
        assert sum(entry[f"mix/requested/{group}"] for group in range(3)) == pytest.approx(1)
        assert entry["mix/lag"] == 0
        assert set(entry) >= {"mix/entropy", "mix/loss/0", "mix/loss/1", "mix/loss/2", "learning_rate"}
    assert not any("mix" in name for entry in logged.entries if "eval_loss" in entry for name in entry)
    assert [entry for entry in trainer.state.log_history if "mix/entropy" in entry]


def test_a_mixer_that_follows_the_validation_loss_gets_it(tmp_path):
    logged = Logged()
    trainer = trainer_of(tmp_path, OfValidation(), settings={"eval_strategy": "epoch"}, callbacks=[logged])
    trainer.train()
    losses = [entry["eval_loss"] for entry in logged.entries if "eval_loss" in entry]
    assert trainer.train_sampler.mixer.told == losses
    assert len(losses) == 3
    trainer.evaluate()
    assert len(trainer.train_sampler.mixer.told) == 3, "after the training nothing follows"


def test_an_evaluation_on_start_leaves_a_resumed_run_the_unbroken_one(tmp_path):
    settings = {"max_steps": 9, "eval_on_start": True, "eval_strategy": "steps", "eval_steps": 3}
    settings |= {"save_strategy": "steps", "save_steps": 5}
    unbroken = trainer_of(tmp_path / "unbroken", OfValidation(), settings=settings)
    unbroken.train()
    resumed = trainer_of(tmp_path / "resumed", OfValidation(), settings=settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "unbroken" / "checkpoint-5"))
    told = unbroken.train_sampler.mixer.told
    assert len(told) == 3
    assert resumed.train_sampler.mixer.told == told[1:]


def test_a_mixer_that_follows_validation_is_told_of_none(tmp_path):
    settings = {"max_steps": 9, "eval_strategy": "no"}
    with pytest.warns(UserWarning, match="eval_strategy is 'no'.*OfValidation"):
        trainer_of(tmp_path, OfValidation(), settings=settings).train()
    settings = {"max_steps": 9, "eval_strategy": "steps", "eval_steps": 3}
    without = [{"x": torch.ones(4), "index": torch.tensor(0)}]
    with pytest.raises(ValueError, match=r"eval_loss.*labels"):
        trainer_of(tmp_path, OfValidation(), settings=settings, eval_dataset=without).train()


def test_a_schedule_as_long_as_the_steps_is_told_that_it_counts_batches(tmp_path):
    settings = {"max_steps": 2, "gradient_accumulation_steps": 3}
    mixer = AnnealedMix("uniform", None, num_steps=2)
    with pytest.warns(UserWarning, match=r"counts batches, .* takes 3 .*give num_steps=6"):
        trainer_of(tmp_path, mixer, settings=settings).train()


def test_each_model_of_model_init_begins_with_the_mix_of_the_first(tmp_path):
    """So does each trial of a hyperparameter search."""

    def run(times):
        settings = {"max_steps": 7}
        trainer = trainer_of(tmp_path, settings=settings, kind=ModelInit)
        for _ in range(times):
            trainer.train()
        return trainer

    once, twice = run(1), run(2)
    assert twice.model.batches == once.model.batches
    np.testing.assert_array_equal(twice.train_sampler.mixer.proportions, once.train_sampler.mixer.proportions)


class ModelInit(MixedTrainer):
    def __init__(self, model, args, **parts):
        super().__init__(None, args, model_init=lambda: Classifier(), **parts)


@pytest.mark.parametrize("found", [None, [1.0] * BATCH_SIZE, np.ones(BATCH_SIZE), (torch.ones(BATCH_SIZE), None)])
def test_sample_losses_that_are_no_tensor_are_named(tmp_path, found):
    with pytest.raises(TypeError, match=r"sample_losses must return a tensor.*got"):
        trainer_of(tmp_path, sample_losses=lambda outputs, inputs: found).train()


def test_losses_of_one_s_own_are_followed(tmp_path):
    true = torch.tensor([0.5, 1.0, 4.0])
    trainer = trainer_of(tmp_path, sample_losses=lambda outputs, inputs: true[inputs["labels"]])
    trainer.train()
    for told in trainer.train_sampler.mixer.told:
        np.testing.assert_allclose(told, np.where(np.isnan(told), np.nan, true), rtol=1e-6)
    weighted = trainer_of(
        tmp_path, sample_losses=lambda outputs, inputs: (inputs["index"].float(), inputs["index"] + 1.0)
    )
    weighted.args.max_steps = 1
    weighted.train()
    (batch,) = weighted.model.batches
    of_first = torch.tensor([index for index in batch if LABELS[index] == 0]).float()
    expected = (of_first * (of_first + 1)).sum() / (of_first + 1).sum()
    assert weighted.train_sampler.mixer.told[0][0] == pytest.approx(float(expected))


@pytest.mark.parametrize("mixer", [Learn2Mix(0.3), FixedMix("uniform")])
def test_a_loss_that_knows_its_mix_trains(tmp_path, mixer):
    """The page's recipe: a criterion in the model, so that evaluation turns it off."""
    sampler, model = sampler_of(mixer), Classifier()
    model.criterion = MixAdjustedLoss().follow(sampler)
    trainer = trainer_of(
        tmp_path,
        model=model,
        settings={"gradient_accumulation_steps": 2, "eval_strategy": "epoch"},
        train_sampler=sampler,
        compute_loss_func=lambda outputs, labels, **_: model.criterion(outputs["logits"], labels),
        sample_losses=lambda outputs, inputs: model.criterion.take(),
    )
    trainer.train()
    assert sampler.lag == 0
    assert not np.allclose(sampler.mixer.proportions, PRIOR)


def test_a_stream_trains_up_to_max_steps(tmp_path):
    class Source(torch.utils.data.IterableDataset):
        def __init__(self, group):
            self.indices = (group == LABELS).nonzero().flatten().tolist()

        def __iter__(self):
            return (Data()[index] for index in self.indices)

    stream = MixedStream({group: Source(group) for group in range(3)}, Told(0.3), batch_size=BATCH_SIZE)
    trainer = trainer_of(tmp_path, settings={"max_steps": 12}, train_dataset=stream, train_sampler=None)
    trainer.train()
    assert len(trainer.model.seen) == 12
    told = [means_of_groups(y, F.cross_entropy(z, y, reduction="none")) for _, y, z in trainer.model.seen]
    np.testing.assert_allclose(stream.mixer.told, told, rtol=1e-5)


def test_a_second_training_begins_an_epoch_and_keeps_the_mix(tmp_path):
    trainer = trainer_of(tmp_path, settings={"max_steps": 3})
    trainer.train()
    mix = trainer.train_sampler.mixer.proportions
    trainer.train()
    assert len(trainer.model.seen) == 6
    assert trainer.train_sampler.state_dict()["epoch"] == 1
    np.testing.assert_allclose(trainer.train_sampler.last_observed.proportions.sum() + mix.sum(), 2.0)


class TwoDevices(torch.nn.DataParallel):
    """As DataParallel on two GPUs does: halves of the batch, outputs joined, a loss of each."""

    def forward(self, **inputs):
        halves = [{name: value.chunk(2)[half] for name, value in inputs.items()} for half in range(2)]
        outputs = [self.module(**half) for half in halves]
        return {
            "loss": torch.stack([output["loss"] for output in outputs]),
            "logits": torch.cat([output["logits"] for output in outputs]),
        }


def test_several_gpus_of_one_process_share_a_batch(tmp_path):
    class OnTwo(MixedTrainer):
        def _wrap_model(self, model, training=True, dataloader=None):
            return TwoDevices(model) if training and not isinstance(model, TwoDevices) else model

    settings = {"per_device_train_batch_size": BATCH_SIZE // 2, "max_steps": 4}
    args = arguments(tmp_path, **settings)
    args._n_gpu = 2
    trainer = OnTwo(Classifier(), args, train_dataset=Data(), train_sampler=sampler_of())
    trainer.train()
    seen = trainer.model.seen
    pairs = [(torch.cat([a[1], b[1]]), torch.cat([a[2], b[2]])) for a, b in zip(seen[::2], seen[1::2], strict=True)]
    told = [means_of_groups(y, F.cross_entropy(z, y, reduction="none")) for y, z in pairs]
    np.testing.assert_allclose(trainer.train_sampler.mixer.told, told, rtol=1e-5)
    with pytest.raises(ValueError, match=r"per_device_train_batch_size times 2 GPUs.* 4, got 8"):
        OnTwo(Classifier(), args, train_dataset=Data(), train_sampler=sampler_of(batch_size=4))


def of_groups():
    return Learn2Mix(0.3, signal="validation")


BY_LENGTH = {"group_by_length": True}  # before transformers 5
if hasattr(TrainingArguments, "train_sampling_strategy"):
    BY_LENGTH = {"train_sampling_strategy": "group_by_length"}


@pytest.mark.parametrize(
    ("settings", "parts", "error", "message"),
    [
        ({}, {"train_sampler": None}, TypeError, "train_sampler must be a MixedBatchSampler.* got NoneType"),
        ({}, {"train_sampler": DataLoader(Data())}, TypeError, "train_sampler must .* got DataLoader"),
        (
            {"max_steps": 2},
            {"train_dataset": MixedStream({"a": [0], "b": [1]}, FixedMix(), batch_size=8)},
            TypeError,
            "a MixedStream composes its own batches; leave train_sampler out",
        ),
        ({}, {"callbacks": [MixingCallback()]}, TypeError, "callbacks must .* got MixingCallback, .*leave it out"),
        ({}, {"sample_losses": 3}, TypeError, "sample_losses must be a function .* got int"),
        (
            {},
            {"train_sampler": sampler_of(batch_size=4)},
            ValueError,
            "per_device_train_batch_size must be .* 4, got 8",
        ),
        (BY_LENGTH, {}, ValueError, "train_sampling_strategy must be 'random'"),
        ({"auto_find_batch_size": True}, {}, ValueError, "auto_find_batch_size must be False"),
        ({}, {"mixer": of_groups()}, ValueError, "validation losses of the groups"),
        (
            {},
            {"mixer": OfValidation(), "eval_dataset": {"a": Data(), "b": Data()}},
            ValueError,
            "eval_dataset must be one",
        ),
        (
            {},
            {"train_sampler": MixedBatchSampler(LABELS, FixedMix(), batch_size=8, num_replicas=2, rank=0)},
            ValueError,
            "num_replicas must be 1, .* got 2",
        ),
    ],
)
def test_arguments_that_do_not_agree_are_refused_at_once(tmp_path, settings, parts, error, message):
    with pytest.raises(error, match=message):
        trainer_of(tmp_path, settings=settings, **parts)


class NoLogits(Classifier):
    def forward(self, x, labels=None, index=None):
        return {"loss": super().forward(x, labels, index)["loss"]}


class OtherName(Classifier):
    def forward(self, x, target=None, index=None):
        return super().forward(x, target, index)


class Renamed(Data):
    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return sample | {"target": sample.pop("labels")}


class OwnLoss(MixedTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        return model(**inputs)["loss"]


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ({"model": NoLogits()}, ValueError, "no logits.*the model returned: loss.*sample_losses"),
        ({"model": OtherName(), "train_dataset": Renamed()}, ValueError, "no labels.*the batch has: x, .*target"),
        (
            {"kind": OwnLoss},
            RuntimeError,
            "OwnLoss did not call .*class MyTrainer.MixedTrainerMixin, Your",
        ),
    ],
)
def test_losses_that_cannot_be_found_are_an_error_at_the_first_step(tmp_path, parts, error, message):
    with pytest.raises(error, match=message):
        trainer_of(tmp_path, **parts).train()
    trainer_of(tmp_path, FixedMix(), settings={"max_steps": 2}, **parts).train()  # it asks for none


@pytest.mark.parametrize(
    ("found", "error", "message"),
    [
        (None, TypeError, "got NoneType"),
        (torch.ones(8).tolist(), TypeError, "got list"),
        ((torch.ones(8), 1.0), TypeError, "got Tensor, float"),
        (torch.tensor(1.0), ValueError, r"shape \(batch_size,\), got shape \(\); use reduction=\"none\""),
        ((torch.ones(8), torch.ones(8, 1)), ValueError, r"got shape \(8,\) and \(8, 1\)"),
    ],
)
def test_a_function_that_returns_no_losses_of_samples(tmp_path, found, error, message):
    with pytest.raises(error, match=f"^sample_losses must return .*{message}"):
        trainer_of(tmp_path, sample_losses=lambda outputs, inputs: found).train()


def test_rows_that_are_no_samples_are_refused(tmp_path):
    def packed(samples):
        joined = {name: torch.cat([sample[name] for sample in samples])[None] for name in ("input_ids", "labels")}
        return joined | {"position_ids": torch.arange(8).repeat(8)[None]}

    trainer = trainer_of(tmp_path, model=language_model(), train_dataset=Text(), data_collator=packed)
    with pytest.raises(ValueError, match=r"1 rows for a batch of 8 samples.*packing=False"):
        trainer.train()
    for mixer in (FixedMix(), Learn2Mix()):  # the one asks for no losses
        texts = [[Text()[index] for index in range(16)] for _ in range(2)]
        stream = MixedStream(texts, mixer, batch_size=8, collate_fn=packed)
        settings = {"train_dataset": stream, "train_sampler": None, "settings": {"max_steps": 2}}
        trainer = trainer_of(tmp_path, model=language_model(), **settings)
        if mixer.needs_losses:
            with pytest.raises(ValueError, match=r"1 rows for a batch of 8 samples.*packing=False"):
                trainer.train()
        else:
            trainer.train()
            assert stream.draws.tolist() == [8, 8]


def test_losses_find_their_samples_where_one_that_cannot_be_read_is_left_out(tmp_path):
    class Broken(Data):
        def __getitem__(self, index):
            if index == 3:
                raise OSError("cannot be read")
            return super().__getitem__(index)

    class Skips(MixedTrainer):
        def get_mixed_loader(self):
            return super().get_mixed_loader(on_error="skip")

    trainer = trainer_of(tmp_path, kind=Skips, train_dataset=Broken())
    with pytest.warns(UserWarning, match="skipped sample 3"):
        trainer.train()
    np.testing.assert_allclose(trainer.train_sampler.mixer.told, told_of(trainer.model), rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 0.02, 0.0])
def test_another_loss_than_the_one_followed_is_told_as_soon_as_it_shows(tmp_path, scale):
    model = Classifier(weight=torch.tensor([1.0, 5.0, 10.0]))
    with torch.no_grad():  # a head that has just been made knows little: classes cost (nearly) the same
        model.net.weight.mul_(scale), model.net.bias.mul_(scale)
    with pytest.warns(UserWarning, match=r"not the mean of the cross-entropies.*sample_losses=") as told:
        trainer_of(tmp_path, model=model).train()
    assert len(told) == 1


@pytest.mark.filterwarnings("error:MixedTrainer")
def test_a_mix_that_follows_no_losses_is_no_reason_to_tell(tmp_path):
    trainer = trainer_of(tmp_path, model=Classifier(weight=torch.tensor([1.0, 5.0, 10.0])), mixer=FixedMix("uniform"))
    trainer.train()
    assert trainer.state.global_step > 0


@pytest.mark.parametrize("parts", [{}, {"sample_losses": lambda outputs, _: cross_entropies(*outputs["pair"])}])
@pytest.mark.parametrize("alone", [False, True])
def test_a_loss_put_behind_the_mixin_is_found_also_where_it_is_returned_alone(tmp_path, alone, parts):
    class Theirs(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
            outputs = model(**inputs)
            outputs["pair"] = outputs["logits"], inputs["labels"]
            return (outputs["loss"], outputs) if return_outputs and not alone else outputs["loss"]

    class Ours(MixedTrainerMixin, Theirs):
        pass

    trainer = trainer_of(tmp_path, kind=Ours, settings={"max_steps": 3}, **parts)
    trainer.train()
    np.testing.assert_allclose(trainer.train_sampler.mixer.told, told_of(trainer.model), rtol=1e-5)


class LeavesOut:
    """Goes on after a step that runs out of memory, and leaves out a batch, as in many public training scripts."""

    num_steps = 0

    def training_step(self, model, *args, **kwargs):
        self.num_steps += 1
        if self.num_steps == 7:
            return torch.tensor(0.0)
        try:
            return super().training_step(model, *args, **kwargs)
        except torch.OutOfMemoryError:
            return torch.tensor(0.0)


class RunsOutOfMemory(Classifier):
    def forward(self, x, labels=None, index=None):
        if self.training and len(self.seen) == 3 and not hasattr(self, "failed"):
            self.failed = True
            raise torch.OutOfMemoryError
        return super().forward(x, labels, index)


class BeforeTheMixin(LeavesOut, MixedTrainer):
    pass


class TheirsLeavesOut(LeavesOut, Trainer):
    pass


class BehindTheMixin(MixedTrainerMixin, TheirsLeavesOut):
    pass


@pytest.mark.parametrize("accumulated", [1, 2])
@pytest.mark.parametrize("kind", [BeforeTheMixin, BehindTheMixin])
def test_losses_find_their_batch_where_a_step_fails_or_is_left_out(tmp_path, kind, accumulated):
    settings = {"num_train_epochs": 2, "gradient_accumulation_steps": accumulated}
    trainer = trainer_of(tmp_path, model=RunsOutOfMemory(), kind=kind, settings=settings)
    trainer.train()
    assert len(trainer.model.seen) == 2 * NUM_BATCHES - 2
    np.testing.assert_allclose(trainer.train_sampler.mixer.told, told_of(trainer.model), rtol=1e-5)
    assert trainer.train_sampler.lag == 0


def test_data_with_set_epoch_are_told_each_epoch_also_of_a_resumed_run(tmp_path):
    class OfEpochs(Data):
        def __init__(self):
            super().__init__()
            self.set_epoch, self.epochs = lambda epoch: self.epochs.append(epoch), []

    whole, rest = OfEpochs(), OfEpochs()
    settings = {"save_strategy": "steps", "save_steps": NUM_BATCHES + 2}
    trainer_of(tmp_path, settings=settings, train_dataset=whole).train()
    trainer_of(tmp_path, settings=settings, train_dataset=rest).train(str(tmp_path / f"checkpoint-{NUM_BATCHES + 2}"))
    assert (whole.epochs, rest.epochs) == ([0, 1, 2], [1, 2])


class Pairs(BatchSampler):
    """As sentence-transformers' own: batches of another kind than those of a random order."""

    def __iter__(self):
        yield from ([index, index] for index in self.sampler)


class InOrder(Trainer):
    def _get_train_sampler(self, *args):
        return SequentialSampler(self.train_dataset)


class InPairs(Trainer):
    def get_train_dataloader(self):
        return DataLoader(self.train_dataset, batch_sampler=Pairs(RandomSampler(self.train_dataset), 2, True))


@pytest.mark.parametrize(("theirs", "name"), [(InOrder, "SequentialSampler"), (InPairs, "Pairs"), (Trainer, None)])
def test_a_subclass_that_makes_batches_of_a_kind_of_its_own_is_told_that_they_are_replaced(tmp_path, theirs, name):
    class Ours(MixedTrainerMixin, theirs):
        pass

    trainer = trainer_of(tmp_path, kind=Ours, settings={"max_steps": 2})
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        trainer.train()
    found = [str(warning.message) for warning in told if "MixedTrainer" in str(warning.message)]
    assert [f"Ours makes batches by a {name}, whose place train_sampler takes" in text for text in found] == (
        [True] if name else []
    )
    assert len(trainer.train_sampler.mixer.told) == 2


def test_so_it_is_where_accelerate_splits_them(recwarn):
    for batches in (BatchSampler(RandomSampler(LABELS), 2, True), Pairs(RandomSampler(LABELS), 2, True)):
        split = BatchSamplerShard(batches, num_processes=2)
        trainer_checks.warn_of_own_batches("Ours", DataLoader(LABELS, batch_sampler=split))
    assert ["makes batches by a Pairs" in str(warning.message) for warning in recwarn] == [True]


def test_a_step_of_several_forward_passes_is_followed_by_their_mean(tmp_path):
    class Twice(MixedTrainer):
        """As R-Drop does; the second pass sees other inputs, so that the two differ."""

        def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
            other = inputs | {"x": -inputs["x"]}
            return super().compute_loss(model, inputs, **kwargs) + super().compute_loss(model, other, **kwargs)

    trainer = trainer_of(tmp_path, kind=Twice)
    trainer.train()
    seen = [(LABELS[indices], logits) for indices, _, logits in trainer.model.seen]
    losses = [F.cross_entropy(logits, labels, reduction="none") for labels, logits in seen]
    told = [
        means_of_groups(labels, (one + other) / 2)
        for (labels, _), one, other in zip(seen[::2], losses[::2], losses[1::2], strict=True)
    ]
    np.testing.assert_allclose(trainer.train_sampler.mixer.told, told, rtol=1e-5)
    assert not np.allclose(losses[0], losses[1])


def test_forward_passes_of_parts_of_a_batch_are_refused(tmp_path):
    class InParts(MixedTrainer):
        def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
            parts = [{name: values[part] for name, values in inputs.items()} for part in (slice(0, 5), slice(5, None))]
            return sum(super(InParts, self).compute_loss(model, part, **kwargs) for part in parts)

    with pytest.raises(ValueError, match=r"compute_loss got 5 rows for a batch of 8 samples; give it the whole batch"):
        trainer_of(tmp_path, kind=InParts).train()


def test_evaluation_alone_needs_no_sampler(tmp_path):
    trainer = MixedTrainer(Classifier(), arguments(tmp_path), eval_dataset=Data())
    assert trainer.evaluate()["eval_loss"] > 0
    with pytest.raises(TypeError, match=r"train_sampler must be a MixedBatchSampler .*got NoneType"):
        trainer.train()


def test_without_transformers_the_error_names_the_extra(monkeypatch):
    name = "learn2mix.integrations.transformers"
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match=r'pip install "learn2mix\[hf\]"'):
        importlib.import_module(name)


@pytest.mark.parametrize("when", ["it is made", "training begins"])
def test_the_callback_of_lightning_is_refused(tmp_path, when):
    parts = {"model": Classifier(), "args": arguments(tmp_path), "train_dataset": Data()}
    with pytest.raises(TypeError, match=r"MixingCallback is for Lightning's Trainer; .*MixedTrainer"):
        if when == "it is made":
            Trainer(**parts, callbacks=[MixingCallback()])
        else:
            trainer = Trainer(**parts)
            trainer.add_callback(MixingCallback())
            trainer.train()
