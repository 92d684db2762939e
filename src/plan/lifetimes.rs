//! Which values share a buffer.

use super::{Plan, Source};

/// Buffers of a plan: values whose lifetimes don't overlap share one.
///
/// wgpu tracks the use of whole buffers, so each slot is a buffer of its own rather than a range of an arena.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slots {
    /// The slot of each value.
    pub slot_of: Vec<usize>,
    /// The bytes of each slot.
    pub bytes: Vec<u64>,
}

impl Slots {
    /// The bytes of all slots.
    pub fn total_bytes(&self) -> u64 {
        self.bytes.iter().sum()
    }
}

impl Plan {
    /// Assigns every value a slot.
    ///
    /// Inputs, outputs and accumulated values keep one of their own, since they are written or read outside the pass. The
    /// others are placed from the largest to the smallest, each in the smallest slot that is free for all of its life
    /// (greedy by size, Pisarchyk and Lee 2020, arXiv 2001.03288). Placing them in the order of the dispatches instead
    /// wasted up to half of the least memory on transformers.
    pub fn slots(&self) -> Slots {
        let pinned = self.pinned();
        let lives = self.lives();
        let bytes_of = |var: usize| 4 * self.values[var].len as u64;
        let mut slots = Slots { slot_of: vec![usize::MAX; self.values.len()], bytes: Vec::new() };
        let mut taken: Vec<Vec<(usize, usize)>> = Vec::new();
        let mut order: Vec<usize> = (0..self.values.len()).collect();
        order.sort_by_key(|&var| std::cmp::Reverse(bytes_of(var)));
        for var in order {
            let (first, last) = if pinned[var] { (0, usize::MAX) } else { lives[var] };
            let is_free = |slot: &usize| taken[*slot].iter().all(|&(start, end)| last < start || end < first);
            // Slots are made from the largest to the smallest, so the last free one fits best.
            let slot = (0..taken.len()).rev().find(is_free).unwrap_or_else(|| {
                slots.bytes.push(bytes_of(var));
                taken.push(Vec::new());
                taken.len() - 1
            });
            taken[slot].push((first, last));
            slots.slot_of[var] = slot;
        }
        slots
    }

    /// The bytes that must exist at once: the largest sum, over the dispatches, of the values alive at it.
    pub fn peak_live_bytes(&self) -> u64 {
        let (pinned, lives) = (self.pinned(), self.lives());
        let alive = |step: usize| {
            let is_alive = |var: &usize| pinned[*var] || (lives[*var].0..=lives[*var].1).contains(&step);
            (0..self.values.len()).filter(is_alive).map(|var| 4 * self.values[var].len as u64).sum()
        };
        (0..self.dispatches.len()).map(alive).max().unwrap_or(0)
    }

    fn pinned(&self) -> Vec<bool> {
        let mut pinned = vec![false; self.values.len()];
        for (_, var) in self.inputs.iter().chain(&self.outputs) {
            pinned[var.0] = true;
        }
        for dispatch in self.dispatches.iter().filter(|dispatch| dispatch.kernel.accumulates()) {
            pinned[dispatch.output.0] = true;
        }
        pinned
    }

    /// The dispatch that writes each value and the last that touches it.
    fn lives(&self) -> Vec<(usize, usize)> {
        let mut lives = vec![(0, 0); self.values.len()];
        for (step, dispatch) in self.dispatches.iter().enumerate() {
            lives[dispatch.output.0] = (step, step);
            for source in &dispatch.reads {
                if let Source::Var(var) = source {
                    lives[var.0].1 = step;
                }
            }
        }
        lives
    }
}
