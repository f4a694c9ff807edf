"""As a new user would write it: reviews, a tokenizer and a small model made from a config, under ``MixedTrainer``."""

import json
import lzma
import math
import os
from pathlib import Path

import pytest
import torch

pytest.importorskip("learn2mix.integrations.transformers", exc_type=ImportError, reason="transformers does not load")
pytest.importorskip("datasets", reason="datasets is not installed")
import datasets
import tokenizers
from transformers import (
    DataCollatorWithPadding,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    PreTrainedTokenizerFast,
    TrainingArguments,
)

from learn2mix import Learn2Mix, MixedBatchSampler
from learn2mix.integrations.transformers import MixedTrainer

IMDB = Path(os.environ.get("LEARN2MIX_DATA", "data")) / "imdb"
NUM_NEGATIVE, NUM_POSITIVE = 900, 100

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(not IMDB.is_dir(), reason=f"IMDB is not in {IMDB}; LEARN2MIX_DATA names the folder above it"),
]


def reviews(split, **numbers):
    """So many reviews of each label."""
    left, kept = {0: numbers["negative"], 1: numbers["positive"]}, []
    with lzma.open(IMDB / f"{split}.jsonl.xz", "rt", encoding="utf8") as lines:
        for row in map(json.loads, lines):
            if left[row["label"]]:
                left[row["label"]] -= 1
                kept.append({"text": row["text"], "label": row["label"]})
            if not any(left.values()):
                break
    return datasets.Dataset.from_list(kept)


def tokenizer_of(texts):
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    special = ["[PAD]", "[UNK]"]
    words.train_from_iterator(texts, tokenizers.trainers.WordLevelTrainer(vocab_size=1000, special_tokens=special))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", model_max_length=48)


@pytest.fixture(scope="module")
def data():
    train, test = (
        reviews("train", negative=NUM_NEGATIVE, positive=NUM_POSITIVE),
        reviews("test", negative=50, positive=50),
    )
    tokenizer = tokenizer_of(train["text"])
    encoded = [part.map(lambda rows: tokenizer(rows["text"], truncation=True), batched=True) for part in (train, test)]
    return tokenizer, *encoded


def trainer_of(folder, data, num_train_epochs):
    tokenizer, train, test = data
    torch.manual_seed(0)
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 48, "dim": 16, "hidden_dim": 32}
    model = DistilBertForSequenceClassification(DistilBertConfig(n_layers=1, n_heads=2, num_labels=2, **sizes))
    sampler = MixedBatchSampler(train["label"], Learn2Mix(mixing_rate=0.1), batch_size=32)
    args = TrainingArguments(
        str(folder),
        per_device_train_batch_size=32,
        num_train_epochs=num_train_epochs,
        learning_rate=5e-3,
        lr_scheduler_type="constant",
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_steps=10,
        report_to="tensorboard",
        use_cpu=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    return MixedTrainer(
        model,
        args,
        train_dataset=train,
        eval_dataset=test,
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
        train_sampler=sampler,
    )


def test_imdb_trains_on_a_moving_mix_and_goes_on(tmp_path, data, monkeypatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "logs"))
    unbroken = trainer_of(tmp_path / "unbroken", data, num_train_epochs=2)
    unbroken.train()
    entries = [entry for entry in unbroken.state.log_history if "loss" in entry]
    assert all(math.isfinite(entry["loss"]) for entry in entries)
    assert abs(entries[0]["mix/requested/1"] - NUM_POSITIVE / (NUM_NEGATIVE + NUM_POSITIVE)) > 0.02, "the mix moves"
    assert unbroken.train_sampler.mixer.proportions[1] > 0.2
    assert unbroken.train_sampler.lag == 0

    trainer_of(tmp_path / "stopped", data, num_train_epochs=1).train()
    resumed = trainer_of(tmp_path / "stopped", data, num_train_epochs=2)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == unbroken.state.global_step
    assert resumed.train_sampler.mixer.proportions.tolist() == unbroken.train_sampler.mixer.proportions.tolist()
    for one, other in zip(resumed.model.parameters(), unbroken.model.parameters(), strict=True):
        assert torch.equal(one, other)
