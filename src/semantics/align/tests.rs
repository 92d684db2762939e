use super::*;
use crate::kernels::cases::noise;
use crate::progress::Silent;

/// Features `[n, inputs]` and embeddings `[n, outputs]` that depend on them, of images that are all different.
fn pairs(n: usize, inputs: usize, outputs: usize) -> (Tensor, Tensor, Vec<ContentHash>) {
    let features = Tensor::new([n, inputs], noise(5, n * inputs));
    let spread = noise(6, n * outputs);
    let embedding = |i: usize| 2.0 * features.row(i / outputs)[i % outputs % inputs] + 0.1 * spread[i];
    let embeddings = Tensor::new([n, outputs], (0..n * outputs).map(embedding).collect());
    (features.clone(), embeddings, (0..n).map(|row| ContentHash([row as u8; 32])).collect())
}

fn hashes(images: &[u8]) -> Vec<ContentHash> {
    images.iter().map(|&image| ContentHash([image; 32])).collect()
}

#[test]
fn copies_of_an_image_share_a_fold_or_are_held_out_together() {
    let hashes = hashes(&[11, 3, 0, 9, 7, 1, 2, 4, 5, 6, 8, 9, 3, 10, 11]);
    let Parts { folds, measured } = Parts::new(&hashes, false).unwrap();
    assert_eq!(folds, [vec![2, 8], vec![5, 9], vec![6, 4], vec![1, 12, 10], vec![7, 3, 11]]);
    assert_eq!(measured, [13, 0, 14], "a fifth of twelve images");
    let Parts { folds, measured } = Parts::new(&hashes, true).unwrap();
    assert_eq!((folds.len(), &folds[0]), (1, &measured));
}

#[test]
fn copies_do_not_count_as_images() {
    let found = |images: &[u8], is_fixed| Parts::new(&hashes(images), is_fixed).map(|_| ()).unwrap_err().to_string();
    let nine_and_a_copy = [0, 1, 2, 3, 4, 5, 6, 7, 8, 8];
    assert_eq!(found(&nine_and_a_copy, false), "an aligner needs at least 10 different images, found 9");
    assert_eq!(found(&[4, 4, 4], true), "an aligner needs at least 2 different images, found 1");
}

#[test]
fn the_order_of_the_images_does_not_show() {
    let device = Device::best().unwrap();
    let (features, embeddings, mut hashes) = pairs(61, 7, 5);
    // A copy has the same features; here they are another's, so that a fold too far would show.
    hashes[13] = hashes[12];
    let fit = |rows: &[usize]| {
        let hashes: Vec<ContentHash> = rows.iter().map(|&row| hashes[row]).collect();
        let (features, embeddings) = (features.select_rows(rows), embeddings.select_rows(rows));
        Aligner::of_pairs(&device, &features, &embeddings, &hashes, None, &Silent).unwrap()
    };
    let expected = fit(&(0..61).collect::<Vec<_>>());
    // The copies keep their order among themselves: equal ones are interchangeable, these aren't.
    let turned: Vec<usize> = (0..61).map(|row| (row * 5 + 12) % 61).collect();
    let found = fit(&turned);
    assert_eq!((found.weight(), found.bias()), (expected.weight(), expected.bias()), "bit by bit");
    assert_eq!(found.figures(), expected.figures());
}

#[test]
fn features_that_span_few_directions_are_aligned() {
    let device = Device::best().unwrap();
    let (features, embeddings, hashes) = pairs(40, 1024, 3);
    let aligner = Aligner::of_pairs(&device, &features, &embeddings, &hashes, None, &Silent).unwrap();
    assert!(aligner.figures().unwrap().lambda > 0.0);
}

#[test]
fn features_that_are_all_the_same_are_an_error() {
    let device = Device::best().unwrap();
    let (features, embeddings, hashes) = pairs(20, 4, 3);
    let same = features.select_rows(&[0; 20]);
    let error = Aligner::of_pairs(&device, &same, &embeddings, &hashes, None, &Silent).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert_eq!(error.to_string(), "the 16 images to fit to all have the same features");
}
