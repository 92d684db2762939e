//! The counterfactual oracle against scikit-learn (`tests/reference/counterfactual.py` makes the values).

use heatlens::Tensor;
use heatlens::semantics::{Counterfactual, counterfactuals};
use serde_json::Value;

fn numbers(list: &Value) -> Vec<f32> {
    let rows = list.as_array().expect("a list of rows").iter();
    rows.flat_map(|row| row.as_array().expect("a row")).map(|value| value.as_f64().expect("a number") as f32).collect()
}

fn indices(list: &Value) -> Vec<usize> {
    list.as_array().expect("a list").iter().map(|value| value.as_u64().expect("an index") as usize).collect()
}

#[test]
fn a_refitted_head_and_its_margins() {
    let golden: Value =
        serde_json::from_str(include_str!("goldens/counterfactual.json")).expect("the golden file is JSON");
    let (labels, predictions) = (indices(&golden["labels"]), indices(&golden["predictions"]));
    let tensor = |key: &str| {
        let values = numbers(&golden[key]);
        Tensor::new([labels.len(), values.len() / labels.len()], values)
    };
    let (features, logits) = (tensor("features"), tensor("logits"));
    let rows: Vec<usize> = (0..labels.len()).collect();
    let find = |order: &[usize], support| {
        let pick = |values: &[usize]| order.iter().map(|&row| values[row]).collect::<Vec<_>>();
        let (features, logits) = (features.select_rows(order), logits.select_rows(order));
        counterfactuals(&features, &logits, &pick(&labels), &pick(&predictions), order, support).unwrap()
    };
    let found = find(&rows, 5);
    let expected = golden["expected"].as_array().unwrap();
    assert!(expected.len() >= 30, "{} errors", expected.len());
    assert_eq!(found.iter().flatten().count(), expected.len());
    for case in expected {
        let number = |key: &str| case[key].as_f64().unwrap();
        let row = case["row"].as_u64().unwrap() as usize;
        let Counterfactual { class, margin, typical_refit, typical_own } = found[row].unwrap();
        assert_eq!(class as u64, case["class"].as_u64().unwrap(), "{case}");
        for (found, expected) in [(margin, "margin"), (typical_refit, "typical_refit"), (typical_own, "typical_own")] {
            assert!((found - number(expected)).abs() < 1e-9, "{expected}: {found} for {case}");
        }
    }
    // The order in which images are listed changes nothing but the last bits.
    let backwards: Vec<usize> = rows.iter().rev().copied().collect();
    for (row, found) in find(&backwards, 5).iter().rev().zip(&found) {
        let difference = |row: &Counterfactual, found: &Counterfactual| (row.margin - found.margin).abs();
        assert_eq!(row.is_some(), found.is_some());
        assert!(row.as_ref().zip(found.as_ref()).is_none_or(|(row, found)| difference(row, found) < 1e-9));
    }
    let of_first = labels.iter().filter(|&&label| label == 0).count() as u64;
    let is_first = |row: usize| labels[row] == 0;
    assert!(rows.iter().any(|&row| is_first(row) && found[row].is_some()));
    assert!(find(&rows, of_first + 1).iter().enumerate().all(|(row, found)| !is_first(row) || found.is_none()));
}
