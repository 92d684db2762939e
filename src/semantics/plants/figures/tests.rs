use super::*;

fn verdicts(head: u64, encoder: u64, undetermined: u64) -> Verdicts {
    Verdicts { head, encoder, undetermined }
}

fn row(origin: Origin, counterfactual: Verdicts) -> OracleRow {
    let errors = counterfactual.head + counterfactual.encoder + counterfactual.undetermined;
    OracleRow { errors, counterfactual, ..OracleRow::new(origin) }
}

fn plant(kind: &str, cause: PlantedCause, errors: Vec<OracleRow>, rank: Option<usize>) -> PlantResult {
    let lost = LostConcept {
        class: "cat".to_owned(),
        concept: "ears".to_owned(),
        rank,
        missing: 5,
        rank_intact: None,
        rank_among_all: None,
    };
    let description = String::new();
    PlantResult {
        kind: kind.to_owned(),
        cause,
        seed: 0,
        description,
        accuracy: Estimate { value: 0.5, low: 0.4, high: 0.6 },
        aligner_r2: None,
        errors,
        lost: Some(lost),
    }
}

#[test]
fn only_errors_of_one_part_count_and_undetermined_is_wrong() {
    let plants = [
        plant(
            "a",
            PlantedCause::Mixed,
            vec![row(Origin::Head, verdicts(6, 1, 1)), row(Origin::Either, verdicts(9, 9, 9))],
            Some(3),
        ),
        plant(
            "a",
            PlantedCause::Mixed,
            vec![row(Origin::Encoder, verdicts(1, 1, 0)), row(Origin::Head, verdicts(1, 0, 0))],
            Some(4),
        ),
        plant("a", PlantedCause::Mixed, vec![row(Origin::Together, verdicts(0, 0, 4))], None),
    ];
    let kind = KindLocalization::new("a", &plants.iter().collect::<Vec<_>>());
    let named = kind.named["counterfactual"].unwrap();
    assert_eq!(named.value, 8.0 / 11.0, "7 of 9 of the head and 1 of 2 of the encoder");
    assert_eq!(kind.concepts_found, [1, 3]);
    let origins: Vec<_> = kind.errors.iter().map(|row| (row.origin, row.errors)).collect();
    assert_eq!(origins, [(Origin::Head, 9), (Origin::Encoder, 2), (Origin::Either, 27), (Origin::Together, 4)]);
    assert_eq!(kind.named["refit"].unwrap().value, 0.0);
    let none = KindLocalization::new("b", &[]);
    assert_eq!((none.named["counterfactual"], none.plants), (None, 0));
}

#[test]
fn the_best_shortfall_serves_the_kind_that_is_named_least() {
    let error = |kind: &str, is_head: bool, shortfall: Option<f64>, margin: f64| Decided {
        kind: kind.to_owned(),
        is_head,
        found: shortfall.map(|typical_refit| Counterfactual { class: 0, margin, typical_refit, typical_own: 0.0 }),
    };
    let decided = vec![
        error("row", true, Some(2.05), 1.0),
        error("row", true, Some(3.0), 1.0),
        error("row", true, Some(9.0), -1.0),
        error("row", true, None, 1.0),
        error("layer", false, Some(1.55), 1.0),
        error("layer", false, Some(0.2), 1.0),
        error("layer", false, Some(7.0), -1.0),
        error("layer", false, None, 1.0),
    ];
    let best = best_shortfall(&decided).unwrap();
    assert_eq!((best.from, best.to, best.least_named), (0.2, 2.0, 0.5), "2 of 4 heads, 2 or 3 of 4 layers");
    assert_eq!(best_shortfall(&[]), None);
}
