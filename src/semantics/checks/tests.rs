use super::*;
use crate::progress::Silent;
use crate::semantics::testing;

const OPTIONS: CheckOptions<'static> =
    CheckOptions { space: Space::Classifier, mode: ScoreMode::Raw, annotations: None, strict: false, worst: 3 };

fn run(text: &str, options: &CheckOptions<'_>) -> Result<Vec<CheckResult>> {
    Checks::parse(text, "spec")?.run(&testing::bundle(), options, &Silent)
}

/// Whether a formula holds for each image of the test bundle, by its text in the checks' language and in Rust.
#[test]
fn formulas_mean_what_they_say() {
    let bundle = testing::bundle();
    let Samples { scores, predictions, .. } = &bundle.samples;
    type Twin = fn(&[f32], usize) -> bool;
    let rows: [(&str, Twin); 9] = [
        ("wings > wheels", |s, _| s[0] > s[1]),
        ("wings < wheels", |s, _| s[1] > s[0]),
        ("not wings > wheels", |s, _| s[0] <= s[1]),
        ("predict(ship)", |_, p| p == 1),
        ("wings > wet and wings > metallic or predict(cat)", |s, p| (s[0] > s[3] && s[0] > s[2]) || p == 2),
        ("wings > wet and (wings > metallic or predict(cat))", |s, p| s[0] > s[3] && (s[0] > s[2] || p == 2)),
        ("predict(plane) implies wings > wet", |s, p| p != 0 || s[0] > s[3]),
        ("wings > wet implies wet > metallic implies predict(plane)", |s, p| s[0] <= s[3] || s[3] <= s[2] || p == 0),
        ("not (predict(plane) or predict(ship)) and not not \"wet\" > wings", |s, p| p == 2 && s[3] > s[0]),
    ];
    for (text, twin) in rows {
        let found = &run(&format!("check c for all: {text} at least 0 %"), &OPTIONS).unwrap()[0];
        let expected = (0..25).filter(|&row| twin(scores.row(row), predictions[row])).count() as u64;
        assert_eq!((found.n, found.satisfied), (25, expected), "{text}");
        assert_eq!(found.formula, text);
    }
}

#[test]
fn bounds_scopes_and_support_decide() {
    let text = "
        # 17 planes, of which 9 are predicted so
        check a for class plane: predict(plane) at least 52.9 %
        check b for class plane: predict(plane) at least 53 %
        check c for class plane, ship: predict(plane) at most 43.9 %   # 11 of 25
        check d for predicted cat: wings > wet at least 0 %
        check e for predicted plane: predict(plane) implies
            not wet > wet  # no concept is above itself
            at least 100 %
    ";
    let found = run(text, &OPTIONS).unwrap();
    use CheckVerdict::{Fail, Pass, Unsupported};
    let verdicts: Vec<CheckVerdict> = found.iter().map(|check| check.verdict).collect();
    assert_eq!(verdicts, [Pass, Fail, Fail, Unsupported, Pass]);
    assert_eq!((found[2].n, found[2].satisfied, found[2].bound.as_str()), (25, 11, "at most 43.9 %"));
    assert!(!found[0].certain && found[0].vacuous.is_none());
    assert_eq!((found[4].formula.as_str(), found[4].vacuous), ("predict(plane) implies not wet > wet", Some(0)));
    assert_eq!((found[4].name.as_str(), found[4].line, found[4].scope.as_str()), ("e", 7, "predicted plane"));
    let strict = run(text, &CheckOptions { strict: true, ..OPTIONS }).unwrap();
    // 11 of 11 leave room for less than 100 %.
    assert_eq!(strict.iter().map(|check| check.verdict).collect::<Vec<_>>(), [Fail, Fail, Fail, Unsupported, Fail]);
}

#[test]
fn the_worst_images_come_first() {
    let bundle = testing::bundle();
    let found = &run("check c for all: wings > wet and wings > wheels at least 99 %", &OPTIONS).unwrap()[0];
    let margin = |row: usize| {
        let scores = bundle.samples.scores.row(row);
        (scores[0] - scores[3]).min(scores[0] - scores[1])
    };
    let mut margins: Vec<f32> = (0..25).map(margin).filter(|margin| *margin <= 0.0).collect();
    margins.sort_by(f32::total_cmp);
    assert_eq!(found.worst.iter().map(|image| image.margin.unwrap()).collect::<Vec<_>>(), margins[..3]);
    let found = &run("check c for all: predict(plane) at least 99 %", &OPTIONS).unwrap()[0];
    assert_eq!((found.worst[0].margin, found.worst[0].prediction == "plane"), (None, false));
    // Under `at most` those that satisfy the formula are against the check.
    let found = &run("check c for all: wings > wet at most 1 %", &OPTIONS).unwrap()[0];
    let mut margins: Vec<f32> = (0..25).map(|row| bundle.samples.scores.row(row)).map(|s| s[0] - s[3]).collect();
    margins.sort_by(|a, b| b.total_cmp(a));
    assert_eq!(found.worst.iter().map(|image| image.margin.unwrap()).collect::<Vec<_>>(), margins[..3]);
    assert!(margins[2] > 0.0 && found.verdict == CheckVerdict::Fail);
    let all = CheckOptions { worst: 99, ..OPTIONS };
    let found = &run("check c for all: predict(plane) at most 10 %", &all).unwrap()[0];
    assert_eq!(found.worst.len() as u64, found.satisfied);
    assert!(found.worst.iter().all(|image| image.prediction == "plane" && image.margin.is_none()));
}

#[test]
fn a_formula_is_told_as_it_was_written() {
    let mut bundle = testing::bundle();
    bundle.manifest.concepts[0] = "C#  lines".to_owned();
    let text = "check c for all: (\"C#  lines\"   > wet # the first\n  or wings2>wet)\n at least 0 %";
    bundle.manifest.concepts[1] = "wings2".to_owned();
    let found = &Checks::parse(text, "spec").unwrap().run(&bundle, &OPTIONS, &Silent).unwrap()[0];
    assert_eq!(found.formula, "(\"C#  lines\" > wet or wings2>wet)");
}

#[test]
fn annotated_concepts_are_looked_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.csv");
    let rows: String = (0..10).map(|row| format!("plane/{row}.png,{}\n", row % 2)).collect();
    std::fs::write(&path, format!("file_name,wings\n{rows}")).unwrap();
    let annotations = Annotations::open(&path).unwrap();
    let options = CheckOptions { annotations: Some(&annotations), ..OPTIONS };
    let found = &run("check c for class plane: hasCon(wings) at least 50 %", &options).unwrap()[0];
    assert_eq!((found.n, found.satisfied, found.unannotated, found.verdict), (10, 5, 7, CheckVerdict::Pass));
}

#[test]
fn mistakes_are_named_with_line_and_column() {
    for (text, expected) in [
        ("", "spec: no check"),
        ("chek a", "spec:1:1: found `chek`, expected `check`"),
        ("check a\n  for plane: wings > wet", "spec:2:7: found `plane`, expected `all`, `class` or `predicted`"),
        ("check for", "spec:1:7: found the keyword `for`, expected the name of a check"),
        ("check a for all wings > wet", "spec:1:17: found `wings`, expected `:`"),
        ("check a for all: wings wet", "spec:1:24: found `wet`, expected `>` or `<` and another concept"),
        (
            "check a for all: wings > wet",
            "spec:1:29: found the end of the file, expected `and`, `or`, `implies` or a bound",
        ),
        ("check a for all: (wings > wet at", "spec:1:31: found the keyword `at`, expected `)`"),
        ("check a for all: wings > wet at least 101 %", "spec:1:39: found `101`, expected a number from 0 to 100"),
        ("check a for all: wings > wet at least 5", "spec:1:40: found the end of the file, expected `%`"),
        ("check a for all: wings >= wet", "spec:1:25: unexpected character '='"),
        ("check a for all: \"wings > wet", "spec:1:18: the quotes of this name aren't closed"),
        ("check é for all: wings > «", "spec:1:26: unexpected character '«'"),
        ("check a for all: wing > wet at least 5 %", "spec:1:18: there is no concept `wing`, expected one of: wings,"),
        ("check a for class boat: wings > wet at least 5 %", "spec:1:19: there is no class `boat`"),
        ("check a for all: hasCon(wet) at least 5 %", "spec:1:25: `hasCon` needs annotated images"),
        (
            "check a for all: wings > wet at least 5 %\ncheck a for all: wings > wet at least 5 %",
            "spec:2:7: check `a` is already on line 1",
        ),
    ] {
        let error = run(text, &OPTIONS).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{text}: {error}");
        assert_eq!(error.kind(), ErrorKind::Data);
    }
    let hint = run("check a for all: wing > wet at least 5 %", &OPTIONS).unwrap_err();
    assert_eq!(hint.hint_text(), Some("did you mean `wings`?"));
    let deep = format!("check a for all: {}wings > wet{} at least 5 %", "(".repeat(99_999), ")".repeat(99_999));
    assert!(run(&deep, &OPTIONS).unwrap_err().to_string().contains("nested at most 50 deep"));
}
