"""Known answers from the literature and from other projects' test suites, for the estimators."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from understudy.gates.stats.distributions import (
    beta_cdf,
    normal_cdf,
    normal_log_cdf,
    normal_quantile,
    t_cdf,
    t_quantile,
)
from understudy.gates.stats.multiple import benjamini_hochberg, e_benjamini_hochberg, holm, log_mean
from understudy.gates.stats.paired import mcnemar, sample_size, tango


@pytest.mark.parametrize(
    ("cells", "alpha", "expected"),
    [
        ((1, 1, 7, 12), 0.05, (-0.517, -0.026)),  # Fagerland 2014
        ((43, 0, 1, 0), 0.10, (-0.096, 0.037)),  # Tango 1998, table V
        ((4, 9, 3, 16), 0.05, (-0.027, 0.390)),  # Tango 1998, table VII
        ((53, 16, 8, 9), 0.05, (-0.020, 0.207)),  # Agresti and Min 2005
    ],
)
def test_tango_published(cells, alpha, expected):
    """Tango's score interval gives the published limits to three digits."""
    _, gained, lost, _ = cells
    assert tango(gained, lost, sum(cells), alpha) == pytest.approx(expected, abs=6e-4)


def test_tango_never_certain():
    """Without a discordant pair the interval keeps a width, which shrinks like z^2 / n."""
    low, high = tango(0, 0, 500, 0.10)
    z2 = normal_quantile(0.95) ** 2
    assert low == pytest.approx(-z2 / (500 + z2), rel=1e-6)
    assert high == pytest.approx(-low, rel=1e-6)


@pytest.mark.parametrize(("gained", "lost", "n"), [(0, 30, 30), (30, 0, 30), (0, 1, 1), (1, 0, 1), (0, 0, 1)])
def test_tango_extremes(gained, lost, n):
    """The interval holds the estimate and stays within -1 to 1 at every edge of the table."""
    low, high = tango(gained, lost, n, 0.05)
    assert -1 <= low <= (gained - lost) / n <= high <= 1


def test_mcnemar_known():
    """b=1, c=7 gives the textbook p-values, one- and two-sided, exact and mid-p."""
    result = mcnemar(1, 7)
    assert result.two == pytest.approx(0.0703125, abs=1e-12)
    assert result.two_mid == pytest.approx(0.0390625, abs=1e-12)
    assert result.one == pytest.approx(0.03515625, abs=1e-12)
    assert result.one_mid == pytest.approx(0.01953125, abs=1e-12)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (0, 1), (5, 5), (40, 3), (3, 40), (600, 655), (0, 900)])
def test_mcnemar_against_scipy(gained, lost):
    """Exact p-values agree with scipy's binomial."""
    result = mcnemar(gained, lost)
    n = gained + lost
    one = stats.binom.sf(lost - 1, n, 0.5)
    assert result.one == pytest.approx(one, rel=1e-9, abs=1e-300)
    assert result.one_mid == pytest.approx(1.0 if n == 0 else one - 0.5 * stats.binom.pmf(lost, n, 0.5), rel=1e-9)
    if n:
        assert result.two == pytest.approx(stats.binomtest(gained, n).pvalue, rel=1e-9)


@pytest.mark.parametrize(("repeats", "expected"), [(1, 3876), (5, 1551), (10, 1260), (math.inf, 969)])
def test_miller_sample_size(repeats, expected):
    """Miller's power formula with omega^2 = 1/9 and s^2 = 1/6 in both arms, 3 points, two-sided 5 %, 80 %."""
    assert math.ceil(sample_size(1 / 9, 1 / 3, repeats, 0.03, alpha=0.025, power=0.8)) == expected


def test_sample_size_binary_margins():
    """At discordance .16 two points need 2,473 pairs, five points 396 and ten points 99; no gap needs infinity."""
    sizes = [round(sample_size(0.16, 0, 1, gap, alpha=0.05, power=0.8)) for gap in (0.02, 0.05, 0.10)]
    assert sizes == [2473, 396, 99]
    assert sample_size(0.16, 0, 1, 0.0, alpha=0.05, power=0.8) == math.inf


def test_holm_known():
    """Holm's adjusted p-values, in the order given."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_benjamini_hochberg_against_scipy():
    """q-values agree with scipy's false discovery control."""
    p = [0.01, 0.04, 0.03, 0.005, 0.9, 0.2, 0.2]
    assert benjamini_hochberg(p) == pytest.approx(list(stats.false_discovery_control(p)))


def test_e_benjamini_hochberg():
    """The largest k with k e_(k) / m >= 1 / q is rejected, and nothing where no k qualifies."""
    log_e = [math.log(x) for x in (45.0, 1.0, 35.0, 0.2)]
    assert e_benjamini_hochberg(log_e, 0.1) == [True, False, True, False]
    assert e_benjamini_hochberg([math.log(39.0), 0.0, 0.0, 0.0], 0.1) == [False] * 4
    assert e_benjamini_hochberg([], 0.1) == []


def test_log_mean():
    """The mean of e-values is taken without overflow, and of none it is 1."""
    assert log_mean([math.log(1), math.log(3)]) == pytest.approx(math.log(2))
    assert log_mean([5000.0, 0.0]) == pytest.approx(5000 - math.log(2))
    assert log_mean([]) == 0.0


@pytest.mark.parametrize("x", [-1e4, -60.0, -38.0, -26.0, -25.0, -24.9, -8.0, -1.0, 0.0, 2.5, 9.0])
def test_normal_log_cdf(x):
    """The log of the normal distribution function agrees with scipy far into the tail."""
    assert normal_log_cdf(x) == pytest.approx(stats.norm.logcdf(x), rel=1e-10, abs=1e-15)
    assert normal_cdf(x) == pytest.approx(stats.norm.cdf(x), rel=1e-10, abs=1e-300)


@pytest.mark.parametrize("freedom", [1, 2, 3.5, 9, 29, 255, 5000])
@pytest.mark.parametrize("p", [0.0005, 0.025, 0.05, 0.5, 0.8, 0.975])
def test_student_t(freedom, p):
    """Quantiles and probabilities of Student's t agree with scipy."""
    x = t_quantile(p, freedom)
    assert x == pytest.approx(stats.t.ppf(p, freedom), rel=1e-8, abs=1e-9)
    assert t_cdf(x, freedom) == pytest.approx(p, rel=1e-9)
    assert t_cdf(3 * x - 1, freedom) == pytest.approx(stats.t.cdf(3 * x - 1, freedom), rel=1e-9)


@pytest.mark.parametrize(("a", "b", "x"), [(2, 3, 0.4), (0.5, 200, 0.001), (300, 2, 0.99), (5, 5, 0), (5, 5, 1)])
def test_beta_cdf(a, b, x):
    """The incomplete beta function agrees with scipy."""
    assert beta_cdf(a, b, x) == pytest.approx(stats.beta.cdf(x, a, b), rel=1e-10)
