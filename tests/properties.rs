//! What must hold of maps, merges, distances and intervals whatever the scores are.

use std::cmp::Ordering;

use heatlens::Tensor;
use heatlens::semantics::statistics::Bootstrap;
use heatlens::semantics::{
    Cell, ContentOrder, Counts, Detection, Differential, Distance, Fraction, Membership, Products, Ranking,
    Responsible, Selective, StoredMap, Wins, class_balanced_means, flipped_share, reference,
};
use proptest::prelude::*;

/// Scores `[n, c]` of few distinct values, so that ties are common.
fn scores(images: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Tensor> {
    (images, 2..=7_usize).prop_flat_map(|(n, c)| {
        let score = (-4..=4_i8).prop_map(|value| f32::from(value) / 8.0);
        prop::collection::vec(score, n * c).prop_map(move |data| Tensor::new([n, c], data))
    })
}

/// A permutation of 0..n that depends on `seed`.
fn shuffled(n: usize, seed: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    order.sort_by_key(|&row| (u64::from(row) + 1).wrapping_mul(seed | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 17);
    order
}

fn permuted(scores: &Tensor, order: &[u32]) -> Tensor {
    scores.select_rows(&order.iter().map(|&row| row as usize).collect::<Vec<_>>())
}

fn rows(scores: &Tensor) -> Vec<u32> {
    (0..scores.rows() as u32).collect()
}

fn counts(scores: &Tensor, rows: &[u32]) -> Counts {
    reference::counts(scores, rows).expect("two concepts or more")
}

fn names(concepts: usize) -> Vec<String> {
    (0..concepts).map(|concept| format!("c{concept}")).collect()
}

proptest! {
    #[test]
    fn mirrored_cells_and_ties_add_up_to_all_images(scores in scores(0..=12)) {
        let map = counts(&scores, &rows(&scores));
        for i in 0..map.concepts() {
            prop_assert_eq!(map.at(i, i), 0);
            for j in 0..map.concepts() {
                let ties = (0..scores.rows()).filter(|&row| scores.row(row)[i] == scores.row(row)[j]).count() as u64;
                prop_assert_eq!(u64::from(map.at(i, j)) + u64::from(map.at(j, i)) + if i == j { map.n() } else { ties }, map.n());
            }
        }
    }

    #[test]
    fn merges_are_exact_in_any_split_and_order(scores in scores(0..=20), seed: u64, parts in 1..=5_usize) {
        let order = shuffled(scores.rows(), seed);
        let maps: Vec<Counts> =
            order.chunks(order.len().div_ceil(parts).max(1)).map(|part| counts(&scores, part)).collect();
        let whole = counts(&scores, &rows(&scores));
        let concepts = scores.columns();
        prop_assert_eq!(&Counts::pooled(concepts, &maps).unwrap(), &whole);
        prop_assert_eq!(&Counts::pooled(concepts, maps.iter().rev()).unwrap(), &whole);
    }

    #[test]
    fn binarised_cells_are_consistent_with_their_shares(scores in scores(1..=12), numerator in 1..12_u64) {
        let map = counts(&scores, &rows(&scores));
        let tau = Fraction::new(numerator, 12).unwrap();
        for (cell, &count) in map.binarised(tau).unwrap().iter().zip(map.cells()) {
            let expected = match (u64::from(count) * 12).cmp(&(numerator * map.n())) {
                Ordering::Less => Cell::Zero,
                Ordering::Equal => Cell::Even,
                Ordering::Greater => Cell::One,
            };
            prop_assert_eq!(*cell, expected);
        }
    }

    #[test]
    fn closed_forms_are_the_definitions(scores in scores(1..=9), numerator in 1..6_u64) {
        let all = rows(&scores);
        let (image, others) = (scores.row(0), &all[1..]);
        let whole = counts(&scores, &all);
        let rest = counts(&scores, others);
        prop_assert_eq!(&reference::without(&whole, image).unwrap(), &rest);
        let tau = Fraction::new(numerator, 6).unwrap();
        for distance in Distance::ALL {
            let expected = reference::distance(image, &rest, distance, tau);
            let outside = StoredMap::new(&rest, distance, tau, Membership::Outside);
            let inside = StoredMap::new(&whole, distance, tau, Membership::Inside);
            for (stored, how) in [(&outside, "outside"), (&inside, "inside")] {
                prop_assert!((0..whole.concepts()).all(|i| stored.weights()[i * (whole.concepts() + 1)] == 0.0));
                match (stored.distance_of_scores(image), expected) {
                    (None, None) => {}
                    // loglik's weights are rounded to f32.
                    (Some(found), Some(expected)) =>
                        prop_assert!((found - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{distance} {how}: {found} {expected}"),
                    other => prop_assert!(false, "{distance} {how}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn the_constants_for_the_gpu_give_the_same_distances(scores in scores(2..=9), numerator in 1..6_u64) {
        let map = counts(&scores, &rows(&scores)[1..]);
        let image = counts(&scores, &[0]);
        let size = (map.concepts() * (map.concepts() - 1)) as f64;
        for distance in Distance::ALL {
            let stored = StoredMap::new(&map, distance, Fraction::new(numerator, 6).unwrap(), Membership::Outside);
            let cells = || image.cells().iter().zip(stored.weights());
            let dot: f64 = cells().map(|(&h, &w)| f64::from(h) * f64::from(w)).sum();
            let ones: u32 = image.cells().iter().sum();
            let (h, product) = (f64::from(ones), dot / stored.images() as f64);
            let found = match distance {
                Distance::L1 => Some((h + stored.mass() - 2.0 * product) / size),
                Distance::L2 => stored.squared_norm().map(|norm| ((h + norm - 2.0 * product) / size).max(0.0).sqrt()),
                Distance::Cosine | Distance::CosinePlain => stored.squared_norm().map(|norm| 1.0 - product / (h * norm).sqrt()),
                Distance::Hamming => stored.hamming_base().map(|(differ, cells)| (differ + dot) / cells),
                Distance::Loglik => stored.loglik_base().map(|base| base - dot),
            };
            let expected = stored.distance(Products { dot, second: 0.0, ones: u64::from(ones) });
            match found.filter(|_| ones > 0) {
                None => prop_assert_eq!(expected, None, "{}", distance),
                // The root turns rounding at 0 into its own square root.
                Some(found) => prop_assert!((found - expected.unwrap()).abs() < 1e-7, "{distance}: {found} {expected:?}"),
            }
            prop_assert!(stored.second_weights().is_none() && stored.membership() == Membership::Outside);
        }
    }

    #[test]
    fn distances_stay_within_their_bounds(scores in scores(2..=9)) {
        let map = counts(&scores, &rows(&scores)[1..]);
        let of = |distance| StoredMap::new(&map, distance, Fraction::HALF, Membership::Outside).distance_of_scores(scores.row(0));
        for distance in [Distance::L1, Distance::Hamming, Distance::CosinePlain] {
            if let Some(value) = of(distance) {
                prop_assert!((-1e-12..=1.0 + 1e-12).contains(&value), "{distance}: {value}");
            }
        }
        if let (Some(l1), Some(l2)) = (of(Distance::L1), of(Distance::L2)) {
            prop_assert!((0.0..=1.0 + 1e-12).contains(&l2));
            // Unbiased squares: each cell adds at most what its absolute difference does.
            prop_assert!(l2 * l2 <= l1 + 1e-12);
        }
        prop_assert!(of(Distance::Cosine).is_none_or(|value| value <= 1.0 + 1e-12));
        prop_assert!(of(Distance::Loglik).is_none_or(|value| value > 0.0));
    }

    #[test]
    fn an_image_alone_is_at_no_distance_from_its_own_map(scores in scores(1..=1)) {
        let map = counts(&scores, &[0]);
        for distance in [Distance::L1, Distance::L2, Distance::Cosine, Distance::CosinePlain, Distance::Hamming] {
            let found = StoredMap::new(&map, distance, Fraction::HALF, Membership::Outside).distance_of_scores(scores.row(0));
            prop_assert!(found.is_none_or(|found| found.abs() < 1e-7), "{distance}: {found:?}");
            prop_assert_eq!(found.is_none(), map.cells().iter().all(|&cell| cell == 0));
            let left_out = StoredMap::new(&map, distance, Fraction::HALF, Membership::Inside).distance_of_scores(scores.row(0));
            prop_assert_eq!(left_out, None);
        }
    }

    #[test]
    fn wins_are_the_row_sums(scores in scores(1..=9)) {
        let wins = Wins::of_scores(&scores);
        for row in rows(&scores) {
            let single = counts(&scores, &[row]);
            let sums: Vec<u32> = single.cells().chunks(single.concepts()).map(|cells| cells.iter().sum()).collect();
            prop_assert_eq!(wins.row(row), &sums[..]);
        }
    }

    #[test]
    fn flips_are_the_cells_in_which_two_maps_differ(scores in scores(2..=9)) {
        let cells = (scores.columns() * (scores.columns() - 1)) as f64;
        for (first, second) in (0..scores.rows()).flat_map(|a| (0..scores.rows()).map(move |b| (a, b))) {
            let (first, second) = (scores.row(first), scores.row(second));
            let maps = reference::single_map(first).into_iter().zip(reference::single_map(second));
            let differ = maps.filter(|(a, b)| a != b).count() as f64;
            prop_assert_eq!(flipped_share(first, second), differ / cells);
        }
    }

    #[test]
    fn differences_mirror_and_lie_in_their_intervals(scores in scores(2..=18), share in 1..=9_usize) {
        let all = rows(&scores);
        let (first, second) = all.split_at((all.len() * share / 10).max(1));
        let (a, b) = (counts(&scores, first), counts(&scores, second));
        let (forth, back) = (Differential::of_sets(&a, &b).unwrap(), Differential::of_sets(&b, &a).unwrap());
        for (i, j) in (0..a.concepts()).flat_map(|i| (0..a.concepts()).map(move |j| (i, j))).filter(|(i, j)| i != j) {
            let (cell, other) = (forth.cell(i, j).unwrap(), back.cell(i, j).unwrap());
            prop_assert_eq!(cell.change, -other.change);
            prop_assert!((cell.low + other.high).abs() < 1e-12 && (cell.high + other.low).abs() < 1e-12);
            prop_assert!(-1.0 <= cell.low && cell.low <= cell.change && cell.change <= cell.high && cell.high <= 1.0);
            prop_assert!((cell.p - other.p).abs() < 1e-9 && cell.p > 0.0 && cell.p <= cell.adjusted && cell.adjusted <= 1.0);
            prop_assert_eq!(cell.p, forth.cell(j, i).unwrap().p);
        }
    }

    #[test]
    fn paired_differences_are_those_of_their_maps(scores in scores(2..=9), seed: u64) {
        let other = permuted(&scores, &shuffled(scores.rows(), seed));
        let all = rows(&scores);
        let (a, b) = (counts(&scores, &all), counts(&other, &all));
        let map = Differential::paired(&a, &b, reference::joint_counts(&scores, &other, &all)).unwrap();
        prop_assert!(map.changes().iter().all(|&change| change == 0.0), "the same images in another order");
        let cell = map.cell(0, 1).unwrap();
        prop_assert_eq!(cell.p, 1.0, "as many images gain the predicate as lose it");
        prop_assert!(cell.low <= 0.0 && cell.high >= 0.0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn nothing_depends_on_the_order_of_the_images(scores in scores(4..=24), seed: u64) {
        let n = scores.rows();
        let order = shuffled(n, seed);
        let moved = permuted(&scores, &order);
        let hashes = rows(&scores);
        let (content, moved_content) = (ContentOrder::new(&hashes), ContentOrder::new(&order));
        let bootstrap = Bootstrap { replicates: 50, ..Bootstrap::default() };

        // The first half by content are hits, the others misses, wherever they stand.
        let split = |hashes: &[u32]| -> (Vec<u32>, Vec<u32>) {
            (0..n as u32).partition(|&row| (hashes[row as usize] as usize) < n / 2)
        };
        let responsible = |scores: &Tensor, hashes: &[u32], content: &ContentOrder| {
            let (hits, misses) = split(hashes);
            let map = Differential::of_sets(&counts(scores, &hits), &counts(scores, &misses)).unwrap();
            let wins = Wins::of_scores(scores);
            Responsible::of_sets(&map, &names(scores.columns()), &wins, [&hits, &misses], content, bootstrap).unwrap()
        };
        prop_assert_eq!(responsible(&scores, &hashes, &content), responsible(&moved, &order, &moved_content));

        let labels = |hashes: &[u32]| hashes.iter().map(|&hash| hash as usize % 3).collect::<Vec<_>>();
        let means = |scores: &Tensor, hashes: &[u32], content: &ContentOrder| {
            class_balanced_means(scores, &labels(hashes), 3, content).unwrap()
        };
        prop_assert_eq!(means(&scores, &hashes, &content), means(&moved, &order, &moved_content));

        let suspicion = |scores: &Tensor| (0..n).map(|row| f64::from(scores.row(row)[0])).collect::<Vec<_>>();
        let wrong = |hashes: &[u32]| hashes.iter().map(|&hash| (hash as usize) < n / 2).collect::<Vec<_>>();
        let detection = |scores: &Tensor, hashes: &[u32], content: &ContentOrder| {
            let (suspicion, wrong) = (suspicion(scores), wrong(hashes));
            let detection = Detection::measure(&suspicion, &wrong, content, bootstrap).unwrap();
            (detection, Selective::measure(&suspicion, &wrong, content, bootstrap).unwrap())
        };
        prop_assert_eq!(detection(&scores, &hashes, &content), detection(&moved, &order, &moved_content));
    }

    #[test]
    fn threads_change_nothing(scores in scores(4..=24)) {
        let suspicion: Vec<f64> = (0..scores.rows()).map(|row| f64::from(scores.row(row)[0])).collect();
        let wrong: Vec<bool> = (0..scores.rows()).map(|row| row % 2 == 0).collect();
        let content = ContentOrder::new(&rows(&scores));
        let measure = || Detection::measure(&suspicion, &wrong, &content, Bootstrap { replicates: 40, seed: 5 }).unwrap();
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        prop_assert_eq!(pool(1).install(measure), pool(3).install(measure));
    }

    #[test]
    fn estimates_lie_in_sensible_ranges(scores in scores(6..=24)) {
        let suspicion: Vec<f64> = (0..scores.rows()).map(|row| f64::from(scores.row(row)[0])).collect();
        let wrong: Vec<bool> = (0..scores.rows()).map(|row| row % 3 == 0).collect();
        let content = ContentOrder::new(&rows(&scores));
        let found = Detection::measure(&suspicion, &wrong, &content, Bootstrap { replicates: 40, seed: 5 }).unwrap().unwrap();
        for estimate in [found.auroc, found.aupr, found.fpr95] {
            prop_assert!(0.0 <= estimate.low && estimate.low <= estimate.high && estimate.high <= 1.0);
            prop_assert!((0.0..=1.0).contains(&estimate.value));
        }
        // Turning the scores round turns the ROC curve round.
        let turned: Vec<f64> = suspicion.iter().map(|score| -score).collect();
        let auroc = Ranking::new(&turned, &wrong).unwrap().auroc().unwrap();
        prop_assert!((auroc + found.auroc.value - 1.0).abs() < 1e-12);
        let curve = Ranking::new(&suspicion, &wrong).unwrap().coverage_curve();
        prop_assert!(curve.windows(2).all(|pair| pair[0].coverage < pair[1].coverage && pair[0].threshold < pair[1].threshold));
        prop_assert_eq!(curve.last().unwrap().coverage, 1.0);
    }
}
