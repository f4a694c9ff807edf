"""Where the losses of samples are in what a ``transformers.Trainer`` trains: models within others, labels by name."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("learn2mix.integrations.transformers", exc_type=ImportError, reason="transformers does not load")
from transformers import GPT2Config, GPT2LMHeadModel, Trainer

from hugging_face import BATCH_SIZE, LABELS, Classifier, Data, trainer_of
from learn2mix.integrations.transformers import MixedTrainerMixin


class Text(Data):
    """Texts of 3 to 8 tokens, padded."""

    def __getitem__(self, index):
        tokens = torch.randint(1, 16, (8,), generator=torch.Generator().manual_seed(index))
        labels = tokens.masked_fill(torch.arange(8) >= 3 + index % 6, -100)
        return {"input_ids": tokens, "labels": labels}


class Wrapped(torch.nn.Module):
    """A model in another one, as PEFT's adapters are."""

    def __init__(self, model):
        super().__init__()
        self.base = model

    def forward(self, input_ids, labels=None):
        return self.base(input_ids=input_ids, labels=labels)


def told(folder, model, **parts):
    settings = {"num_train_epochs": 1, "label_names": parts.pop("label_names", None)}
    trainer = trainer_of(folder, model=model, settings=settings, eval_dataset=None, **parts)
    trainer.train()
    return trainer.train_sampler.mixer.told


def test_a_language_model_within_another_shifts_its_labels(tmp_path):
    def model():
        torch.manual_seed(1)
        size = {"vocab_size": 16, "n_positions": 8, "n_embd": 8, "n_layer": 1, "n_head": 1}
        return GPT2LMHeadModel(GPT2Config(**size, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0))

    alone, within = (
        told(tmp_path, model(), train_dataset=Text()),
        told(tmp_path, Wrapped(model()), train_dataset=Text()),
    )
    np.testing.assert_allclose(alone[0], within[0], rtol=1e-5)  # later ones are of other weights


class Named(Data):
    def __getitem__(self, index):
        sample = super().__getitem__(index)
        sample["target"] = sample.pop("labels")
        return sample


class OfTarget(Classifier):
    def forward(self, x, target=None, index=None):
        return super().forward(x, target, index)


def test_labels_may_have_the_name_that_the_trainer_knows(tmp_path):
    named = told(tmp_path, OfTarget(), train_dataset=Named(), label_names=["target"])
    assert named == told(tmp_path, Classifier())


@pytest.mark.parametrize("label_names", [None, ["target", "index"]])
def test_else_an_error_says_what_the_batch_has(tmp_path, label_names):
    with pytest.raises(ValueError, match=r"no labels, .*the batch has: .*target"):
        told(tmp_path, OfTarget(), train_dataset=Named(), label_names=label_names)


class WithoutLogits(torch.nn.Module):
    """A language model to which TRL's SFTTrainer has given a head that returns log-probabilities; with dropout."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.net, self.dropout, self.made = torch.nn.Embedding(16, 16), torch.nn.Dropout(0.5), []

    def forward(self, input_ids, labels=None, index=None):
        logits = self.dropout(self.net(input_ids))[:, :-1].log_softmax(-1)
        mask = labels[:, 1:] != -100
        each = logits.gather(-1, labels[:, 1:, None].clamp(min=0))[..., 0].masked_fill(~mask, 0.0)
        self.made.append((index.tolist(), each.detach(), mask))
        return SimpleNamespace(log_probs=each, label_mask=mask)


class SFTTrainer(Trainer):
    """Like TRL's, which runs the model a second time: where it has to return logits, and for its metrics."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        with torch.no_grad():
            again = model(**inputs)
        loss = -outputs.log_probs.sum() / outputs.label_mask.sum()
        return (loss, again) if return_outputs else loss


class MixedSFT(MixedTrainerMixin, SFTTrainer):
    pass


def test_rows_that_sft_puts_in_another_order_are_refused(tmp_path):
    trainer = trainer_of(tmp_path, kind=MixedSFT)
    trainer.args.shuffle_dataset = True
    with pytest.raises(ValueError, match="shuffle_dataset must be False, for the sampler shuffles"):
        trainer.train()


class NumberedText(Text):
    def __getitem__(self, index):
        return super().__getitem__(index) | {"index": torch.tensor(index)}


def test_a_model_that_makes_no_logits_gives_the_losses_that_it_is_trained_on(tmp_path):
    model = WithoutLogits()
    parts = {"train_dataset": NumberedText(), "eval_dataset": None, "settings": {"num_train_epochs": 1}}
    trainer = trainer_of(tmp_path, model=model, kind=MixedSFT, **parts)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="MixedTrainer")
        trainer.train()
    passes = model.made[::2]
    assert len(passes) == len(trainer.train_sampler.mixer.told) == len(LABELS) // BATCH_SIZE
    for (indices, each, mask), losses in zip(passes, trainer.train_sampler.mixer.told, strict=True):
        for group in range(3):
            tokens = [
                -value for row, index in enumerate(indices) if LABELS[index] == group for value in each[row][mask[row]]
            ]
            expected = sum(map(float, tokens)) / len(tokens) if tokens else np.nan
            np.testing.assert_allclose(losses[group], expected, rtol=1e-5)
