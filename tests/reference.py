"""The paper's algorithm in slow, obvious Python: what the library has to equal. Imports nothing of it.

Learn2Mix (arXiv 2412.16482), Algorithm 1 (train by the mix) and Algorithm 2 (move the mix), with four corrections that
the project makes to them:

- a batch is exact: what rounding owes a group is carried to the next batch, and a batch is handed out one sample at a
  time to the group that is owed most, the earlier one where two are owed the same;
- the loss of a group is pooled over its samples, not averaged over batches;
- a group that was not seen keeps its share, and the others share the rest by their losses;
- ``floor`` bounds the shares from below; groups above it pay, by what they have above it.

A loss is None, or NaN, where a group was not seen.
"""

import math


def known(loss):
    return loss is not None and not math.isnan(loss)


def update_proportions(proportions, losses, mixing_rate, floor=0.0):
    """Algorithm 2: L_i <- L_i / sum_j L_j; a_i <- a_i + gamma (L_i - a_i)."""
    seen = [i for i in range(len(proportions)) if known(losses[i])]
    total_loss = math.fsum(losses[i] for i in seen)
    if total_loss == 0:
        return list(proportions)
    rest = math.fsum(proportions[i] for i in seen)
    mix = list(proportions)
    for i in seen:
        target = rest * (losses[i] / total_loss)
        mix[i] = proportions[i] + mixing_rate * (target - proportions[i])
    below = [i for i in seen if mix[i] < floor]
    if below:
        excess = {i: max(mix[i] - floor, 0.0) for i in seen}
        to_share = rest - floor * len(seen)
        for i in seen:
            mix[i] = floor + to_share * excess[i] / math.fsum(excess.values())
    return mix


def apportion_owed(owed, batch_size):
    """One sample at a time to the group that is owed most, the earlier one where two are owed the same."""
    left = list(owed)
    counts = [0] * len(left)
    for _ in range(batch_size):
        most = 0
        for i in range(1, len(left)):
            if left[i] > left[most]:
                most = i
        counts[most] += 1
        left[most] -= 1
    return counts


def compose(credit, proportions, batch_size):
    """The counts of the next batch, and the credit that is carried on."""
    owed = [c + a * batch_size for c, a in zip(credit, proportions, strict=True)]
    counts = apportion_owed(owed, batch_size)
    return counts, [o - n for o, n in zip(owed, counts, strict=True)]


def largest_remainder(proportions, batch_size):
    """Hamilton's method: whole quotas first, then one more to the largest remainders, the earlier where equal."""
    quotas = [a * batch_size for a in proportions]
    counts = [math.floor(q) for q in quotas]
    while sum(counts) < batch_size:
        most = 0
        for i in range(1, len(counts)):
            if quotas[i] - counts[i] > quotas[most] - counts[most]:
                most = i
        counts[most] += 1
    return counts


def pooled_means(pairs, num_groups):
    """Mean loss of each group from pairs (group, loss); None for a group without any."""
    means = []
    for group in range(num_groups):
        losses = [loss for g, loss in pairs if g == group]
        means.append(math.fsum(losses) / len(losses) if losses else None)
    return means


def train(prior, loss_of, *, batch_size, num_batches, num_epochs, mixing_rate, every="step", floor=0.0, lag=0):
    """Algorithm 1: the mix and the counts of each batch.

    ``loss_of(step, group, place)`` is the loss of the sample at a place of a batch, if it lies group after group.
    ``lag`` batches are composed ahead, but never beyond the end of an epoch. An update waits until two groups were
    seen, for the loss of one alone moves nothing, unless the epoch ends.
    """
    mix, credit = list(prior), [0.0] * len(prior)
    trace, pool, step, steps_since_update = [], [], 0, 0
    for _ in range(num_epochs):
        waiting, composed = [], 0
        for position in range(num_batches):
            while composed < num_batches and composed <= position + lag:
                counts, credit = compose(credit, mix, batch_size)
                waiting.append((mix, counts))
                composed += 1
            trained_on, counts = waiting.pop(0)
            trace.append((trained_on, counts))
            groups = [group for group, count in enumerate(counts) for _ in range(count)]
            losses = [(group, loss_of(step, group, place)) for place, group in enumerate(groups)]
            pool += [(group, loss) for group, loss in losses if known(loss)]
            step += 1
            steps_since_update += 1
            ends_epoch = position + 1 == num_batches
            due = ends_epoch if every == "epoch" else steps_since_update >= (1 if every == "step" else every)
            if due and (ends_epoch or len({group for group, _ in pool}) >= 2):
                mix = update_proportions(mix, pooled_means(pool, len(prior)), mixing_rate, floor)
                pool, steps_since_update = [], 0
    return trace
