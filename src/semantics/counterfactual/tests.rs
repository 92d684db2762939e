use super::*;

/// Twenty images of each of two classes: features -1 and 1 with a little spread, and a head that scores by `sign` times the feature.
fn scene(sign: f32) -> (Tensor, Tensor, Vec<usize>) {
    let labels: Vec<usize> = (0..40).map(|row| row % 2).collect();
    let feature = |row: usize| if row % 2 == 1 { 1.0 } else { -1.0 } + 0.01 * (row % 7) as f32;
    let features: Vec<f32> = (0..40).map(feature).collect();
    let logits = features.iter().flat_map(|z| [-sign * z, sign * z]).collect();
    (Tensor::new([40, 1], features), Tensor::new([40, 2], logits), labels)
}

fn run(features: &Tensor, logits: &Tensor, labels: &[usize]) -> Vec<Option<Counterfactual>> {
    let predictions: Vec<usize> =
        (0..labels.len()).map(|row| usize::from(logits.row(row)[1] > logits.row(row)[0])).collect();
    let hashes: Vec<usize> = (0..labels.len()).collect();
    counterfactuals(features, logits, labels, &predictions, &hashes, 5).unwrap()
}

#[test]
fn a_head_that_reads_everything_the_wrong_way_round_is_at_fault() {
    let (features, logits, labels) = scene(-1.0);
    let found = run(&features, &logits, &labels);
    for (found, &label) in found.iter().zip(&labels) {
        let found = found.unwrap();
        assert_eq!(found.class, label);
        assert!(found.blames_head(1.6) && found.typical_own < 0.0, "{found:?}");
    }
}

#[test]
fn a_feature_on_the_wrong_side_of_a_good_head_is_the_encoders() {
    let (mut features, _, labels) = scene(1.0);
    features.data_mut()[6] = 0.9;
    let logits: Vec<f32> = features.data().iter().flat_map(|z| [-z, *z]).collect();
    let found = run(&features, &Tensor::new([40, 2], logits), &labels);
    assert_eq!(found.iter().flatten().count(), 1);
    let found = found[6].unwrap();
    assert_eq!(found.class, 1, "another head, which hasn't seen the image, misreads it as well");
    assert!(found.margin < 0.0 && !found.blames_head(-1e9), "{found:?}");
    assert!(found.shortfall().abs() < 0.5, "both heads know typical features: {found:?}");
}

#[test]
fn nothing_is_said_of_what_cannot_be_told() {
    let (features, logits, labels) = scene(1.0);
    assert!(run(&features, &logits, &labels).iter().all(Option::is_none), "no image is misclassified");
    let (features, logits, labels) = scene(-1.0);
    let few: Vec<usize> = (0..9).collect();
    assert!(run(&features.select_rows(&few), &logits.select_rows(&few), &labels[..9]).iter().all(Option::is_none));
    let same = Tensor::new([40, 1], vec![0.5; 40]);
    assert!(run(&same, &logits, &labels).iter().all(Option::is_none), "features don't vary");
    let constant = Tensor::new([40, 2], [1.0, 0.0].repeat(40));
    assert!(run(&features, &constant, &labels).iter().all(Option::is_none), "nor do the own head's margins");
}

#[test]
fn copies_of_an_image_share_a_fold_whatever_their_labels() {
    let hashes = [9, 3, 0, 9, 7, 1, 2, 4, 5, 6, 8, 9, 3];
    let labels = [0, 1, 0, 0, 1, 0, 1, 0, 1, 0, 1, 1, 0];
    let dealt = |rows: usize| {
        let order = ContentOrder::new(&hashes[..rows].iter().zip(&labels).collect::<Vec<_>>());
        folds(&order, &hashes[..rows])
    };
    assert_eq!(dealt(13).unwrap(), [vec![2, 8], vec![5, 9], vec![6, 4], vec![12, 1, 10], vec![7, 0, 3, 11]]);
    assert_eq!(dealt(10), None, "nine images and a copy");
}

#[test]
fn the_order_of_the_images_does_not_show() {
    let (features, logits, labels) = scene(-1.0);
    let predictions: Vec<usize> = labels.iter().map(|label| 1 - label).collect();
    // Every fourth image is a copy of the one before, under the other label.
    let hashes: Vec<usize> = (0..40).map(|row| if row % 4 == 3 { row - 1 } else { row }).collect();
    let run = |rows: &[usize]| {
        let pick = |of: &[usize]| rows.iter().map(|&row| of[row]).collect::<Vec<_>>();
        let [labels, predictions, hashes] = [&labels, &predictions, &hashes].map(|of| pick(of));
        let (features, logits) = (features.select_rows(rows), logits.select_rows(rows));
        counterfactuals(&features, &logits, &labels, &predictions, &hashes, 5).unwrap()
    };
    let expected = run(&(0..40).collect::<Vec<_>>());
    let turned: Vec<usize> = (0..40).map(|row| row * 7 % 40).collect();
    let found = run(&turned);
    assert!(expected.iter().flatten().count() > 30);
    assert!(turned.iter().zip(&found).all(|(&row, found)| *found == expected[row]), "bit by bit");
}
