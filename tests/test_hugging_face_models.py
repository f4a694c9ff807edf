"""Where the losses of samples are in what a ``transformers.Trainer`` trains: models within others, labels by name."""

import numpy as np
import pytest
import torch

pytest.importorskip("learn2mix.integrations.transformers", exc_type=ImportError, reason="transformers does not load")
from transformers import GPT2Config, GPT2LMHeadModel

from hugging_face import Classifier, Data, trainer_of


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
