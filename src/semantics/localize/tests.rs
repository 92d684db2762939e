use super::*;
use crate::semantics::Verdicts;

/// Two classes; per row: label, prediction, aligned scores, clip scores, distance to correct, to missed.
type Row = (usize, usize, [f32; 2], [f32; 2], Option<f64>, Option<f64>);

/// What a refitted head says of the first rows; of the fourth it can't tell.
const COUNTERFACTUALS: [Option<Counterfactual>; 5] = [
    Some(Counterfactual { class: 0, margin: 2.0, typical_refit: 2.5, typical_own: -2.5 }),
    Some(Counterfactual { class: 0, margin: 2.0, typical_refit: 2.5, typical_own: 1.5 }),
    Some(Counterfactual { class: 1, margin: -1.0, typical_refit: 2.5, typical_own: -2.5 }),
    None,
    Some(Counterfactual { class: 1, margin: 0.5, typical_refit: 2.0, typical_own: 0.0 }),
];

const ZERO_SHOT: LocalizeOptions = LocalizeOptions {
    oracle: Oracle::ZeroShot,
    shortfall: SHORTFALL,
    margin: 0.0,
    heatmap_rule: HeatmapRule::Percentile,
};

const RIGHT: [f32; 2] = [0.9, 0.1];
const WRONG: [f32; 2] = [0.1, 0.9];

fn run(rows: &[Row], options: LocalizeOptions) -> Result<Localization> {
    let paths: Vec<String> = (0..rows.len()).map(|row| format!("{row}.png")).collect();
    let classes = ["cat", "dog"].map(str::to_owned);
    let column = |pick: fn(&Row) -> usize| rows.iter().map(pick).collect::<Vec<_>>();
    let scores = |pick: fn(&Row) -> [f32; 2]| Tensor::new([rows.len(), 2], rows.iter().flat_map(pick).collect());
    let counterfactuals: Vec<_> = (0..rows.len())
        .map(|row| COUNTERFACTUALS.get(row).copied().flatten().filter(|_| rows[row].0 != rows[row].1))
        .collect();
    let lost = vec![Change { concept: "ears".into(), change: 0.5, low: 0.25, high: 0.75 }];
    localize(
        &Evidence {
            paths: &paths,
            classes: &classes,
            labels: &column(|row| row.0),
            predictions: &column(|row| row.1),
            aligned: &scores(|row| row.2),
            clip: &scores(|row| row.3),
            to_correct: &rows.iter().map(|row| row.4).collect::<Vec<_>>(),
            to_missed: &rows.iter().map(|row| row.5).collect::<Vec<_>>(),
            counterfactuals: &counterfactuals,
            missing: &[lost.clone(), Vec::new()],
            responsible: &[Some(Responsible { lost, ..Responsible::default() }), None],
        },
        options,
    )
}

fn rows() -> Vec<Row> {
    vec![
        (0, 1, RIGHT, RIGHT, Some(0.5), Some(0.6)),
        (0, 1, WRONG, RIGHT, Some(0.9), Some(0.1)),
        (0, 1, WRONG, WRONG, Some(0.2), None),
        (0, 1, [0.5, 0.5], [0.5, 0.5], None, Some(0.3)),
        (1, 0, RIGHT, WRONG, Some(0.4), Some(0.3)),
        (0, 0, RIGHT, RIGHT, Some(0.1), None),
        (0, 0, WRONG, RIGHT, Some(0.7), None),
        (0, 0, RIGHT, WRONG, None, None),
    ]
}

#[test]
fn each_oracle_gives_its_own_verdicts() {
    use Fault::{Encoder, Head, Undetermined};
    for (oracle, expected) in [
        (Oracle::Counterfactual, [Head, Encoder, Encoder, Undetermined, Head]),
        (Oracle::ZeroShot, [Head, Encoder, Undetermined, Head, Encoder]),
        (Oracle::Refit, [Head, Head, Encoder, Undetermined, Head]),
    ] {
        let found = run(&rows(), LocalizeOptions { oracle, ..LocalizeOptions::default() }).unwrap();
        assert_eq!(found.samples.iter().map(|sample| sample.verdict).collect::<Vec<_>>(), expected, "{oracle}");
        let Tally { head, encoder, undetermined, counterfactual, zero_shot, refit, .. } = found.totals;
        let all = [counterfactual, zero_shot, refit];
        assert_eq!(
            all,
            [(2, 2, 1), (2, 2, 1), (3, 1, 1)].map(|(head, encoder, undetermined)| Verdicts {
                head,
                encoder,
                undetermined
            })
        );
        assert_eq!(
            Verdicts { head, encoder, undetermined },
            all[Oracle::ALL.iter().position(|o| *o == oracle).unwrap()]
        );
        assert_eq!(oracle.name().parse::<Oracle>().unwrap(), oracle);
    }
    assert!(
        "heatmap".parse::<Oracle>().unwrap_err().to_string().contains("expected counterfactual, zero-shot or refit")
    );
    // The second row's own head falls short by 1, the last row's by 2.
    for (shortfall, expected) in
        [(0.9, [Head, Head, Head]), (1.0, [Head, Encoder, Head]), (2.0, [Head, Encoder, Encoder])]
    {
        let found = run(&rows(), LocalizeOptions { shortfall, ..LocalizeOptions::default() }).unwrap();
        assert_eq!([0, 1, 4].map(|row| found.samples[row].counterfactual_verdict), expected, "{shortfall}");
    }
}

#[test]
fn verdicts_follow_the_rules() {
    use Fault::{Encoder, Head, Undetermined};
    let found = run(&rows(), ZERO_SHOT).unwrap();
    let verdicts: Vec<_> = found.samples.iter().map(|sample| (sample.verdict, sample.heatmap_verdict)).collect();
    // The threshold of cat is the 95th percentile of 0.1 and 0.7, so 0.67; dog has no correct image. Ties go to cat.
    let expected =
        [(Head, Head), (Encoder, Encoder), (Undetermined, Head), (Head, Undetermined), (Encoder, Undetermined)];
    assert_eq!(verdicts, expected);
    assert!((found.classes[0].heatmap_threshold.unwrap() - 0.67).abs() < 1e-12);
    assert_eq!(found.classes[1].heatmap_threshold, None);
    let nearer = run(&rows(), LocalizeOptions { heatmap_rule: HeatmapRule::Nearer, ..LocalizeOptions::default() });
    let verdicts: Vec<_> = nearer.unwrap().samples.iter().map(|sample| sample.heatmap_verdict).collect();
    assert_eq!(verdicts, [Head, Encoder, Undetermined, Undetermined, Encoder]);
}

#[test]
fn a_small_margin_is_undetermined() {
    let found = run(&rows(), LocalizeOptions { margin: 0.1, ..ZERO_SHOT }).unwrap();
    assert_eq!(found.samples[3].verdict, Fault::Undetermined);
    assert_eq!(found.samples[0].verdict, Fault::Head);
}

#[test]
fn tables_bounds_and_agreement_add_up() {
    let found = run(&rows(), ZERO_SHOT).unwrap();
    let cat = &found.classes[0].tally;
    assert_eq!((cat.n, cat.head, cat.encoder, cat.undetermined), (4, 2, 1, 1));
    let bounds = cat.head_share.unwrap();
    assert_eq!((bounds.least.value, bounds.most.value), (0.5, 0.75));
    assert!(bounds.least.low < 0.5 && bounds.most.high > 0.75, "{bounds:?}");
    let table = |table: crate::semantics::OracleTable| [table.both, table.oracle_only, table.clip_only, table.neither];
    assert_eq!(table(cat.errors), [2, 0, 1, 1]);
    assert_eq!(table(cat.correct), [1, 1, 1, 0]);
    assert_eq!(cat.on_correct.encoder, 1);
    assert_eq!(cat.false_encoder_rate.unwrap().value, 1.0 / 3.0);
    assert_eq!((cat.agreement.share().unwrap().value, cat.compared), (1.0, 2));
    assert_eq!((found.totals.n, found.totals.head, found.totals.encoder, found.totals.undetermined), (5, 2, 2, 1));
    assert_eq!(found.classes[1].tally.agreement.share(), None);
    assert_eq!(found.classes[1].tally.false_encoder_rate, None);
}

#[test]
fn json_has_the_documented_shape() {
    let json = serde_json::to_value(run(&rows(), ZERO_SHOT).unwrap()).unwrap();
    assert_eq!(
        (&json["totals"]["head"], &json["totals"]["encoder"], &json["totals"]["undetermined"]),
        (&2.into(), &2.into(), &1.into())
    );
    let cat = &json["classes"][0];
    assert_eq!((&cat["class"], &cat["n"], &cat["agreement"]["value"]), (&"cat".into(), &4.into(), &1.0.into()));
    assert_eq!(cat["lost"], serde_json::json!([{"concept": "ears", "change": 0.5, "low": 0.25, "high": 0.75}]));
    assert_eq!(cat["missing"], cat["lost"]);
    assert_eq!(cat["intruding"], serde_json::json!([]));
    assert_eq!(
        (&json["options"]["oracle"], &json["totals"]["counterfactual"]["head"]),
        (&"zero-shot".into(), &2.into())
    );
    assert!(json["classes"][1]["agreement"].is_null());
    let sample = &json["samples"][1];
    for (key, value) in [
        ("path", "1.png"),
        ("label", "cat"),
        ("prediction", "dog"),
        ("verdict", "encoder"),
        ("counterfactual_verdict", "encoder"),
        ("zero_shot_verdict", "encoder"),
        ("refit_verdict", "head"),
        ("heatmap_verdict", "encoder"),
    ] {
        assert_eq!(sample[key], value, "{key}");
    }
}

#[test]
fn evidence_that_does_not_fit_is_refused() {
    let mut bad = rows();
    bad[2].3 = [0.5, f32::NAN];
    let error = run(&bad, LocalizeOptions::default()).unwrap_err();
    assert!(error.to_string().starts_with("2.png: CLIP's class scores hold NaN"), "{error}");
    let mut bad = rows();
    bad[4].1 = 2;
    assert!(run(&bad, LocalizeOptions::default()).unwrap_err().to_string().starts_with("4.png: label 1, prediction 2"));
}
