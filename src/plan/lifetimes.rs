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
    /// others are placed dispatch by dispatch, the one with the most bytes alive first, and the largest value of each first;
    /// a value takes the slot, free for all of its life, that needs to grow least (greedy by breadth, Pisarchyk and Lee
    /// 2020, arXiv 2001.03288).
    pub fn slots(&self) -> Slots {
        let lives = self.lives();
        let mut slots = Slots { slot_of: vec![usize::MAX; self.values.len()], bytes: Vec::new() };
        let mut taken: Vec<Vec<Life>> = Vec::new();
        for var in self.placing_order(&lives) {
            let bytes = self.bytes_of(var);
            let is_free = |slot: &usize| taken[*slot].iter().all(|life| !life.overlaps(&lives[var]));
            let cost = |slot: &usize| {
                let has: u64 = slots.bytes[*slot];
                (bytes.saturating_sub(has), has.abs_diff(bytes))
            };
            let slot = (0..taken.len()).filter(is_free).min_by_key(cost).unwrap_or_else(|| {
                slots.bytes.push(0);
                taken.push(Vec::new());
                taken.len() - 1
            });
            slots.bytes[slot] = slots.bytes[slot].max(bytes);
            taken[slot].push(lives[var]);
            slots.slot_of[var] = slot;
        }
        slots
    }

    /// Every value once: those alive at the fullest dispatch from the largest to the smallest, then those of the next.
    fn placing_order(&self, lives: &[Life]) -> Vec<usize> {
        let mut steps: Vec<usize> = (0..self.dispatches.len()).collect();
        steps.sort_by_key(|&step| std::cmp::Reverse(self.live_bytes(lives, step)));
        let mut is_placed = vec![false; self.values.len()];
        let mut order = Vec::with_capacity(self.values.len());
        let mut place = |mut vars: Vec<usize>| {
            vars.sort_by_key(|&var| std::cmp::Reverse(self.bytes_of(var)));
            order.extend(vars.into_iter().filter(|&var| !std::mem::replace(&mut is_placed[var], true)));
        };
        for step in steps {
            place((0..self.values.len()).filter(|&var| lives[var].contains(step)).collect());
        }
        // A plan without dispatches may still have inputs.
        place((0..self.values.len()).collect());
        order
    }

    /// The bytes that must exist at once: the largest sum, over the dispatches, of the values alive at it.
    pub fn peak_live_bytes(&self) -> u64 {
        let lives = self.lives();
        (0..self.dispatches.len()).map(|step| self.live_bytes(&lives, step)).max().unwrap_or(0)
    }

    fn live_bytes(&self, lives: &[Life], step: usize) -> u64 {
        (0..self.values.len()).filter(|&var| lives[var].contains(step)).map(|var| self.bytes_of(var)).sum()
    }

    pub(super) fn bytes_of(&self, var: usize) -> u64 {
        self.values[var].element.bytes() * self.values[var].len as u64
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

    /// From the first dispatch that writes each value to the last that touches it; always, for pinned ones.
    fn lives(&self) -> Vec<Life> {
        let mut lives = vec![Life { first: usize::MAX, last: 0 }; self.values.len()];
        for (step, dispatch) in self.dispatches.iter().enumerate() {
            let life = &mut lives[dispatch.output.0];
            // Some values are written in parts.
            *life = Life { first: step.min(life.first), last: step };
            for source in &dispatch.reads {
                if let Source::Var(var) = source {
                    lives[var.0].last = step;
                }
            }
        }
        for (life, _) in lives.iter_mut().zip(self.pinned()).filter(|(_, pinned)| *pinned) {
            *life = Life { first: 0, last: usize::MAX };
        }
        lives
    }
}

/// The dispatches during which a value must be kept, both ends included.
#[derive(Debug, Clone, Copy)]
struct Life {
    first: usize,
    last: usize,
}

impl Life {
    fn contains(&self, step: usize) -> bool {
        (self.first..=self.last).contains(&step)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}
