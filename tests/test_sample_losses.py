"""The loss of each sample is what the model itself says of that sample alone."""

import pytest
import torch

pytest.importorskip("learn2mix.integrations.transformers", exc_type=ImportError, reason="transformers does not load")
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertLMHeadModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.trainer_pt_utils import LabelSmoother

from learn2mix.integrations import sample_losses
from learn2mix.integrations.sample_losses import SampleLosses, label_losses
from learn2mix.integrations.trainer_checks import warn_of_another_loss
from learn2mix.integrations.transformers import _shifts_labels

SAMPLES, PLACES, WORDS = 5, 7, 11
CLASSES = torch.tensor([0, 2, 1, 1, 0])
TARGETS = torch.linspace(-1, 2, SAMPLES)
SEVERAL = (torch.arange(SAMPLES * 3).view(SAMPLES, 3) % 2).float()
BERT = {"vocab_size": WORDS, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}


def tokens(seed=0):
    return torch.randint(0, WORDS, (SAMPLES, PLACES), generator=torch.Generator().manual_seed(seed))


def some_ignored():
    labels = tokens(1)
    for sample in range(SAMPLES):
        labels[sample, sample : 2 * sample] = -100
    return labels


def bert(kind, **settings):
    return kind(BertConfig(**BERT, **settings))


MODELS = {
    "classes": (lambda: bert(BertForSequenceClassification, num_labels=3), CLASSES),
    "regression": (lambda: bert(BertForSequenceClassification, num_labels=1), TARGETS),
    "multi-label": (lambda: bert(BertForSequenceClassification, num_labels=3), SEVERAL),
    "tags": (lambda: bert(BertForTokenClassification, num_labels=WORDS), some_ignored()),
    "masked": (lambda: bert(BertForMaskedLM), some_ignored()),
    "bert that writes": (lambda: bert(BertLMHeadModel, is_decoder=True), some_ignored()),
    "gpt2": (
        lambda: GPT2LMHeadModel(GPT2Config(vocab_size=WORDS, n_positions=8, n_embd=8, n_layer=1, n_head=1)),
        some_ignored(),
    ),
    "llama": (
        lambda: LlamaForCausalLM(
            LlamaConfig(
                vocab_size=WORDS, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
            )
        ),
        some_ignored(),
    ),
    "t5": (
        lambda: T5ForConditionalGeneration(
            T5Config(vocab_size=WORDS, d_model=8, d_kv=8, d_ff=8, num_layers=1, num_heads=1, decoder_start_token_id=0)
        ),
        some_ignored(),
    ),
}


def losses_of(model, labels, **settings):
    with torch.no_grad():
        outputs = model(input_ids=tokens(), labels=labels)
    problem_type = getattr(model.config, "problem_type", None)
    return label_losses(outputs.logits, labels, shifted=_shifts_labels(model), problem_type=problem_type, **settings)


@pytest.mark.parametrize("at_once", [1, 1 << 24])
@pytest.mark.parametrize("name", MODELS)
def test_each_loss_is_the_model_s_own_of_that_sample_alone(name, at_once, monkeypatch):
    monkeypatch.setattr(sample_losses, "MOST_AT_ONCE", at_once)
    make, labels = MODELS[name]
    torch.manual_seed(0)
    model = make().eval()
    found = losses_of(model, labels)
    with torch.no_grad():
        alone = [model(input_ids=tokens()[[i]], labels=labels[[i]]).loss for i in range(SAMPLES)]
    torch.testing.assert_close(found.losses, torch.stack(alone), rtol=1e-5, atol=1e-6)
    whole = model(input_ids=tokens(), labels=labels).loss.detach()
    mean = (found.losses * found.weights).sum() / found.weights.sum()
    torch.testing.assert_close(mean, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["classes", "gpt2", "masked"])
def test_smoothed_labels_are_those_of_the_trainer(name):
    make, labels = MODELS[name]
    torch.manual_seed(0)
    model = make().eval()
    found = losses_of(model, labels, label_smoothing=0.2)
    with torch.no_grad():
        logits = model(input_ids=tokens()).logits
    smooth, shifted = LabelSmoother(epsilon=0.2), name == "gpt2"
    alone = [smooth({"logits": logits[[i]]}, labels[[i]], shift_labels=shifted) for i in range(SAMPLES)]
    torch.testing.assert_close(found.losses, torch.stack(alone), rtol=1e-5, atol=1e-6)


def test_logits_of_virtual_tokens_before_a_text_have_no_loss():
    logits, labels = torch.randn(2, 5, 4), torch.tensor([[0, 1, 2], [3, -100, 1]])  # 2 of them, as PEFT's prompts
    found = label_losses(logits, labels, shifted=True)
    for row in range(2):  # the last virtual token predicts the first token, and so on
        kept = labels[row] != -100
        expected = torch.nn.functional.cross_entropy(logits[row, 1:4][kept], labels[row][kept])
        assert torch.isclose(found.losses[row], expected)
        assert found.weights[row] == kept.sum()


def test_a_sample_whose_labels_are_all_ignored_counts_for_nothing():
    found = label_losses(torch.randn(2, 3, 4), torch.tensor([[0, 1, 2], [-100, -100, -100]]))
    assert found.weights.tolist() == [3, 0]
    assert found.losses[1] == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_summed_in_float32(dtype):
    logits, labels = torch.randn(4, 1000, 8).to(dtype), torch.randint(8, (4, 1000))
    found, exact = label_losses(logits, labels), label_losses(logits.float(), labels)
    assert torch.equal(found.losses, exact.losses)


@pytest.mark.parametrize(
    ("logits", "labels"), [((2, 3), (3,)), ((2, 5, 3), (2, 4)), ((2, 3, 4, 4), (2, 4, 4)), ((2,), (2,))]
)
def test_what_does_not_belong_together_is_refused(logits, labels):
    with pytest.raises(ValueError, match=r"labels must be one class for each row of logits.*sample_losses"):
        label_losses(torch.zeros(logits), torch.zeros(labels, dtype=torch.int64))


def test_targets_that_are_not_shaped_as_the_logits_are_refused():
    with pytest.raises(ValueError, match=r"labels of shape \(3,\) and logits of shape \(2, 3\).*sample_losses"):
        label_losses(torch.zeros(2, 3), torch.zeros(3))


def test_classes_may_stand_in_a_column():
    logits, labels = torch.randn(4, 3), torch.tensor([0, 2, 1, 0])
    assert torch.equal(label_losses(logits, labels[:, None]).losses, label_losses(logits, labels).losses)


@pytest.mark.parametrize(
    ("loss", "num_items", "copies"),
    [
        (torch.tensor(2.0), None, 1),  # the mean over the tokens here
        (torch.tensor(1.2), torch.tensor(10), 1),  # this process's part of the mean over 10 tokens of two batches
        (torch.tensor(2.4), torch.tensor([[10.0], [10.0]]), 2),  # times the processes of which DDP takes the mean
        (torch.tensor(2.02, dtype=torch.bfloat16), 6, 2),  # rounded
    ],
)
def test_a_loss_that_the_samples_add_up_to_is_no_reason_to_warn(loss, num_items, copies):
    each = SampleLosses(torch.tensor([1.0, 3.0]), torch.tensor([3.0, 3.0]))
    warn_of_another_loss(loss, each, num_items, copies)
    with pytest.warns(UserWarning, match="which is not the mean"):
        warn_of_another_loss(1.1 * loss + 0.01, each, num_items, copies)
    with pytest.warns(UserWarning, match="which is not the mean"):
        warn_of_another_loss(1.005 * loss.float(), each, num_items, copies)  # float32 is not rounded so
