//! The figures of localisation set against planted faults.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Plant, PlantedCause};
use crate::semantics::statistics::Estimate;
use crate::semantics::{
    Change, Counterfactual, Fault, Localization, LocalizeOptions, Manifest, Oracle, Sample, Verdicts,
};

/// How far down the list of missing concepts the lost one may stand to be found.
const FIRST: usize = 3;

/// Which part makes an error, by running each part of the variant beside the other part of the intact classifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The variant's head on the intact features makes it; the variant's encoder under the intact head doesn't.
    Head,
    /// The other way round.
    Encoder,
    /// Each part makes it alone.
    Either,
    /// Only both together make it.
    Together,
}

impl Origin {
    /// The verdict that names it, if one does.
    pub fn fault(self) -> Option<Fault> {
        match self {
            Self::Head => Some(Fault::Head),
            Self::Encoder => Some(Fault::Encoder),
            Self::Either | Self::Together => None,
        }
    }
}

/// The verdicts of each oracle on errors of one origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OracleRow {
    /// Where the errors come from.
    pub origin: Origin,
    /// How many there are.
    pub errors: u64,
    /// The counterfactual oracle's verdicts.
    pub counterfactual: Verdicts,
    /// The zero-shot oracle's.
    pub zero_shot: Verdicts,
    /// What a refitted head gets right (head) and what not (encoder).
    pub refit: Verdicts,
}

impl OracleRow {
    pub(super) fn new(origin: Origin) -> Self {
        let none = Verdicts::default;
        Self { origin, errors: 0, counterfactual: none(), zero_shot: none(), refit: none() }
    }

    /// The verdicts of an oracle.
    pub fn of(&self, oracle: Oracle) -> Verdicts {
        match oracle {
            Oracle::Counterfactual => self.counterfactual,
            Oracle::ZeroShot => self.zero_shot,
            Oracle::Refit => self.refit,
        }
    }

    pub(super) fn add(&mut self, sample: &Sample) {
        self.errors += 1;
        self.counterfactual.add(sample.counterfactual_verdict);
        self.zero_shot.add(sample.zero_shot_verdict);
        self.refit.add(sample.refit_verdict);
    }

    fn join(&mut self, other: &Self) {
        self.errors += other.errors;
        self.counterfactual.join(other.counterfactual);
        self.zero_shot.join(other.zero_shot);
        self.refit.join(other.refit);
    }

    /// How many verdicts of an oracle name the origin.
    fn named(&self, oracle: Oracle) -> u64 {
        let Verdicts { head, encoder, .. } = self.of(oracle);
        match self.origin.fault() {
            Some(Fault::Head) => head,
            Some(Fault::Encoder) => encoder,
            _ => 0,
        }
    }
}

/// What became of the concept that an encoder was made to lose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LostConcept {
    /// The class.
    pub class: String,
    /// The concept.
    pub concept: String,
    /// Its place from 1 among the concepts that localisation reports as [missing](crate::semantics::ClassTally::missing); none if
    /// it isn't among them.
    pub rank: Option<usize>,
    /// How many those are.
    pub missing: usize,
    /// Its place among those of the intact classifier: a concept that stands as high there isn't found by the plant.
    pub rank_intact: Option<usize>,
    /// Its place among all concepts [lost](crate::semantics::ClassTally::lost) by the differential map.
    pub rank_among_all: Option<usize>,
}

impl LostConcept {
    pub(super) fn new(class: &str, concept: &str, intact: &Localization, variant: &Localization) -> Self {
        let of = |localization: &Localization| localization.classes.iter().find(|found| found.class == class).cloned();
        let of_class = of(variant);
        let rank = |changes: &[Change]| changes.iter().position(|change| change.concept == concept).map(|at| at + 1);
        Self {
            class: class.to_owned(),
            concept: concept.to_owned(),
            rank: of_class.as_ref().and_then(|found| rank(&found.missing)),
            missing: of_class.as_ref().map_or(0, |found| found.missing.len()),
            rank_intact: of(intact).and_then(|found| rank(&found.missing)),
            rank_among_all: of_class.and_then(|found| rank(&found.lost)),
        }
    }

    fn is_found(&self) -> bool {
        self.rank.is_some_and(|rank| rank <= FIRST)
    }
}

/// One plant's figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlantResult {
    /// What sort of fault it is.
    pub kind: String,
    /// The part that it damages.
    pub cause: PlantedCause,
    /// The number it was made with.
    pub seed: u64,
    /// What was done.
    pub description: String,
    /// The variant's accuracy.
    pub accuracy: Estimate,
    /// The refitted aligner's R².
    pub aligner_r2: Option<Estimate>,
    /// Its errors by origin.
    pub errors: Vec<OracleRow>,
    /// The concept that was to be lost.
    pub lost: Option<LostConcept>,
}

/// The figures of all plants of one kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KindLocalization {
    /// The kind.
    pub kind: String,
    /// How many plants there are of it.
    pub plants: usize,
    /// All their errors by origin.
    pub errors: Vec<OracleRow>,
    /// The share of errors of one part alone that each oracle names rightly, with Wilson's interval; undetermined is wrong.
    pub named: BTreeMap<&'static str, Option<Estimate>>,
    /// In how many plants the lost concept is among the first three missing, of how many that lost one.
    pub concepts_found: [usize; 2],
}

/// How well localisation names planted faults.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LocalizationEvaluation {
    /// Images whose errors were localised.
    pub images: usize,
    /// The intact classifier's accuracy on them.
    pub accuracy: Estimate,
    /// The options of the oracles.
    pub options: LocalizeOptions,
    /// Kind by kind.
    pub kinds: Vec<KindLocalization>,
    /// Over all pure plants.
    pub pure: KindLocalization,
    /// The shortfalls, of 0.0, 0.1, … 6.0, with which the counterfactual oracle would name the largest share in the pure kind that it
    /// names least; none without errors of pure plants.
    pub best_shortfall: Option<BestShortfall>,
    /// Each plant, by kind and seed.
    pub plants: Vec<PlantResult>,
}

impl KindLocalization {
    fn new(kind: &str, plants: &[&PlantResult]) -> Self {
        let mut rows = BTreeMap::new();
        for row in plants.iter().flat_map(|plant| &plant.errors) {
            rows.entry(row.origin).or_insert_with(|| OracleRow::new(row.origin)).join(row);
        }
        let errors: Vec<OracleRow> = rows.into_values().collect();
        let of_one_part = || errors.iter().filter(|row| row.origin.fault().is_some());
        let all = of_one_part().map(|row| row.errors).sum();
        let share = |oracle| Estimate::of_share(of_one_part().map(|row| row.named(oracle)).sum(), all);
        let named = Oracle::ALL.into_iter().map(|oracle| (oracle.name(), share(oracle))).collect();
        let lost = || plants.iter().filter_map(|plant| plant.lost.as_ref());
        let concepts_found = [lost().filter(|lost| lost.is_found()).count(), lost().count()];
        Self { kind: kind.to_owned(), plants: plants.len(), errors, named, concepts_found }
    }
}

impl LocalizationEvaluation {
    pub(super) fn new(
        intact: &Manifest,
        options: LocalizeOptions,
        plants: Vec<PlantResult>,
        decided: &[Decided],
    ) -> Self {
        let names: BTreeSet<&str> = plants.iter().map(|plant| plant.kind.as_str()).collect();
        let of = |keep: &dyn Fn(&PlantResult) -> bool| plants.iter().filter(|plant| keep(plant)).collect::<Vec<_>>();
        let kind = |name: &str| KindLocalization::new(name, &of(&|plant| plant.kind == name));
        Self {
            images: intact.n,
            accuracy: intact.accuracy,
            options,
            kinds: names.into_iter().map(kind).collect(),
            pure: KindLocalization::new("pure", &of(&|plant| plant.cause != PlantedCause::Mixed)),
            best_shortfall: best_shortfall(decided),
            plants,
        }
    }
}

/// The shortfalls that name planted faults best.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BestShortfall {
    /// The smallest of the best.
    pub from: f64,
    /// The largest of the best.
    pub to: f64,
    /// The share that they name in the kind of which they name least.
    pub least_named: f64,
}

/// An error of a pure plant as far as the shortfall decides it.
#[derive(Debug)]
pub(super) struct Decided {
    kind: String,
    is_head: bool,
    found: Option<Counterfactual>,
}

impl Decided {
    pub(super) fn new(plant: &Plant, origin: Origin, found: Option<Counterfactual>) -> Self {
        Self { kind: plant.kind.clone(), is_head: origin == Origin::Head, found }
    }

    fn is_named(&self, shortfall: f64) -> bool {
        self.found.is_some_and(|found| found.blames_head(shortfall) == self.is_head)
    }
}

/// The best of the shortfalls 0.0, 0.1, … 6.0.
fn best_shortfall(decided: &[Decided]) -> Option<BestShortfall> {
    let mut kinds = BTreeMap::<&str, Vec<&Decided>>::new();
    decided.iter().for_each(|error| kinds.entry(&error.kind).or_default().push(error));
    let least_named = |shortfall: f64| {
        let share = |errors: &Vec<&Decided>| {
            errors.iter().filter(|error| error.is_named(shortfall)).count() as f64 / errors.len() as f64
        };
        kinds.values().map(share).min_by(f64::total_cmp)
    };
    let tried: Vec<(f64, f64)> = (0..=60)
        .map(|tenths| f64::from(tenths) / 10.0)
        .filter_map(|shortfall| Some((shortfall, least_named(shortfall)?)))
        .collect();
    let most = tried.iter().map(|&(_, share)| share).max_by(f64::total_cmp)?;
    let mut best = tried.iter().filter(|&&(_, share)| share == most).map(|&(shortfall, _)| shortfall);
    let from = best.next()?;
    Some(BestShortfall { from, to: best.next_back().unwrap_or(from), least_named: most })
}

#[cfg(test)]
mod tests;
