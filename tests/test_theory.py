"""Propositions 2.3 and 2.5 of the paper on strongly convex quadratics, with the library's update and sampler.

    L_i(theta) = (theta - c_i)^T A_i (theta - c_i) / 2 + b_i,    mu* I <= A_i <= L* I

Everything that is compared against is linear algebra: minimisers are solved for, not trained towards.
"""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import root

from learn2mix import Learn2Mix, MixedBatchSampler

DIMENSIONS = 4


class Quadratics:
    """Random losses of some groups."""

    def __init__(self, seed, num_groups=3, *, same_minimiser=False):
        random = np.random.default_rng(seed)
        self.A = []
        for _ in range(num_groups):
            basis = np.linalg.qr(random.normal(size=(DIMENSIONS, DIMENSIONS)))[0]
            self.A.append(basis @ np.diag(random.uniform(0.5, 4.0, DIMENSIONS)) @ basis.T)
        self.c = random.normal(size=(1 if same_minimiser else num_groups, DIMENSIONS)) * np.ones((num_groups, 1))
        self.b = random.uniform(0.5, 3.0, num_groups)
        spectra = [np.linalg.eigvalsh(A) for A in self.A]
        self.mu, self.L = min(s.min() for s in spectra), max(s.max() for s in spectra)
        self.prior = random.dirichlet(np.ones(num_groups) * 3)
        self.start = random.normal(size=DIMENSIONS) * 3

    def losses(self, theta):
        return np.array([(theta - c) @ A @ (theta - c) / 2 + b for A, c, b in zip(self.A, self.c, self.b, strict=True)])

    def gradient(self, theta, mix):
        return sum(a * A @ (theta - c) for a, A, c in zip(mix, self.A, self.c, strict=True))

    def minimiser(self, mix):
        """Of sum_i a_i L_i."""
        return np.linalg.solve(
            sum(a * A for a, A in zip(mix, self.A, strict=True)),
            sum(a * A @ c for a, A, c in zip(mix, self.A, self.c, strict=True)),
        )

    def limit(self):
        """Where nothing moves any more: theta* minimises at a*, and a* = L(theta*) / sum L(theta*)."""

        def still(theta):
            losses = self.losses(theta)
            return self.gradient(theta, losses / losses.sum())

        solution = root(still, self.minimiser(self.prior), tol=1e-14)
        assert np.abs(still(solution.x)).max() < 1e-10
        losses = self.losses(solution.x)
        return solution.x, losses / losses.sum()

    def mixer(self, mixing_rate):
        mixer = Learn2Mix(mixing_rate)
        mixer.attach(self.prior, range(len(self.prior)))
        return mixer

    def train(self, eta, gamma, num_steps):
        """Learn2Mix with exact gradients: theta and the mix at each step."""
        mixer, theta = self.mixer(gamma), self.start
        path = []
        for _ in range(num_steps):
            path.append((theta, mixer.proportions))
            losses = self.losses(theta)
            theta = theta - eta * self.gradient(theta, mixer.proportions)
            mixer.update(losses)
        return path

    def rho(self, eta):
        return max(abs(1 - eta * self.mu), abs(1 - eta * self.L))


def distance(one, other):
    return float(np.linalg.norm(one - other))


seeds = st.integers(0, 10**6)
# Of the largest step size there is, 2 / L*.
parts = st.floats(0.02, 0.98)


class TestProposition23:
    @given(seeds, parts, st.floats(0.01, 1.0))
    def test_each_step_contracts_towards_the_minimiser_of_its_mix_by_rho(self, seed, part, gamma):
        quadratics = Quadratics(seed)
        eta = part * 2 / quadratics.L
        rho = quadratics.rho(eta)
        assert rho < 1
        path = quadratics.train(eta, gamma, 30)
        for (theta, mix), (after, _) in pairwise(path):
            goal = quadratics.minimiser(mix)
            assert distance(after, goal) <= rho * distance(theta, goal) + 1e-12

    @given(seeds, parts, st.floats(0.01, 0.5))
    def test_where_all_groups_have_one_minimiser_theta_converges_at_rho_whatever_the_mix_does(self, seed, part, gamma):
        quadratics = Quadratics(seed, same_minimiser=True)
        eta = part * 2 / quadratics.L
        goal, path = quadratics.c[0], quadratics.train(eta, gamma, 60)
        first = distance(quadratics.start, goal)
        for step, (theta, _) in enumerate(path):
            assert distance(theta, goal) <= quadratics.rho(eta) ** step * first * (1 + 1e-9) + 1e-12

    @settings(max_examples=20)
    @given(seeds, st.floats(0.05, 0.3))
    def test_where_all_groups_have_one_minimiser_the_mix_converges_to_the_shares_of_the_losses(self, seed, gamma):
        quadratics = Quadratics(seed, same_minimiser=True)
        path = quadratics.train(1 / quadratics.L, gamma, 600)
        np.testing.assert_allclose(path[-1][1], quadratics.b / quadratics.b.sum(), rtol=0, atol=1e-9)

    @pytest.mark.long
    @settings(max_examples=20)
    @given(seeds, st.integers(2, 6), st.floats(0.02, 0.1))  # the authors advise 0.01 to 0.1
    def test_both_converge_to_the_fixed_point(self, seed, num_groups, gamma):
        quadratics = Quadratics(seed, num_groups)
        theta, mix = quadratics.train(1 / quadratics.L, gamma, 1500)[-1]
        goal, proportions = quadratics.limit()
        np.testing.assert_allclose(theta, goal, rtol=0, atol=1e-8)
        np.testing.assert_allclose(mix, proportions, rtol=0, atol=1e-8)

    def test_at_the_limit_the_mix_approaches_by_1_less_gamma_a_step(self):
        quadratics, gamma = Quadratics(0), 0.1
        goal, proportions = quadratics.limit()
        mixer = quadratics.mixer(gamma)
        for step in range(50):
            wanted = proportions + (1 - gamma) ** step * (quadratics.prior - proportions)
            np.testing.assert_allclose(mixer.proportions, wanted, rtol=0, atol=1e-12)
            mixer.update(quadratics.losses(goal))

    def test_the_limit_is_not_the_classical_one(self):
        quadratics = Quadratics(0)
        assert distance(quadratics.limit()[0], quadratics.minimiser(quadratics.prior)) > 0.05

    def test_with_whole_samples_it_comes_as_close_as_a_sample_in_the_batch(self):
        quadratics = Quadratics(1)
        sizes = np.round(quadratics.prior * 1000).astype(int)
        labels = np.repeat([0, 1, 2], sizes)
        quadratics.prior = sizes / sizes.sum()
        sampler = MixedBatchSampler(labels, Learn2Mix(0.05), batch_size=200, num_batches=1500)
        theta = quadratics.start
        for batch in sampler:
            group = labels[batch]
            counts = np.bincount(group, minlength=3)
            losses = quadratics.losses(theta)
            theta = theta - 0.2 / quadratics.L * quadratics.gradient(theta, counts / 200)
            sampler.observe(losses[group])
        goal, proportions = quadratics.limit()
        assert distance(theta, goal) <= 0.02
        np.testing.assert_allclose(sampler.mixer.proportions, proportions, rtol=0, atol=0.01)
        np.testing.assert_allclose(np.bincount(group, minlength=3) / 200, proportions, rtol=0, atol=0.01)


class TestProposition25:
    """From the same theta, one step at the mix after an update against one at the data's own."""

    def both_steps(self, seed, part, gamma):
        quadratics = Quadratics(seed)
        eta, theta = part * 2 / quadratics.L, quadratics.start
        mixer = quadratics.mixer(gamma)
        mixer.update(quadratics.losses(theta))
        classical = quadratics.gradient(theta, quadratics.prior)
        change = quadratics.gradient(theta, mixer.proportions) - classical
        return quadratics, eta, theta, classical, change

    @given(seeds, parts, st.floats(0.01, 1.0), st.booleans())
    def test_the_condition_decides_which_step_ends_closer(self, seed, part, gamma, to_the_limit):
        quadratics, eta, theta, classical, change = self.both_steps(seed, part, gamma)
        goal = quadratics.limit()[0] if to_the_limit else quadratics.minimiser(quadratics.prior)
        adaptive_is_closer = distance(theta - eta * (classical + change), goal) < distance(
            theta - eta * classical, goal
        )
        # Points the right way by more than the second-order terms, which gamma bounds: change is gamma times a vector.
        margin = 2 * (theta - goal) @ change - eta * (2 * classical @ change + change @ change)
        if abs(margin) > 1e-9:
            assert adaptive_is_closer == (margin > 0)

    def test_for_small_steps_its_sign_alone_decides(self):
        verdicts = []
        for seed in range(200):
            quadratics, eta, theta, classical, change = self.both_steps(seed, part=1e-4, gamma=0.1)
            goal = quadratics.limit()[0]
            closer = distance(theta - eta * (classical + change), goal) < distance(theta - eta * classical, goal)
            verdicts.append((bool((theta - goal) @ change > 0), closer))
        assert sum(points == closer for points, closer in verdicts) >= 199  # but for ties at the size of the step
        assert 20 < sum(points for points, _ in verdicts) < 200  # both verdicts are put to the test

    def test_a_right_direction_can_be_overdone(self):
        """Where it points the right way there is a largest gamma, and beyond it the classical step is better."""
        quadratics = Quadratics(57)
        eta, theta = 1.9 / quadratics.L, quadratics.start
        goal, losses = quadratics.limit()[0], quadratics.losses(theta)
        classical = quadratics.gradient(theta, quadratics.prior)
        direction = quadratics.gradient(theta, losses / losses.sum()) - classical  # the change is gamma times this
        largest = 2 * (theta - eta * classical - goal) @ direction / (eta * direction @ direction)

        def gain(gamma):
            mixer = quadratics.mixer(gamma)
            mixer.update(losses)
            step = theta - eta * quadratics.gradient(theta, mixer.proportions)
            return distance(theta - eta * classical, goal) - distance(step, goal)

        assert 0 < largest < 1
        assert gain(0.99 * largest) > 0 > gain(min(1.01 * largest, 1.0))


def test_the_oracle_itself():
    quadratics = Quadratics(0)
    mix = np.array([0.2, 0.3, 0.5])
    at_minimum = quadratics.minimiser(mix)
    assert np.abs(quadratics.gradient(at_minimum, mix)).max() < 1e-12
    step, theta = 1e-6, quadratics.start
    by_differences = [
        mix @ (quadratics.losses(theta + step * unit) - quadratics.losses(theta - step * unit)) / (2 * step)
        for unit in np.eye(DIMENSIONS)
    ]
    assert quadratics.gradient(theta, mix) == pytest.approx(by_differences, rel=1e-6)
