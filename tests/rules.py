"""Every rule with settings that are not its defaults, and its twin: a mix after each step, in plain Python."""

from dataclasses import dataclass, field

import reference
from learn2mix import (
    AlternatingMix,
    AnnealedMix,
    ExcessLoss,
    FadingMix,
    FixedMix,
    GroupDRO,
    Learn2Mix,
    OnlineDataMixing,
    StagedMix,
)

SIZES = [600, 250, 100, 50]
PRIOR = [size / sum(SIZES) for size in SIZES]
NAMES = [0, 1, 2, 3]
UNIFORM = [0.25] * 4
REFERENCE = [0.5, 0.2, 1.0, 0.0]
STAGES = {0: "uniform", 5: PRIOR[::-1], 400: None}


@dataclass
class Seen:
    """What a twin has seen: its mix, and what it remembers."""

    mix: list[float]
    losses: list[float | None] = field(default_factory=lambda: [None] * 4)
    rewards: list[float] = field(default_factory=lambda: [0.0] * 4)
    num_updates: int = 0


def learn2mix(seen, losses, info):
    return reference.update_proportions(seen.mix, losses, 0.3, 0.02)


def learn2mix_passes(seen, losses, info):
    seen.losses = reference.remember(seen.losses, losses, 0.9)
    return reference.learn2mix_with_passes(seen.mix, seen.losses, info.draws.tolist(), SIZES, 8.0, 0.1)


def group_dro(seen, losses, info):
    seen.losses = reference.remember(seen.losses, losses, 0.5)
    return reference.group_dro(seen.mix, seen.losses, SIZES, 0.05, 2.0)


def online_data_mixing(seen, losses, info):
    seen.rewards, mix = reference.online_data_mixing(
        seen.rewards, losses, info.proportions.tolist(), seen.num_updates + 1, 0.9
    )
    return mix


def excess_loss(seen, losses, info):
    return reference.excess_loss(seen.mix, losses, REFERENCE, 0.2, 0.01)


def fading(seen, batch, info):
    if batch == 0:
        return UNIFORM
    return reference.fading(seen.mix, info.draws.tolist(), SIZES, 3.0, 0.2)


def annealed(seen, batch, info):
    progress = min(batch / 299, 1.0)
    return [(1 - progress) * a + progress * b for a, b in zip(UNIFORM, PRIOR, strict=True)]


def staged(seen, batch, info):
    return UNIFORM if batch < 5 else PRIOR[::-1] if batch < 400 else PRIOR


def alternating(seen, batch, info):
    turn = batch // 3 % 4
    return [float(group == turn) for group in range(4)]


def fixed(mix):
    return lambda seen, batch, info: mix


# Rules that follow losses: how to make one, its first mix, its twin.
FOLLOWING = {
    "learn2mix": (lambda: Learn2Mix(0.3, floor=0.02), PRIOR, learn2mix),
    "learn2mix-passes": (
        lambda: Learn2Mix(0.1, initial="uniform", passes=8.0, memory=0.9),
        UNIFORM,
        learn2mix_passes,
    ),
    "group-dro": (lambda: GroupDRO(0.05, adjustment=2.0, memory=0.5), UNIFORM, group_dro),
    "online-data-mixing": (lambda: OnlineDataMixing(reward_memory=0.9), PRIOR, online_data_mixing),
    "excess-loss": (lambda: ExcessLoss(REFERENCE, step_size=0.2, smoothing=0.01), UNIFORM, excess_loss),
}
# Rules that follow the batches.
BY_BATCH = {
    "fading": (lambda: FadingMix(3.0, mixing_rate=0.2), fading),
    "annealed": (lambda: AnnealedMix("uniform", None, num_steps=300), annealed),
    "staged": (lambda: StagedMix(STAGES), staged),
    "alternating": (lambda: AlternatingMix(every=3), alternating),
    "tempered": (lambda: FixedMix.tempered(power=0.4), fixed(reference.tempered(SIZES, 0.4))),
    "unimax": (lambda: FixedMix.unimax(1200, passes=4), fixed(reference.unimax(SIZES, 1200, 4))),
    "effective-number": (lambda: FixedMix.effective_number(0.99), fixed(reference.effective_numbers(SIZES, 0.99))),
}
RULES = {name: case[0] for name, case in {**FOLLOWING, **BY_BATCH}.items()}
