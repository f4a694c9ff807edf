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


# Rules besides the paper's; a mix is a list of shares, a loss None or NaN where a group was not seen.


def remember(before, losses, memory):
    """Exponential moving average of each group's losses; the first one counts in full."""
    after = []
    for old, new in zip(before, losses, strict=True):
        after.append(new if not known(old) else old if not known(new) else memory * old + (1 - memory) * new)
    return after


def what_repeats_leave(draws, sizes, passes):
    """exp(-(r_i - min r) / R), with r the passes over each group."""
    repeats = [drawn / size for drawn, size in zip(draws, sizes, strict=True)]
    return [math.exp(-(r - min(repeats)) / passes) for r in repeats]


def learn2mix_with_passes(mix, losses, draws, sizes, passes, mixing_rate, floor=0.0):
    left = what_repeats_leave(draws, sizes, passes)
    faded = [loss * share if known(loss) else None for loss, share in zip(losses, left, strict=True)]
    return update_proportions(mix, faded, mixing_rate, floor)


def fading(previous, draws, sizes, passes, mixing_rate):
    """A step from the mix of the batch before towards what repeats leave of a uniform mix."""
    left = what_repeats_leave(draws, sizes, passes)
    return [a + mixing_rate * (s / math.fsum(left) - a) for a, s in zip(previous, left, strict=True)]


def exponentiated(mix, gains):
    """a_i exp(g_i), normalised over the groups that were seen; the others keep their shares."""
    seen = [i for i in range(len(mix)) if known(gains[i])]
    rest = math.fsum(mix[i] for i in seen)
    grown = {i: mix[i] * math.exp(gains[i]) for i in seen}
    return [rest * grown[i] / math.fsum(grown.values()) if i in grown else mix[i] for i in range(len(mix))]


def group_dro(mix, losses, sizes, step_size, adjustment):
    gains = [
        step_size * (loss + adjustment / math.sqrt(size)) if known(loss) else None
        for loss, size in zip(losses, sizes, strict=True)
    ]
    return exponentiated(mix, gains)


def online_data_mixing(rewards, losses, batch_mix, update, alpha):
    """EXP3 with averaged rewards; ``update`` counts from 1. Returns the rewards and the mix."""
    num_groups = len(rewards)

    def epsilon(t):
        return min(1 / num_groups, math.sqrt(math.log(num_groups) / (num_groups * t))) if t else 1 / num_groups

    rewards = [
        alpha * old + (1 - alpha) * loss / share if known(loss) else old
        for old, loss, share in zip(rewards, losses, batch_mix, strict=True)
    ]
    weights = [math.exp(epsilon(update - 1) * reward) for reward in rewards]
    left = 1 - num_groups * epsilon(update)
    return rewards, [left * weight / math.fsum(weights) + epsilon(update) for weight in weights]


def excess_loss(mix, losses, reference, step_size, smoothing):
    gains = [
        step_size * max(loss - base, 0.0) if known(loss) else None for loss, base in zip(losses, reference, strict=True)
    ]
    return [(1 - smoothing) * a + smoothing / len(mix) for a in exponentiated(mix, gains)]


def tempered(sizes, power):
    raised = [size**power for size in sizes]
    return [value / math.fsum(raised) for value in raised]


def unimax(sizes, budget, passes):
    """From the smallest group on: an even part of what is left, or all that its passes allow."""
    order, given, left = sorted(range(len(sizes)), key=lambda i: sizes[i]), {}, budget
    while order:
        i = order.pop(0)
        given[i] = min(left / (len(order) + 1), passes * sizes[i])
        left -= given[i]
    return [given[i] / math.fsum(given.values()) for i in range(len(sizes))]


def effective_numbers(sizes, beta):
    """Samples of a class, each weighted by 1 over the effective number of samples of its class."""
    weights = [size * (1 - beta) / (1 - beta**size) for size in sizes]
    return [weight / math.fsum(weights) for weight in weights]
