"""Reference values for the statistics of `src/semantics`, from scipy, scikit-learn and statsmodels.

    python tests/reference/semantics.py        # writes tests/goldens/statistics.json

Every case is `{"name", "args", "expected"}`. The few figures that no library defines (AURC with ties, the conformal rank) are
worked out here in exact fractions and, where a case is small enough, checked by brute force.
"""

import itertools
import json
import math
import pathlib
from fractions import Fraction

import numpy as np
import scipy
import sklearn
import statsmodels
from scipy import stats
from sklearn import linear_model, metrics
from statsmodels.stats import contingency_tables, multitest, proportion

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "goldens" / "statistics.json"
ABOUT = {
    "wilson": "[low, high] of `successes` of `n`, two-sided at `confidence`, no continuity correction",
    "newcombe": "[low, high] of successes1/n1 - successes2/n2: Newcombe's hybrid score interval (1998, method 10), no correction",
    "newcombe_paired": "[low, high] of (both + first_only)/n - (both + second_only)/n of paired shares: Newcombe's score interval "
    "(1998, method 10), statsmodels' Wilson intervals joined by the correlation",
    "fisher_exact": "two-sided p of the table [[a, b], [c, d]]: the sum over tables no likelier than the observed one",
    "mcnemar_exact": "two-sided exact binomial p from the discordant counts `b` and `c`, at most 1",
    "benjamini_hochberg": "adjusted p-values (step-up, made monotone, at most 1) and rejections at `level`",
    "auroc": "area under the ROC curve, `positive` the class whose scores should be larger, ties count one half",
    "aupr": "average precision: sum over distinct thresholds of (recall step) x precision, ties taken together",
    "fpr95": "false-positive rate at the highest threshold whose true-positive rate (score >= threshold) is at least 0.95",
    "aurc": "mean over k = 1..n of the error rate among the k least suspicious, averaged over all orders of tied scores",
    "accuracy_at": "accuracy among the ceil(coverage x n) least suspicious, averaged over all orders of tied scores; `errors` as in aurc",
    "rank_test": "[auroc, two-sided p] of lists of (first group, second group): U summed over strata, normal approximation with tie "
    "correction and without continuity correction; one stratum is scipy's mannwhitneyu",
    "null_scale": "median |z| over that of a standard normal variable: the median absolute deviation from 0, scaled to it",
    "logistic": "[intercept, weights...] of a logistic regression on `features` less their mean over their standard deviation, with the "
    "penalty |weights|^2 / 2 on those, brought back to the features as they are; a constant feature has weight 0",
    "correlation_interval": "[low, high] of a correlation `r` of `n` pairs at `confidence`: Fisher's, as scipy's pearsonr gives it",
    "bootstrap_mean": "[low, high] of the mean of `values`: scipy's percentile bootstrap of 200,000 replicates",
    "bootstrap_auroc": "[low, high] of the AUROC of `positive` above `negative`, each drawn anew on its own: the same",
    "beta_quantile": "the `q` quantile of Beta(a, b)",
    "conformal": "rank = ceil((n + 1)(1 - alpha)), alpha read as a decimal; the realised rejection rate of a threshold at the "
    "rank-th smallest of n is Beta(n + 1 - rank, rank), whose 5 % and 95 % quantiles are low and high; null if n is too small",
}
cases = []


def case(name, expected, **args):
    """Records one case, with numpy scalars and arrays as plain JSON."""
    plain = lambda value: value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
    cases.append({"name": name, "args": {key: plain(value) for key, value in args.items()}, "expected": expected})


def intervals():
    """Wilson's and Newcombe's intervals, with none of n, all of n, n = 1 and large n."""
    for k, n in [(0, 1), (1, 1), (0, 10), (10, 10), (1, 10), (5, 10), (3, 7), (19, 20), (971, 1000), (0, 50000), (49999, 50000)]:
        for confidence in (0.95, 0.9):
            low, high = proportion.proportion_confint(k, n, alpha=1 - confidence, method="wilson")
            other = stats.binomtest(k, n).proportion_ci(confidence_level=confidence, method="wilson")
            assert math.isclose(low, other.low, abs_tol=1e-12) and math.isclose(high, other.high, abs_tol=1e-12)
            case("wilson", [float(low), float(high)], successes=k, n=n, confidence=confidence)
    pairs = [(56, 70, 48, 80), (9, 10, 3, 10), (6, 7, 2, 7), (5, 56, 0, 29), (0, 10, 0, 20), (0, 10, 0, 10), (10, 10, 0, 20), (10, 10, 0, 10)]
    for k1, n1, k2, n2 in [*pairs, (0, 1, 1, 1), (1, 1, 1, 1), (900, 1000, 3, 5), (12345, 50000, 12000, 49000)]:
        low, high = proportion.confint_proportions_2indep(k1, n1, k2, n2, method="newcomb", compare="diff", alpha=0.05)
        case("newcombe", [float(low), float(high)], successes1=k1, n1=n1, successes2=k2, n2=n2, confidence=0.95)


def paired_intervals():
    """Newcombe's interval of paired shares: agreement, disagreement, none and all discordant, empty margins, large n."""
    tables = [(59, 6, 16, 80), (1, 1, 7, 12), (36, 12, 2, 0), (0, 10, 0, 0), (0, 0, 10, 0), (10, 0, 0, 10), (5, 0, 0, 0), (0, 0, 0, 7)]
    for both, first, second, neither in [*tables, (3, 2, 2, 3), (0, 5, 4, 1), (1, 0, 3, 9), (900, 30, 10, 60), (40000, 2000, 1700, 6300)]:
        n = both + first + second + neither
        shares = [(both + first) / n, (both + second) / n]
        ends = [proportion.proportion_confint(k, n, alpha=0.05, method="wilson") for k in (both + first, both + second)]
        margins = (both + first) * (second + neither) * (both + second) * (first + neither)
        agreement = both * neither - first * second
        phi = (max(agreement - n / 2, 0) if agreement > 0 else agreement) / math.sqrt(margins) if margins else 0.0
        reach = lambda a, b: math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0))
        low = shares[0] - shares[1] - reach(shares[0] - ends[0][0], ends[1][1] - shares[1])
        high = shares[0] - shares[1] + reach(ends[0][1] - shares[0], shares[1] - ends[1][0])
        counts = dict(both=both, first_only=first, second_only=second, neither=neither)
        case("newcombe_paired", [float(max(low, -1)), float(min(high, 1))], **counts, confidence=0.95)


def fisher_in_integers(a, b, c, d):
    """Fisher's two-sided p by whole numbers: no rounding decides which tables are as likely as the observed one."""
    ways = [math.comb(a + b, k) * math.comb(c + d, a + c - k) for k in range(max(0, a - d), min(a + b, a + c) + 1)]
    observed = math.comb(a + b, a) * math.comb(c + d, c)
    return float(Fraction(sum(way for way in ways if way <= observed), sum(ways)))


def tests_of_counts():
    """Fisher's and McNemar's exact tests, with empty rows and columns, equal probabilities and p-values near underflow."""
    tables = [(8, 2, 1, 5), (3, 1, 1, 3), (0, 5, 5, 0), (5, 0, 0, 5), (0, 0, 4, 6), (0, 4, 0, 6), (1, 0, 0, 1), (10, 10, 10, 10), (1, 9, 11, 3)]
    for a, b, c, d in [*tables, (2, 15, 7, 400), (190, 10, 60, 90), (1000, 20, 30, 1100), (4900, 100, 37, 13), (0, 0, 0, 0)]:
        p = float(stats.fisher_exact([[a, b], [c, d]]).pvalue)
        assert math.isclose(p, fisher_in_integers(a, b, c, d), rel_tol=1e-7)
        case("fisher_exact", p, a=a, b=b, c=c, d=d)
    for b, c in [(0, 0), (0, 1), (1, 0), (0, 5), (0, 6), (3, 3), (10, 2), (5, 15), (50, 51), (120, 60), (1000, 1100), (900, 100)]:
        p = float(contingency_tables.mcnemar([[0, b], [c, 0]], exact=True).pvalue) if b + c else 1.0
        if b + c:
            assert math.isclose(p, stats.binomtest(b, b + c, 0.5).pvalue, rel_tol=1e-9)
        case("mcnemar_exact", p, b=b, c=c)


def multiple_testing():
    """Benjamini-Hochberg: a textbook family, ties, p = level, one test, all and none significant, a step-up rescue."""
    paper = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    random = np.random.default_rng(7)
    families = [paper, paper[::-1], [0.05], [0.0500001], [0.0, 1.0], [0.01] * 5, [0.04, 0.04, 0.04, 0.2], [0.03, 0.045, 0.05], [1.0] * 4]
    for p in [*families, [0.5, 0.0], np.round(random.uniform(size=45) ** 3, 6).tolist(), np.round(random.uniform(size=20), 2).tolist()]:
        reject, adjusted, _, _ = multitest.multipletests(p, alpha=0.05, method="fdr_bh")
        assert np.allclose(adjusted, stats.false_discovery_control(p), rtol=1e-12, atol=0)
        case("benjamini_hochberg", {"adjusted": adjusted.tolist(), "rejected": reject.tolist()}, p_values=p, level=0.05)


def aurc(scores, errors):
    """The area under the risk-coverage curve in exact fractions: tied inputs share their group's mean error."""
    total, seen_errors, seen = Fraction(0), Fraction(0), 0
    for score in sorted(set(scores)):
        group = [error for s, error in zip(scores, errors) if s == score]
        share = Fraction(sum(group), len(group))
        for _ in group:
            seen_errors, seen = seen_errors + share, seen + 1
            total += seen_errors / seen
    return total / len(scores)


def aurc_by_brute_force(scores, errors):
    """The same as the mean over every order of the inputs that sorts the scores."""
    areas = []
    for order in itertools.permutations(range(len(scores))):
        if all(scores[i] <= scores[j] for i, j in zip(order, order[1:])):
            risks = [Fraction(sum(errors[i] for i in order[:k]), k) for k in range(1, len(order) + 1)]
            areas.append(sum(risks) / len(risks))
    return sum(areas) / len(areas)


def accuracy_at(scores, errors, coverage):
    """The accuracy of the least suspicious in exact fractions: tied inputs share their group's mean error."""
    kept = max(1, math.ceil(Fraction(coverage) * len(scores)))
    risks = []
    for score in sorted(set(scores)):
        group = [error for s, error in zip(scores, errors) if s == score]
        risks += [Fraction(sum(group), len(group))] * len(group)
    return 1 - sum(risks[:kept]) / kept


def detection():
    """Ranking metrics on separated, reversed, tied, constant, rare-positive and random scores (larger = more suspicious)."""
    random = np.random.default_rng(11)
    separated = ([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1])
    examples = [separated, (separated[0], [1, 1, 0, 0]), ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]), ([0.5] * 6, [0, 1, 0, 1, 0, 0])]
    examples += [([1.0, 2.0, 2.0, 2.0, 3.0, 3.0, -1.0], [0, 0, 1, 1, 1, 0, 1]), ([-3.0, 7.0], [1, 0]), ([0.0, -0.0, 1.0], [0, 1, 1])]
    for n, rate, levels in [(40, 0.5, None), (200, 0.05, None), (300, 0.3, 12), (100, 0.9, 5), (64, 0.02, 3)]:
        positive = random.uniform(size=n) < rate
        positive[:2] = [True, False]
        scores = random.normal(size=n) + positive
        scores = np.round(scores, 4) if levels is None else np.floor(scores * levels / 4) / 8
        examples.append((scores.tolist(), positive.astype(int).tolist()))
    for scores, positive in examples:
        false_positives, true_positives, _ = metrics.roc_curve(positive, scores, drop_intermediate=False)
        # A detector at the k-th positive of n reaches 0.95 iff 20 k >= 19 n: no rounding may decide.
        total = sum(positive)
        reached = [20 * round(rate * total) >= 19 * total for rate in true_positives]
        case("auroc", float(metrics.roc_auc_score(positive, scores)), scores=scores, positive=positive)
        case("aupr", float(metrics.average_precision_score(positive, scores)), scores=scores, positive=positive)
        case("fpr95", float(false_positives[reached.index(True)]), scores=scores, positive=positive)
        if len(scores) <= 7:
            assert aurc(scores, positive) == aurc_by_brute_force(scores, positive)
        case("aurc", float(aurc(scores, positive)), scores=scores, errors=positive)
        for coverage in ("1", "0.95", "0.9", "0.7", "0.5"):
            found = float(accuracy_at(scores, positive, coverage))
            case("accuracy_at", found, scores=scores, errors=positive, coverage=float(coverage))
    case("aurc", 0.0, scores=[0.3, 0.1], errors=[0, 0])
    case("aurc", 1.0, scores=[0.3], errors=[1])


def conformal():
    """Quantiles of Beta distributions, and the calibration's rank with its band; some ranks are wrong if (n+1)(1-alpha) is rounded."""
    for a, b in [(1, 1), (0.5, 0.5), (1, 19), (6, 95), (51, 950), (501, 9500), (2, 1), (1, 400), (30, 3)]:
        for q in (0.05, 0.5, 0.95):
            case("beta_quantile", float(stats.beta.ppf(q, a, b)), q=q, a=a, b=b)
    # Ranks where rounding (n + 1) x (1 - alpha) in f64 gives one too many or too few belong here.
    treacherous = [
        (n, alpha)
        for alpha in ("0.05", "0.1", "0.15", "0.2", "0.3", "0.35", "0.45")
        for n in range(1, 500)
        if math.ceil((n + 1) * (1 - float(alpha))) != math.ceil((n + 1) * (1 - Fraction(alpha)))
    ]
    sizes = [(18, "0.05"), (19, "0.05"), (20, "0.05"), (99, "0.05"), (100, "0.05"), (1000, "0.05"), (8, "0.1"), (9, "0.1"), (98, "0.01"), (99, "0.01")]
    for n, alpha in [*sizes, (500, "0.025"), *treacherous[:3], *treacherous[-3:]]:
        rank = math.ceil((n + 1) * (1 - Fraction(alpha)))
        band = [float(stats.beta.ppf(q, n + 1 - rank, rank)) for q in (0.05, 0.95)] if rank <= n else None
        case("conformal", band and {"rank": rank, "low": band[0], "high": band[1]}, n=n, alpha=float(alpha))


def rank_tests():
    """The rank-sum test over strata: one stratum against scipy, several by their sums, with ties, constants and empty groups."""
    random = np.random.default_rng(19)
    draw = lambda m, n, levels: [np.round(random.normal(size=size) * levels).tolist() for size in (m, n)]
    single = [draw(5, 5, 100), draw(12, 30, 100), draw(40, 8, 2), draw(9, 9, 1), [[1.0, 2.0], [2.0]], [[0.0], [1.0]], [[0.0, -0.0], [0.0]]]
    several = [[draw(6, 9, 3), draw(20, 5, 3)], [draw(7, 7, 50), [[1.0], []], draw(5, 30, 2)], [[[1.0, 1.0], [1.0]], draw(5, 6, 9)]]
    for strata in [*([one] for one in single), *several]:
        wins = pairs = variance = 0.0
        for first, second in strata:
            m, n = len(first), len(second)
            if not (m and n):
                continue
            ties = sum(t**3 - t for t in np.unique(np.array(first + second) + 0.0, return_counts=True)[1].tolist())
            wins += float(stats.mannwhitneyu(first, second, method="asymptotic", use_continuity=False).statistic)
            pairs, variance = pairs + m * n, variance + m * n / 12 * (m + n + 1 - ties / ((m + n) * (m + n - 1)))
        p = float(2 * stats.norm.sf(abs(wins - pairs / 2) / math.sqrt(variance))) if variance else 1.0
        if len(strata) == 1 and variance:
            expected = stats.mannwhitneyu(*strata[0], method="asymptotic", use_continuity=False).pvalue
            assert math.isclose(p, expected, rel_tol=1e-12)
        case("rank_test", [wins / pairs, p], strata=strata)


def correlations():
    """Fisher's interval against scipy's, by data whose correlation is the given one."""
    random = np.random.default_rng(23)
    for n in (4, 5, 10, 25, 400, 1200):
        for strength in (0.0, 0.3, 3.0, -20.0):
            x = random.normal(size=n)
            found = stats.pearsonr(x, strength * x + random.normal(size=n))
            low, high = found.confidence_interval(0.95)
            case("correlation_interval", [float(low), float(high)], r=float(found.statistic), n=n, confidence=0.95)


def null_scales():
    """The spread of many statistics: narrow, wide and mixed ones, and few."""
    random = np.random.default_rng(29)
    for n, width in [(1, 1.0), (2, 3.0), (9, 0.1), (200, 1.0), (201, 2.5), (500, 8.0), (64, 0.5), (33, 4.0), (1000, 1.5), (7, 2.0)]:
        z = np.round(random.normal(size=n) * width + (random.uniform(size=n) < 0.1) * 9 * width, 4)
        case("null_scale", float(stats.median_abs_deviation(z, center=lambda z, axis: np.zeros(()), scale="normal")), z=z)


def bootstraps():
    """Percentile intervals of means and AUROCs: normal, skewed and bounded values, few and many, groups of unlike size."""
    random = np.random.default_rng(37)
    options = dict(n_resamples=200_000, confidence_level=0.95, method="percentile", vectorized=True, batch=2_000, rng=random)
    samples = [random.normal(size=n) for n in (25, 60, 200, 500)] + [random.exponential(size=n) for n in (30, 80, 300)]
    for values in [*samples, random.beta(0.5, 0.5, size=100), random.uniform(size=40), random.normal(size=50) ** 3]:
        values = np.round(values, 4)
        found = stats.bootstrap((values,), np.mean, **options).confidence_interval
        case("bootstrap_mean", [float(found.low), float(found.high)], values=values)

    def auroc(positive, negative, axis):
        above = (positive[..., :, None] > negative[..., None, :]) + 0.5 * (positive[..., :, None] == negative[..., None, :])
        return above.mean(axis=(-2, -1))

    for m, n, gap in [(30, 30, 0.0), (20, 60, 1.0), (50, 25, 0.5), (15, 90, 2.0), (40, 40, -0.5), (60, 20, 1.5), (25, 70, 0.3), (35, 50, 0.8)]:
        positive, negative = np.round(random.normal(size=m) + gap, 3), np.round(random.normal(size=n), 3)
        found = stats.bootstrap((positive, negative), auroc, **options).confidence_interval
        case("bootstrap_auroc", [float(found.low), float(found.high)], positive=positive, negative=negative)
    for levels in (3, 5):
        positive, negative = (random.integers(levels, size=size) + shift for size, shift in ((40, 1), (60, 0)))
        found = stats.bootstrap((positive, negative), auroc, **options).confidence_interval
        case("bootstrap_auroc", [float(found.low), float(found.high)], positive=positive, negative=negative)


def logistic():
    """Ridge-penalised logistic regressions: overlapping, separable, rare, on far-off scales and with a constant feature."""
    random = np.random.default_rng(31)
    for n, gap, rate, scale in [
        *[(40, 1.0, 0.5, (1.0, 1.0)), (60, 1.5, 0.2, (0.01, 5.0)), (200, 0.5, 0.1, (1e-3, 1e3)), (30, 0.0, 0.5, (1.0, 2.0))],
        *[(20, 50.0, 0.5, (1.0, 1.0)), (25, 400.0, 0.3, (1.0, 1.0)), (80, 1.0, 0.04, (3.0, 0.1)), (50, 2.0, 0.9, (1.0, 0.0))],
        *[(300, 0.8, 0.3, (0.05, 4.0)), (12, 1.0, 0.5, (1.0,))],
    ]:
        positive = random.uniform(size=n) < rate
        positive[:2] = [True, False]
        features = np.round((random.normal(size=(n, len(scale))) + gap * positive[:, None]) * scale + 0.3, 6)
        spread = np.where(np.ptp(features, axis=0) > 0, features.std(0), np.inf)
        centre = features.mean(0)
        model = linear_model.LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-13, max_iter=1000)
        model.fit((features - centre) / spread, positive)
        weights = model.coef_[0] / spread
        intercept = float(model.intercept_[0] - weights @ centre)
        case("logistic", [intercept, *weights.tolist()], features=features, positive=positive.astype(int))


def main():
    """Writes all cases, one a line."""
    for part in (intervals, paired_intervals, tests_of_counts, multiple_testing, detection, conformal, rank_tests, null_scales, logistic, correlations, bootstraps):
        part()
    versions = {module.__name__: module.__version__ for module in (np, scipy, sklearn, statsmodels)}
    lines = ",\n".join("  " + json.dumps(case, allow_nan=False) for case in cases)
    header = json.dumps({"versions": versions, "about": ABOUT}, indent=1)[:-2]
    GOLDEN.write_text(f'{header},\n "cases": [\n{lines}\n ]\n}}\n')
    counts = {name: sum(case["name"] == name for case in cases) for name in ABOUT}
    print(f"{GOLDEN}: {len(cases)} cases, {GOLDEN.stat().st_size} bytes\n{counts}")


if __name__ == "__main__":
    main()
