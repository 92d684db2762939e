//! The statistics against scipy, statsmodels and scikit-learn (`tests/reference/semantics.py` makes the values).

use heatlens::semantics::statistics::{
    Bootstrap, Estimate, FisherExact, Interval, Paired, benjamini_hochberg, beta_quantile, correlation_interval,
    mcnemar_exact, newcombe, newcombe_paired, null_scale, rank_test, two_sided_p, wilson,
};
use heatlens::semantics::{ContentOrder, Detection, Fraction, Logistic, Ranking, Threshold};
use serde_json::Value;

/// The cases of one name: their arguments and the expected value.
fn cases(name: &str) -> Vec<(Value, Value)> {
    let golden: Value = serde_json::from_str(include_str!("goldens/statistics.json")).expect("the golden file is JSON");
    let all = golden["cases"].as_array().expect("a list of cases");
    let cases: Vec<_> = all
        .iter()
        .filter(|case| case["name"] == name)
        .map(|case| (case["args"].clone(), case["expected"].clone()))
        .collect();
    assert!(cases.len() >= 10, "only {} cases of {name}", cases.len());
    cases
}

fn count(args: &Value, key: &str) -> u64 {
    args[key].as_u64().unwrap_or_else(|| panic!("{key} in {args}"))
}

fn number(args: &Value, key: &str) -> f64 {
    args[key].as_f64().unwrap_or_else(|| panic!("{key} in {args}"))
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().expect("a list").iter().map(|value| value.as_f64().expect("a number")).collect()
}

/// |found − expected| ≤ absolute + relative·|expected|
#[track_caller]
fn expect_close(found: f64, expected: f64, relative: f64, absolute: f64, case: &Value) {
    assert!(
        (found - expected).abs() <= absolute + relative * expected.abs(),
        "found {found}, expected {expected}: {case}"
    );
}

#[track_caller]
fn expect_interval(found: Interval, expected: &Value, case: &Value) {
    let expected = numbers(expected);
    expect_close(found.low, expected[0], 1e-12, 1e-12, case);
    expect_close(found.high, expected[1], 1e-12, 1e-12, case);
}

#[test]
fn wilson_intervals() {
    for (args, expected) in cases("wilson") {
        let found = wilson(count(&args, "successes"), count(&args, "n"), number(&args, "confidence"));
        expect_interval(found, &expected, &args);
    }
    assert_eq!(wilson(0, 0, 0.95), Interval { low: 0.0, high: 1.0 });
}

#[test]
fn newcombe_intervals() {
    for (args, expected) in cases("newcombe") {
        let [a, n1, b, n2] = ["successes1", "n1", "successes2", "n2"].map(|key| count(&args, key));
        let confidence = number(&args, "confidence");
        expect_interval(newcombe(a, n1, b, n2, confidence), &expected, &args);
        assert_eq!(newcombe(b, n2, a, n1, confidence).negated(), newcombe(a, n1, b, n2, confidence), "{args}");
    }
}

/// The worked examples of M. Fagerland, S. Lydersen and P. Laake, Statistical Analysis of Contingency Tables (2017), chapter 8, as
/// the R package contingencytables prints them ("Newcombe square-and-add").
#[test]
fn paired_newcombe_intervals() {
    let tables = [((59, 6, 16, 80), (-0.1186, -0.0046), 5e-5), ((1, 1, 7, 12), (-0.507, -0.026), 5e-4)];
    for ((both, first_only, second_only, neither), (low, high), rounding) in tables {
        let found = newcombe_paired(Paired { both, first_only, second_only, neither }, 0.95);
        assert!((found.low - low).abs() <= rounding && (found.high - high).abs() <= rounding, "{found:?}");
    }
    for (args, expected) in cases("newcombe_paired") {
        let [both, first_only, second_only, neither] =
            ["both", "first_only", "second_only", "neither"].map(|key| count(&args, key));
        let table = Paired { both, first_only, second_only, neither };
        expect_interval(newcombe_paired(table, number(&args, "confidence")), &expected, &args);
    }
    // Without any discordant image nor any doubt the interval still has a width, and it holds 0.
    let same = newcombe_paired(Paired { both: 5, first_only: 0, second_only: 0, neither: 0 }, 0.95);
    assert!(same.low < 0.0 && same.high > 0.0, "{same:?}");
}

/// The ends of an interval of 20,000 replicates lie within a twenty-fifth of its width of those of scipy's 200,000, which is three
/// to five standard errors of the draws.
#[track_caller]
fn expect_drawn(found: Estimate, expected: &Value, case: &Value) {
    let expected = numbers(expected);
    let width = expected[1] - expected[0];
    for (found, expected) in [(found.low, expected[0]), (found.high, expected[1])] {
        assert!((found - expected).abs() <= width / 25.0, "found {found}, expected {expected}: {case}");
    }
}

const MANY: Bootstrap = Bootstrap { replicates: 20_000, seed: 11 };

#[test]
fn bootstrap_intervals_of_means() {
    for (args, expected) in cases("bootstrap_mean") {
        let values = numbers(&args["values"]);
        let found = MANY.mean(&values).expect("values");
        expect_close(found.value, values.iter().sum::<f64>() / values.len() as f64, 1e-12, 1e-12, &args);
        expect_drawn(found, &expected, &args);
    }
    assert_eq!(MANY.mean(&[]), None);
}

/// The interval by which words are told, and that of an evaluation.
#[test]
fn bootstrap_intervals_of_aurocs() {
    for (args, expected) in cases("bootstrap_auroc") {
        let (positive, negative) = (numbers(&args["positive"]), numbers(&args["negative"]));
        let groups = [[positive.clone(), negative.clone()]];
        let auroc = rank_test(&groups).expect("both groups").auroc;
        expect_drawn(MANY.auroc(auroc, &groups), &expected, &args);
        let marks: Vec<bool> = (0..positive.len() + negative.len()).map(|row| row < positive.len()).collect();
        let (scores, order) = ([positive, negative].concat(), ContentOrder::new(&(0..marks.len()).collect::<Vec<_>>()));
        let found =
            Detection::measure(&scores, &marks, &order, MANY).expect("finite scores").expect("both kinds").auroc;
        expect_close(found.value, auroc, 1e-12, 0.0, &args);
        expect_drawn(found, &expected, &args);
    }
}

#[test]
fn fisher_exact_p_values() {
    for (args, expected) in cases("fisher_exact") {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|key| count(&args, key));
        let expected = expected.as_f64().expect("a p-value");
        // scipy's own values are good to about eight digits near underflow.
        expect_close(FisherExact::new(a + b, c + d).two_sided(a, c), expected, 1e-9, 1e-300, &args);
        expect_close(FisherExact::new(c + d, a + b).two_sided(c, a), expected, 1e-9, 1e-300, &args);
    }
}

#[test]
fn mcnemar_exact_p_values() {
    for (args, expected) in cases("mcnemar_exact") {
        let found = mcnemar_exact(count(&args, "b"), count(&args, "c"));
        expect_close(found, expected.as_f64().expect("a p-value"), 1e-10, 0.0, &args);
    }
}

#[test]
fn benjamini_hochberg_families() {
    for (args, expected) in cases("benjamini_hochberg") {
        let found = benjamini_hochberg(&numbers(&args["p_values"]), number(&args, "level"));
        for (found, expected) in found.adjusted.iter().zip(numbers(&expected["adjusted"])) {
            expect_close(*found, expected, 1e-12, 0.0, &args);
        }
        let flagged: Vec<Value> = found.flagged.into_iter().map(Value::from).collect();
        assert_eq!(Value::from(flagged), expected["rejected"], "{args}");
    }
    assert!(benjamini_hochberg(&[], 0.05).flagged.is_empty());
}

#[test]
fn ranking_metrics() {
    type Metric = fn(&Ranking) -> Option<f64>;
    let metrics: [(&str, &str, Metric); 4] = [
        ("auroc", "positive", Ranking::auroc),
        ("aupr", "positive", Ranking::aupr),
        ("fpr95", "positive", Ranking::fpr95),
        ("aurc", "errors", Ranking::aurc),
    ];
    for (name, marks, metric) in metrics {
        for (args, expected) in cases(name) {
            let positive: Vec<bool> = numbers(&args[marks]).into_iter().map(|mark| mark == 1.0).collect();
            let ranking = Ranking::new(&numbers(&args["scores"]), &positive).expect("finite scores");
            let found = metric(&ranking).unwrap_or_else(|| panic!("{name} of {args}"));
            expect_close(found, expected.as_f64().expect("a figure"), 1e-12, 1e-15, &args);
        }
    }
}

#[test]
fn accuracies_at_coverages() {
    for (args, expected) in cases("accuracy_at") {
        let wrong: Vec<bool> = numbers(&args["errors"]).into_iter().map(|mark| mark == 1.0).collect();
        let found = Ranking::new(&numbers(&args["scores"]), &wrong).unwrap().accuracy_at(number(&args, "coverage"));
        expect_close(found.expect("images"), expected.as_f64().expect("an accuracy"), 1e-12, 0.0, &args);
    }
}

#[test]
fn beta_quantiles() {
    for (args, expected) in cases("beta_quantile") {
        let found = beta_quantile(number(&args, "q"), number(&args, "a"), number(&args, "b"));
        expect_close(found, expected.as_f64().expect("a quantile"), 1e-9, 1e-12, &args);
    }
}

#[test]
fn conformal_ranks_and_bands() {
    for (args, expected) in cases("conformal") {
        let n = count(&args, "n");
        let alpha = Fraction::from_decimal(number(&args, "alpha")).expect("a rate");
        let scores: Vec<f64> = (1..=n).map(|score| score as f64).collect();
        match Threshold::fit(&scores, alpha) {
            Err(error) => {
                assert!(expected.is_null(), "{args}: {error}");
                // The number it names is enough, and one less isn't.
                let needed = alpha.smallest_whole() - 1;
                assert!(error.to_string().ends_with(&format!("needs {needed}")), "{error}");
                assert!(Threshold::fit(&vec![0.0; needed as usize], alpha).is_ok());
                assert!(Threshold::fit(&vec![0.0; needed as usize - 1], alpha).is_err());
            }
            Ok(found) => {
                assert_eq!(found.rank, count(&expected, "rank"), "{args}");
                assert_eq!(found.threshold, found.rank as f64, "{args}");
                expect_close(found.low, number(&expected, "low"), 1e-9, 1e-12, &args);
                expect_close(found.high, number(&expected, "high"), 1e-9, 1e-12, &args);
            }
        }
    }
}

#[test]
fn rank_tests_over_strata() {
    for (args, expected) in cases("rank_test") {
        let strata: Vec<[Vec<f64>; 2]> = args["strata"]
            .as_array()
            .expect("strata")
            .iter()
            .map(|pair| [numbers(&pair[0]), numbers(&pair[1])])
            .collect();
        let (found, expected) = (rank_test(&strata).expect("a stratum with both groups"), numbers(&expected));
        expect_close(found.auroc, expected[0], 1e-12, 0.0, &args);
        expect_close(found.p, expected[1], 1e-9, 1e-12, &args);
    }
    assert_eq!(rank_test(&[[vec![1.0], vec![]]]), None);
}

#[test]
fn spreads_of_many_statistics() {
    for (args, expected) in cases("null_scale") {
        let expected = expected.as_f64().expect("a spread").max(1.0);
        expect_close(null_scale(&numbers(&args["z"])), expected, 1e-12, 0.0, &args);
    }
    assert_eq!(null_scale(&[]), 1.0);
}

/// Of a thousand tests that all move together, chance flags most, and the spread of all of them those that stand out.
#[test]
fn what_stands_out_of_a_wide_spread_is_flagged() {
    let ordinary = (1..=990).map(|rank| beta_quantile(f64::from(rank) / 991.0, 8.0, 8.0) * 60.0 - 30.0);
    let z: Vec<f64> = ordinary.chain((0..10).map(|word| 45.0 + f64::from(word))).collect();
    let flagged = |scale: f64| {
        let p: Vec<f64> = z.iter().map(|z| two_sided_p(z / scale)).collect();
        benjamini_hochberg(&p, 0.05).flagged
    };
    assert!(flagged(1.0).iter().filter(|&&flagged| flagged).count() > 600);
    let flagged = flagged(null_scale(&z));
    assert!(flagged.iter().enumerate().all(|(word, &flagged)| flagged == (word >= 990)));
}

#[test]
fn logistic_regressions() {
    for (args, expected) in cases("logistic") {
        let rows: Vec<Vec<f64>> = args["features"].as_array().expect("rows").iter().map(numbers).collect();
        let positive: Vec<bool> = numbers(&args["positive"]).into_iter().map(|mark| mark == 1.0).collect();
        let fitted = match rows[0].len() {
            1 => Logistic::fit(&rows.iter().map(|row| [row[0]]).collect::<Vec<_>>(), &positive),
            _ => Logistic::fit(&rows.iter().map(|row| [row[0], row[1]]).collect::<Vec<_>>(), &positive),
        };
        let fitted = fitted.expect("examples of both kinds");
        let expected = numbers(&expected);
        expect_close(fitted.intercept, expected[0], 1e-8, 1e-8, &args);
        for (found, expected) in fitted.weights.iter().zip(&expected[1..]) {
            expect_close(*found, *expected, 1e-8, 1e-10, &args);
        }
    }
}

#[test]
fn correlation_intervals() {
    for (args, expected) in cases("correlation_interval") {
        let found = correlation_interval(number(&args, "r"), count(&args, "n"), number(&args, "confidence"));
        expect_interval(found, &expected, &args);
    }
    assert_eq!(correlation_interval(0.5, 3, 0.95), Interval { low: -1.0, high: 1.0 });
    assert_eq!(correlation_interval(1.0, 9, 0.95), Interval { low: 1.0, high: 1.0 });
}
