//! Images dealt into folds, so that nothing is fitted to an image that it is judged by.
//!
//! A data set may list an image several times, even under two labels. What is counted and dealt is therefore images, not rows: the
//! copies of one share a fold.

use super::scores::ContentOrder;

/// Rows grouped by image, in content order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Images(Vec<Vec<u32>>);

impl Images {
    /// Groups `rows` by image: those with equal keys in `images`, which holds one for each row of the data set, are copies.
    /// `order` puts copies side by side.
    pub(crate) fn new<K: PartialEq>(order: &ContentOrder, rows: &[u32], images: &[K]) -> Self {
        let sorted = order.sorted(rows);
        let copies = sorted.chunk_by(|&a, &b| images[a as usize] == images[b as usize]);
        Self(copies.map(<[u32]>::to_vec).collect())
    }

    /// The number of different images.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Their rows.
    pub(crate) fn rows(&self) -> Vec<u32> {
        self.0.concat()
    }

    /// The first `count` images and the others.
    pub(crate) fn split_at(&self, count: usize) -> (Self, Self) {
        let (first, others) = self.0.split_at(count);
        (Self(first.to_vec()), Self(others.to_vec()))
    }

    /// Those with a row that `is_it` and those without.
    pub(crate) fn partition(&self, is_it: impl Fn(u32) -> bool) -> (Self, Self) {
        let (of_it, others) = self.0.iter().cloned().partition(|copies| copies.iter().any(|&row| is_it(row)));
        (Self(of_it), Self(others))
    }

    /// The rows of each of `folds`, to which the images are dealt in turn.
    pub(crate) fn deal(&self, folds: usize) -> Vec<Vec<u32>> {
        let mut dealt = vec![Vec::new(); folds];
        self.0.iter().enumerate().for_each(|(number, copies)| dealt[number % folds].extend(copies));
        dealt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_dealt_whatever_their_order() {
        let keys = ["d", "a", "c", "b", "e"];
        let order = ContentOrder::new(&keys);
        for rows in [[0, 1, 2, 3, 4], [4, 2, 0, 1, 3]] {
            let images = Images::new(&order, &rows, &keys);
            assert_eq!((images.len(), images.rows()), (5, vec![1, 3, 2, 0, 4]));
            assert_eq!(images.deal(2), [vec![1, 2, 4], vec![3, 0]]);
            let (first, others) = images.split_at(2);
            assert_eq!((first.rows(), others.deal(3)), (vec![1, 3], vec![vec![2], vec![0], vec![4]]));
        }
    }

    #[test]
    fn copies_of_an_image_stay_together_whatever_their_labels() {
        let keys = [("b", 1), ("a", 0), ("b", 0), ("c", 0), ("a", 0)];
        let images = Images::new(&ContentOrder::new(&keys), &[0, 1, 2, 3, 4], &keys.map(|(image, _)| image));
        assert_eq!(images.len(), 3);
        assert_eq!(images.deal(2), [vec![1, 4, 3], vec![2, 0]]);
        let (labelled_1, others) = images.partition(|row| keys[row as usize].1 == 1);
        assert_eq!((labelled_1.rows(), others.rows()), (vec![2, 0], vec![1, 4, 3]));
    }
}
