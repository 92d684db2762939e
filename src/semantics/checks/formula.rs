//! Formulas over one image: whether they hold, and by how much they fail.

use std::collections::BTreeMap;

use crate::error::Result;

/// A property of one image; `N` stands for a concept or class.
#[derive(Debug, Clone)]
pub(super) enum Formula<N> {
    /// The first concept scores strictly above the second.
    Stronger(N, N),
    /// The image is classified so.
    Predict(N),
    /// The image is annotated with the concept.
    HasConcept(N),
    Not(Box<Self>),
    And(Vec<Self>),
    Or(Vec<Self>),
    Implies(Box<Self>, Box<Self>),
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Concept,
    AnnotatedConcept,
    Class,
}

/// For each annotated concept that a formula names, whether the images have it.
pub(super) type Annotated = BTreeMap<usize, Vec<Option<bool>>>;

/// What formulas are about.
pub(super) struct Image<'a> {
    pub(super) row: usize,
    pub(super) scores: &'a [f32],
    pub(super) prediction: usize,
    pub(super) annotated: &'a Annotated,
}

impl<N> Formula<N> {
    /// The same formula with every name looked up.
    pub(super) fn resolved<M>(&self, look_up: &mut dyn FnMut(&N, Meaning) -> Result<M>) -> Result<Formula<M>> {
        Ok(match self {
            Self::Stronger(a, b) => Formula::Stronger(look_up(a, Meaning::Concept)?, look_up(b, Meaning::Concept)?),
            Self::Predict(class) => Formula::Predict(look_up(class, Meaning::Class)?),
            Self::HasConcept(concept) => Formula::HasConcept(look_up(concept, Meaning::AnnotatedConcept)?),
            Self::Not(inner) => Formula::Not(Box::new(inner.resolved(look_up)?)),
            Self::And(parts) => Formula::And(parts.iter().map(|part| part.resolved(look_up)).collect::<Result<_>>()?),
            Self::Or(parts) => Formula::Or(parts.iter().map(|part| part.resolved(look_up)).collect::<Result<_>>()?),
            Self::Implies(premise, conclusion) => {
                Formula::Implies(Box::new(premise.resolved(look_up)?), Box::new(conclusion.resolved(look_up)?))
            }
        })
    }
}

impl Formula<usize> {
    /// Whether it holds. Scores that tie satisfy neither `a > b` nor `b > a`.
    pub(super) fn holds(&self, image: &Image<'_>) -> bool {
        match self {
            Self::Stronger(a, b) => image.scores[*a] > image.scores[*b],
            Self::Predict(class) => image.prediction == *class,
            Self::HasConcept(concept) => image.annotated[concept][image.row] == Some(true),
            Self::Not(inner) => !inner.holds(image),
            Self::And(parts) => parts.iter().all(|part| part.holds(image)),
            Self::Or(parts) => parts.iter().any(|part| part.holds(image)),
            Self::Implies(premise, conclusion) => !premise.holds(image) || conclusion.holds(image),
        }
    }

    /// How far it is from changing between holding (positive) and failing (negative): the robustness of signal temporal logic
    /// (A. Donzé and O. Maler, 2010). A comparison's is the difference of its scores, a prediction's or annotation's is infinite;
    /// `not` negates, `and` takes the least, `or` the greatest.
    pub(super) fn margin(&self, image: &Image<'_>) -> f32 {
        match self {
            Self::Stronger(a, b) => image.scores[*a] - image.scores[*b],
            Self::Predict(_) | Self::HasConcept(_) => {
                if self.holds(image) {
                    f32::INFINITY
                } else {
                    f32::NEG_INFINITY
                }
            }
            Self::Not(inner) => -inner.margin(image),
            Self::And(parts) => parts.iter().map(|part| part.margin(image)).fold(f32::INFINITY, f32::min),
            Self::Or(parts) => parts.iter().map(|part| part.margin(image)).fold(f32::NEG_INFINITY, f32::max),
            Self::Implies(premise, conclusion) => (-premise.margin(image)).max(conclusion.margin(image)),
        }
    }
}
