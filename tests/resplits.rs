//! What calibration promises holds on fresh images: over many resplits of one set of images the rejections of correct ones
//! follow their distribution.
//!
//! A threshold at the r-th smallest of n exchangeable scores without ties rejects X of m fresh ones with
//! P(X = k) = C(m, k) B(k + n + 1 − r, m − k + r) / B(n + 1 − r, r): the beta-binomial, whatever the scores' own distribution. Each
//! resplit is a random permutation of the same images, so 500 of them are 500 independent draws. The bounds are four standard errors of what
//! is measured: a right program passes each of them with a probability above 0.9999. The seeds are fixed, so a pass is a pass.

use heatlens::semantics::{Combination, Fraction, Threshold};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use statrs::distribution::{ContinuousCDF, Normal};
use statrs::function::gamma::ln_gamma;

const RESPLITS: u64 = 500;
const ERRORS: f64 = 4.0;

/// What a filter knows of an image: its heatmap score, the log-odds of the largest softmax probability, whether it is wrong.
#[derive(Clone, Copy)]
struct Image {
    parts: [f64; 2],
    wrong: bool,
}

/// The demo's calibration and test pictures.
fn demo() -> Vec<Image> {
    let golden: serde_json::Value = serde_json::from_str(include_str!("goldens/filter_scores.json")).unwrap();
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    let image =
        |row: &serde_json::Value| Image { parts: [number(&row[0]), number(&row[1])], wrong: number(&row[2]) == 1.0 };
    let images: Vec<Image> = golden["images"].as_array().unwrap().iter().map(image).collect();
    assert!(images.len() >= 1000 && images.iter().filter(|image| image.wrong).count() >= 100);
    images
}

/// Made-up images: the wrong ones have larger heatmap scores and smaller log-odds.
fn made_up(correct: usize, wrong: usize) -> Vec<Image> {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let normal = Normal::new(0.0, 1.0).unwrap();
    let mut draw = || normal.inverse_cdf((random.next_u64() >> 12) as f64 / (1_u64 << 52) as f64 + 1e-17);
    let mut image = |wrong: bool| {
        let shift = if wrong { 1.2 } else { 0.0 };
        Image { parts: [0.1 * (draw() + shift), 4.0 + 2.0 * (draw() - shift)], wrong }
    };
    (0..correct + wrong).map(|number| image(number >= correct)).collect()
}

/// Deals `images` into halves at random.
fn halves(images: &[Image], random: &mut ChaCha8Rng) -> [Vec<Image>; 2] {
    let mut dealt = images.to_vec();
    for last in (1..dealt.len()).rev() {
        let other = (u128::from(random.next_u64()) * (last as u128 + 1)) >> 64;
        dealt.swap(last, other as usize);
    }
    let second = dealt.split_off(dealt.len() / 2);
    [dealt, second]
}

/// P(X = k) for k = 0…m.
fn beta_binomial(m: u64, a: f64, b: f64) -> Vec<f64> {
    let ln_beta = |x: f64, y: f64| ln_gamma(x) + ln_gamma(y) - ln_gamma(x + y);
    let probability = |k: u64| {
        let (k, rest) = (k as f64, (m - k) as f64);
        let ways = ln_gamma(m as f64 + 1.0) - ln_gamma(k + 1.0) - ln_gamma(rest + 1.0);
        (ways + ln_beta(k + a, rest + b) - ln_beta(a, b)).exp()
    };
    (0..=m).map(probability).collect()
}

/// Holds the rejections of each resplit to the beta-binomial of its sizes: mean, and what lies below, in and above its 5–95 % band.
#[track_caller]
fn expect_beta_binomial(rejections: &[u64], fresh: u64, threshold: &Threshold) {
    let (a, b) = ((threshold.n + 1 - threshold.rank) as f64, threshold.rank as f64);
    let p = beta_binomial(fresh, a, b);
    assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    let (n, m) = (rejections.len() as f64, fresh as f64);
    let mean = rejections.iter().sum::<u64>() as f64 / n;
    let variance = m * a * b * (a + b + m) / ((a + b).powi(2) * (a + b + 1.0));
    let expected = m * a / (a + b);
    assert!((mean - expected).abs() <= ERRORS * (variance / n).sqrt(), "mean {mean}, expected {expected}");
    assert!(expected / m <= threshold.false_reject_rate, "the promise");

    let quantile = |q: f64| {
        let mut below = 0.0;
        p.iter()
            .position(|p| {
                below += p;
                below >= q
            })
            .unwrap() as u64
    };
    let (low, high) = (quantile(0.05), quantile(0.95));
    let share = |is_in: &dyn Fn(u64) -> bool| {
        let expected: f64 = (0..=fresh).filter(|&k| is_in(k)).map(|k| p[k as usize]).sum();
        (rejections.iter().filter(|&&k| is_in(k)).count() as f64 / n, expected)
    };
    for (place, (found, expected)) in [
        ("below the band", share(&|k| k < low)),
        ("in the band", share(&|k| (low..=high).contains(&k))),
        ("above the band", share(&|k| k > high)),
    ] {
        let error = (expected * (1.0 - expected) / n).sqrt();
        assert!((found - expected).abs() <= ERRORS * error, "{place}: {found}, expected {expected} ± {error}");
    }
}

/// Calibrates on one half of the images, time and again, and counts the correct ones of the other half that are rejected: by the heatmap
/// score with a threshold set by all calibration images, or by a combination that is fitted to one half of those, with a threshold set by
/// the other.
fn resplit(images: &[Image], alpha: &str, is_fitted: bool) -> (Vec<u64>, u64, Threshold) {
    let (wrong, correct): (Vec<Image>, Vec<Image>) = images.iter().partition(|image| image.wrong);
    let alpha: Fraction = alpha.parse().unwrap();
    let mut thresholds = Vec::new();
    let mut fresh_images = 0;
    let rejected = |seed: u64| {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let [calibration, fresh] = halves(&correct, &mut random);
        let [first, second] = halves(&calibration, &mut random);
        let [wrong, _] = halves(&halves(&wrong, &mut random)[0], &mut random);
        let fitted = is_fitted.then(|| {
            let [first, wrong] = [&first, &wrong].map(|of| of.iter().map(|image| image.parts).collect::<Vec<_>>());
            Combination::fit(&first, &[("misclassified", wrong)]).unwrap()
        });
        let score = |image: &Image| {
            let [heatmap, log_odds] = image.parts;
            fitted.as_ref().map_or(heatmap, |combination| combination.score(heatmap, log_odds))
        };
        let setting = if is_fitted { second } else { calibration };
        let scores: Vec<f64> = setting.iter().map(score).collect();
        let threshold = Threshold::fit(&scores, alpha).unwrap();
        let count = fresh.iter().filter(|&image| score(image) > threshold.threshold).count() as u64;
        thresholds.push(threshold);
        fresh_images = fresh.len() as u64;
        count
    };
    let counts = (0..RESPLITS).map(rejected).collect();
    (counts, fresh_images, thresholds[0])
}

#[test]
fn rejections_follow_the_beta_binomial() {
    for images in [demo(), made_up(400, 60)] {
        for alpha in ["0.05", "0.1", "0.2"] {
            for is_fitted in [false, true] {
                let (rejections, fresh, threshold) = resplit(&images, alpha, is_fitted);
                expect_beta_binomial(&rejections, fresh, &threshold);
            }
        }
    }
}

/// The bounds can fail: two ranks of two hundred are seen.
#[test]
#[should_panic(expected = "mean")]
fn a_threshold_that_is_too_low_is_noticed() {
    let (rejections, fresh, threshold) = resplit(&made_up(400, 60), "0.06", false);
    let claimed = Threshold { rank: threshold.rank + 2, ..threshold };
    expect_beta_binomial(&rejections, fresh, &claimed);
}
