//! The tables that fault localisation reports: verdicts, bounds, the agreement of the oracles.

use std::fmt;

use serde::{Serialize, Serializer};

use super::localize::{Oracle, Sample};
use super::responsible::Change;
use super::statistics::Estimate;

/// Where a misclassification comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// The embedding still carries the right meaning: the head misread it.
    Head,
    /// The embedding has lost the right meaning.
    Encoder,
    /// The oracle can't tell.
    Undetermined,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Head => "head",
            Self::Encoder => "encoder",
            Self::Undetermined => "undetermined",
        })
    }
}

/// How often two oracles agree among the images on which both decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Agreement {
    /// Images on which both decide alike.
    pub alike: u64,
    /// Images on which both decide.
    pub decided: u64,
}

impl Agreement {
    /// Counts one image.
    pub fn add(&mut self, a: Fault, b: Fault) {
        if a != Fault::Undetermined && b != Fault::Undetermined {
            self.decided += 1;
            self.alike += u64::from(a == b);
        }
    }

    /// The share that agrees, with Wilson's interval, or `None` where the oracles never both decide.
    pub fn share(self) -> Option<Estimate> {
        Estimate::of_share(self.alike, self.decided)
    }
}

impl Serialize for Agreement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.share().serialize(serializer)
    }
}

/// Images by whether the zero-shot oracle (on the aligned embedding) and CLIP (on the image) say the true class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct OracleTable {
    /// Both say it.
    pub both: u64,
    /// The oracle alone says it.
    pub oracle_only: u64,
    /// CLIP alone says it.
    pub clip_only: u64,
    /// Neither says it.
    pub neither: u64,
}

impl OracleTable {
    /// Counts one image.
    pub fn add(&mut self, oracle: bool, clip: bool) {
        *match (oracle, clip) {
            (true, true) => &mut self.both,
            (true, false) => &mut self.oracle_only,
            (false, true) => &mut self.clip_only,
            (false, false) => &mut self.neither,
        } += 1;
    }
}

/// Bounds on the share of misclassified images that is the head's fault, each with Wilson's interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HeadShare {
    /// head/n: if every undetermined image were the encoder's fault.
    pub least: Estimate,
    /// (head + undetermined)/n: if every undetermined image were the head's.
    pub most: Estimate,
}

impl HeadShare {
    /// The bounds from the numbers of verdicts on `n` images; `None` of no image.
    pub fn new(head: u64, undetermined: u64, n: u64) -> Option<Self> {
        Some(Self { least: Estimate::of_share(head, n)?, most: Estimate::of_share(head + undetermined, n)? })
    }
}

/// The verdicts on a set of misclassified images, beside those on the correctly classified images of the same classes.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Tally {
    /// Misclassified images.
    pub n: u64,
    /// Verdicts "head".
    pub head: u64,
    /// Verdicts "encoder".
    pub encoder: u64,
    /// Verdicts "undetermined".
    pub undetermined: u64,
    /// The share of images on which that oracle and the heatmap oracle agree, among those on which both decide.
    pub agreement: Agreement,
    /// On how many both decide.
    pub compared: u64,
    /// Bounds on the head's share: leaving the undetermined out would favour the head.
    pub head_share: Option<HeadShare>,
    /// The counterfactual oracle's verdicts.
    pub counterfactual: Verdicts,
    /// The zero-shot oracle's verdicts.
    pub zero_shot: Verdicts,
    /// What a refitted head gets right (head) and what not (encoder).
    pub refit: Verdicts,
    /// The heatmap oracle's verdicts.
    pub heatmap: Verdicts,
    /// The zero-shot oracle and CLIP on the misclassified images.
    pub errors: OracleTable,
    /// The zero-shot oracle and CLIP on the correctly classified images.
    pub correct: OracleTable,
    /// The verdicts that the zero-shot oracle's rules give on correctly classified images, where "encoder" is a known mistake.
    pub on_correct: Verdicts,
    /// The share of correctly classified images to which they give "encoder", with Wilson's interval: the zero-shot oracle's rate of
    /// false encoder verdicts.
    pub false_encoder_rate: Option<Estimate>,
}

/// How often each verdict is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Verdicts {
    /// Verdicts "head".
    pub head: u64,
    /// Verdicts "encoder".
    pub encoder: u64,
    /// Verdicts "undetermined".
    pub undetermined: u64,
}

impl Verdicts {
    /// Adds other verdicts.
    pub(super) fn join(&mut self, other: Self) {
        self.head += other.head;
        self.encoder += other.encoder;
        self.undetermined += other.undetermined;
    }

    /// Counts one verdict.
    pub fn add(&mut self, fault: Fault) {
        *match fault {
            Fault::Head => &mut self.head,
            Fault::Encoder => &mut self.encoder,
            Fault::Undetermined => &mut self.undetermined,
        } += 1;
    }
}

impl Tally {
    /// The verdicts of an oracle.
    pub fn of(&self, oracle: Oracle) -> Verdicts {
        match oracle {
            Oracle::Counterfactual => self.counterfactual,
            Oracle::ZeroShot => self.zero_shot,
            Oracle::Refit => self.refit,
        }
    }

    /// Counts a misclassified image.
    pub(super) fn add_error(&mut self, sample: &Sample, oracle: bool, clip: bool) {
        self.n += 1;
        *match sample.verdict {
            Fault::Head => &mut self.head,
            Fault::Encoder => &mut self.encoder,
            Fault::Undetermined => &mut self.undetermined,
        } += 1;
        self.counterfactual.add(sample.counterfactual_verdict);
        self.zero_shot.add(sample.zero_shot_verdict);
        self.refit.add(sample.refit_verdict);
        self.heatmap.add(sample.heatmap_verdict);
        self.agreement.add(sample.verdict, sample.heatmap_verdict);
        self.errors.add(oracle, clip);
    }

    /// Counts a correctly classified image.
    pub(super) fn add_correct(&mut self, verdict: Fault, oracle: bool, clip: bool) {
        self.on_correct.add(verdict);
        self.correct.add(oracle, clip);
    }

    /// Works out the shares once all images are counted.
    pub(super) fn finish(&mut self) {
        self.head_share = HeadShare::new(self.head, self.undetermined, self.n);
        self.compared = self.agreement.decided;
        let Verdicts { head, encoder, undetermined } = self.on_correct;
        self.false_encoder_rate = Estimate::of_share(encoder, head + encoder + undetermined);
    }
}

/// One class's part of the localisation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassTally {
    /// The true class.
    pub class: String,
    /// Its verdicts.
    #[serde(flatten)]
    pub tally: Tally,
    /// Whether there are enough recognised and enough missed images to say which concepts failures lack; if not, none is told.
    pub supported: bool,
    /// The concepts that it has by CLIP's word and that its failures lack, strongest first: what the program takes for lost.
    pub missing: Vec<Change>,
    /// All concepts its failures lack, strongest first.
    pub lost: Vec<Change>,
    /// The concepts its failures have in their place, strongest first.
    pub intruding: Vec<Change>,
    /// The distance to the correct map above which the heatmap oracle says "encoder"; none where it doesn't apply.
    pub heatmap_threshold: Option<f64>,
}
