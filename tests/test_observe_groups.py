"""Law 9: ``groups=`` says what the losses are of, and ``weights=`` what each counts."""

import numpy as np
import pytest
import torch

from learn2mix import MixedBatchSampler
from loops import EPOCH, KINDS, LABELS, LOSSES, Heard, make, means_of


def told(loop):
    return loop.sampler.mixer.told


@pytest.mark.parametrize("kind", KINDS)
class TestGroups:
    def test_two_views_of_each_sample(self, kind):
        loop = make(kind)
        for batch in loop.loader:
            both = np.concatenate([batch.numpy(), batch.numpy()])
            loop.sampler.observe(LOSSES[both], groups=LABELS[both])
            loop.true.append(means_of(batch.numpy()))
        loop.check(EPOCH)

    def test_samples_in_another_order_and_only_some(self, kind):
        loop = make(kind)
        for batch in loop.loader:
            some = batch.numpy()[::-1][:3]
            loop.sampler.observe(torch.from_numpy(LOSSES[some]), groups=torch.from_numpy(LABELS[some]))
            loop.true.append(means_of(some))
        loop.check(EPOCH)

    def test_losses_of_another_loader(self, kind):
        loop, others = make(kind), np.array([3, 14, 15])
        for _ in loop.loader:
            loop.sampler.observe(LOSSES[others], groups=LABELS[others].tolist())
            loop.true.append(means_of(others))
        loop.check(EPOCH)

    def test_a_batch_in_parts_counts_once(self, kind):
        """With its first part; the others are pooled with what comes next."""
        loop, parts = make(kind), []
        for _ in range(2):
            for batch in loop.loader:
                parts += [batch.numpy()[:2], batch.numpy()[2:]]
                for part in parts[-2:]:
                    loop.sampler.observe(LOSSES[part], groups=LABELS[part])
            assert loop.sampler.lag == 0
        pairs = zip([parts[0][:0], *parts[1::2]], parts[::2], strict=False)
        loop.true = [means_of(np.concatenate(pair)) for pair in pairs]
        loop.check(2 * EPOCH)

    def test_batches_may_be_left_out(self, kind):
        loop = make(kind)
        for _ in range(2):
            for step, batch in enumerate(loop.loader):
                if step in (0, 3):
                    continue
                loop.sampler.observe(LOSSES[batch.numpy()], groups=LABELS[batch.numpy()])
                loop.true.append(means_of(batch.numpy()))
        loop.check(2 * (EPOCH - 2))

    def test_weights_say_what_each_sample_counts(self, kind):
        loop, tokens = make(kind), np.arange(30.0) % 7
        for batch in loop.loader:
            index = batch.numpy()
            loop.sampler.observe(LOSSES[index], weights=tokens[index])
            of = [index[(LABELS[index] == group) & (tokens[index] > 0)] for group in range(3)]
            loop.true.append([np.average(LOSSES[i], weights=tokens[i]) if len(i) else np.nan for i in of])
        loop.check(EPOCH)

    def test_an_unknown_group_is_an_error(self, kind):
        loop = make(kind)
        with pytest.raises(ValueError, match="groups: there is no group 7; the groups are 0, 1, 2"):
            for _ in loop.loader:
                loop.sampler.observe([1.0, 2.0], groups=[0, 7])
        assert told(loop) == []


def test_the_groups_have_the_users_names():
    names = np.array(["cat", "dog", "owl"])
    sampler = MixedBatchSampler(names[LABELS], Heard(), batch_size=5)
    for batch in sampler:
        sampler.observe(LOSSES[batch], groups=names[LABELS[batch]])
        np.testing.assert_allclose(sampler.mixer.told[-1], means_of(batch))
