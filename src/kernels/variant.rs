//! One kernel run in a given way.

use std::sync::Arc;

use super::{Data, Kernel, Launch, Operand, Profile};

/// One of several ways to run a kernel.
#[derive(Debug, Clone)]
pub struct Variant {
    /// Its name, which no other variant of the kernel has.
    pub name: &'static str,
    /// The profiles that run it.
    pub profiles: Vec<Profile>,
    /// How to run it.
    pub launch: Launch,
}

impl Variant {
    /// Whether a device of this profile can run it: subgroups are requested for the profile alone that uses them.
    pub fn runs_on(&self, profile: Profile) -> bool {
        self.profiles != [Profile::SoftwareSubgroups] || profile == Profile::SoftwareSubgroups
    }

    /// `kernel`, run like this on every profile.
    pub fn of(&self, kernel: Arc<dyn Kernel>) -> impl Kernel + use<> {
        Fixed { kernel, launch: self.launch.clone() }
    }
}

#[derive(Debug)]
struct Fixed {
    kernel: Arc<dyn Kernel>,
    launch: Launch,
}

impl Kernel for Fixed {
    fn name(&self) -> &'static str {
        self.kernel.name()
    }

    fn shape(&self) -> Vec<usize> {
        self.kernel.shape()
    }

    fn reads(&self) -> Vec<Operand> {
        self.kernel.reads()
    }

    fn output(&self) -> Operand {
        self.kernel.output()
    }

    fn accumulates(&self) -> bool {
        self.kernel.accumulates()
    }

    fn flops(&self) -> u64 {
        self.kernel.flops()
    }

    fn tolerance(&self) -> f64 {
        self.kernel.tolerance()
    }

    fn launch(&self, _: Profile) -> Launch {
        self.launch.clone()
    }

    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64> {
        self.kernel.reference(reads)
    }
}
