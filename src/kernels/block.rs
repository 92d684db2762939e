//! Parts of operands that are too large to be bound.

use std::ops::Range;

/// A part of an operand seen as a matrix: all of some rows, or some columns of all rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Block {
    /// The rows.
    pub rows: Range<usize>,
    /// The columns.
    pub columns: Range<usize>,
    /// Columns of the whole operand.
    pub stride: usize,
}

impl Block {
    /// Blocks of whole rows, at most `largest` of them each; none if not even one may be.
    pub(super) fn of_rows(rows: usize, columns: usize, largest: usize) -> Option<Vec<Self>> {
        Some(even(rows, largest)?.map(|rows| Self { rows, columns: 0..columns, stride: columns }).collect())
    }

    /// Blocks of whole columns, at most `largest` of them each and a multiple of 4; none if not even 4 may be.
    pub(super) fn of_columns(rows: usize, columns: usize, largest: usize) -> Option<Vec<Self>> {
        let block = |quads: Range<usize>| Self {
            rows: 0..rows,
            columns: 4 * quads.start..(4 * quads.end).min(columns),
            stride: columns,
        };
        Some(even(columns.div_ceil(4), largest / 4)?.map(block).collect())
    }

    /// The block's bytes, row by row, out of the whole operand's, whose elements are of `size` bytes.
    pub fn cut(&self, bytes: &[u8], size: usize) -> Vec<u8> {
        let rows = bytes.chunks_exact(size * self.stride).take(self.rows.end).skip(self.rows.start);
        rows.flat_map(|row| &row[size * self.columns.start..size * self.columns.end]).copied().collect()
    }
}

/// `0..len` in as few ranges of at most `largest` as there can be, all but the last of equal length.
fn even(len: usize, largest: usize) -> Option<impl Iterator<Item = Range<usize>>> {
    let each = len.div_ceil(len.div_ceil(largest.min(len).max(1)));
    (largest > 0).then(|| (0..len).step_by(each).map(move |first| first..len.min(first + each)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_the_operand_once_and_are_small_enough() {
        let (rows, columns) = (7, 20);
        let cells: Vec<u16> = (0..rows * columns).map(|cell| cell as u16).collect();
        let cut = |block: &Block| bytemuck::pod_collect_to_vec::<u8, u16>(&block.cut(bytemuck::cast_slice(&cells), 2));
        for largest in 1..=2 * columns {
            let by_rows = Block::of_rows(rows, columns, largest).unwrap();
            assert!(by_rows.iter().all(|block| block.rows.len() <= largest));
            assert_eq!(by_rows.iter().flat_map(cut).collect::<Vec<_>>(), cells);
            let Some(by_columns) = Block::of_columns(rows, columns, largest) else {
                assert!(largest < 4);
                continue;
            };
            assert!(by_columns.iter().all(|block| block.columns.len() <= largest && block.columns.start % 4 == 0));
            let mut found: Vec<u16> = by_columns.iter().flat_map(cut).collect();
            found.sort_unstable();
            assert_eq!(found, cells);
        }
        assert_eq!(Block::of_rows(rows, columns, 0), None);
    }
}
