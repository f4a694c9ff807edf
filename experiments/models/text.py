"""Networks for texts as token ids."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from experiments.datasets.splits import Data

PADDING = 0


class Transformer(nn.Module):
    """The paper's text classifier: one encoder layer, averaged over the tokens that are no padding, then 64-32-K.

    The authors' code averages over the padding too and attends to it, so that what it says of a text hangs on how
    far the text was filled up. Here padding is masked in both places.
    """

    def __init__(self, vocabulary_size: int, max_tokens: int, num_classes: int, *, width: int = 64) -> None:
        super().__init__()
        self._embedding = nn.Embedding(vocabulary_size, width, padding_idx=PADDING)
        self._layer = nn.TransformerEncoderLayer(width, nhead=4, dim_feedforward=128, dropout=0.1, batch_first=True)
        self._head = nn.Sequential(nn.Dropout(0.1), nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, num_classes))
        self._positions: Tensor
        self.register_buffer("_positions", sinusoids(max_tokens, width), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids ``(N, L)`` with 0 for padding -> scores ``(N, num_classes)``."""
        padding = tokens == PADDING
        # Attention over nothing at all would be NaN: a text without tokens is one of padding.
        padding[:, 0] = False
        encoded = self._layer(
            self._embedding(tokens) + self._positions[: tokens.shape[1]], src_key_padding_mask=padding
        )
        present = (~padding).unsqueeze(2)
        scores: Tensor = self._head((encoded * present).sum(dim=1) / present.sum(dim=1))
        return scores


def sinusoids(num_positions: int, width: int) -> Tensor:
    """Vaswani et al.'s positions, shape ``(num_positions, width)``: sines in even columns, cosines in odd ones."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
    angles = torch.arange(num_positions).unsqueeze(1) * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


def transformer(data: Data) -> nn.Module:
    """As many embeddings as the largest token id asks for."""
    vocabulary_size = 1 + int(max(data.train.inputs.max(), data.test.inputs.max()))
    return Transformer(vocabulary_size, data.train.inputs.shape[1], len(data.group_names))
