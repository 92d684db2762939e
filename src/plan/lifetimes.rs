//! Which values share a buffer.

use super::{Plan, Source, Var};

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
    /// Inputs, outputs and accumulated values keep one of their own, since they are written or read outside the pass.
    /// Every other value takes the free slot that fits it best, growing one where that wastes least.
    pub fn slots(&self) -> Slots {
        let last_use = self.last_uses();
        let mut slots = Slots { slot_of: vec![usize::MAX; self.values.len()], bytes: Vec::new() };
        let mut free: Vec<usize> = Vec::new();
        let pinned = self.pinned();
        for (var, _) in pinned.iter().enumerate().filter(|(_, pinned)| **pinned) {
            slots.slot_of[var] = slots.bytes.len();
            slots.bytes.push(4 * self.values[var].len as u64);
        }
        for (step, dispatch) in self.dispatches.iter().enumerate() {
            let output = dispatch.output.0;
            if !pinned[output] {
                let bytes = 4 * self.values[output].len as u64;
                let slot = match best_fit(&free, &slots.bytes, bytes) {
                    Some(at) => free.swap_remove(at),
                    None => {
                        slots.bytes.push(0);
                        slots.bytes.len() - 1
                    }
                };
                slots.bytes[slot] = slots.bytes[slot].max(bytes);
                slots.slot_of[output] = slot;
            }
            let mut ended: Vec<usize> = self.read_vars(step).map(|var| var.0).chain([output]).collect();
            ended.sort_unstable();
            ended.dedup();
            free.extend(ended.iter().filter(|&&v| !pinned[v] && last_use[v] == step).map(|&v| slots.slot_of[v]));
        }
        slots
    }

    /// The bytes that must exist at once: the largest sum, over the dispatches, of the values alive at it.
    pub fn peak_live_bytes(&self) -> u64 {
        let last_use = self.last_uses();
        let pinned = self.pinned();
        let bytes = |var: usize| 4 * self.values[var].len as u64;
        let always: u64 = (0..self.values.len()).filter(|&var| pinned[var]).map(bytes).sum();
        let mut alive = 0;
        let mut peak = always;
        for (step, dispatch) in self.dispatches.iter().enumerate() {
            let mut ended: Vec<usize> = self.read_vars(step).map(|var| var.0).chain([dispatch.output.0]).collect();
            ended.sort_unstable();
            ended.dedup();
            if !pinned[dispatch.output.0] {
                alive += bytes(dispatch.output.0);
            }
            peak = peak.max(always + alive);
            alive -= ended.iter().filter(|&&v| !pinned[v] && last_use[v] == step).map(|&v| bytes(v)).sum::<u64>();
        }
        peak
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

    fn last_uses(&self) -> Vec<usize> {
        let mut last_use = vec![0; self.values.len()];
        for (step, dispatch) in self.dispatches.iter().enumerate() {
            last_use[dispatch.output.0] = step;
            for var in self.read_vars(step) {
                last_use[var.0] = step;
            }
        }
        last_use
    }

    fn read_vars(&self, step: usize) -> impl Iterator<Item = Var> {
        self.dispatches[step].reads.iter().filter_map(|source| match source {
            Source::Var(var) => Some(*var),
            Source::Parameter(_) | Source::Constant(_) => None,
        })
    }
}

/// The index in `free` of the smallest slot that holds `bytes`, or else of the largest one, which is then grown.
fn best_fit(free: &[usize], sizes: &[u64], bytes: u64) -> Option<usize> {
    let fitting = (0..free.len()).filter(|&at| sizes[free[at]] >= bytes).min_by_key(|&at| sizes[free[at]]);
    fitting.or_else(|| (0..free.len()).max_by_key(|&at| sizes[free[at]]))
}
