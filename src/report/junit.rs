//! Checks as JUnit XML, which continuous-integration servers show as tests.
//!
//! Elements and attributes are those that all of them know: strict readers (the schema `junit-10.xsd` of Jenkins' xUnit plugin) refuse
//! others, such as a test case's file and line, which therefore stand in the text.

use std::io;
use std::path::Path;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use crate::error::{Error, Result};
use crate::files::write_atomic;
use crate::semantics::statistics::Estimate;
use crate::semantics::{CheckResult, CheckVerdict};

/// Writes the results of the checks in the file `suite`: a test case each, its failure with what was found and the worst images.
///
/// # Errors
/// [`ErrorKind::Io`](crate::ErrorKind::Io) naming `path`.
pub fn write_junit(path: impl AsRef<Path>, suite: &str, checks: &[CheckResult]) -> Result<()> {
    let path = path.as_ref();
    let mut bytes = Vec::new();
    document(&mut bytes, suite, checks).map_err(|e| Error::io(path, e))?;
    write_atomic(path, |file| file.write_all(&bytes).map_err(|e| Error::io(path, e)))
}

fn document(bytes: &mut Vec<u8>, suite: &str, checks: &[CheckResult]) -> io::Result<()> {
    let mut writer = Writer::new_with_indent(bytes, b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let (suite, tests) = (legal(suite), checks.len().to_string());
    let failures = checks.iter().filter(|check| check.verdict != CheckVerdict::Pass).count().to_string();
    let counts = [("tests", tests.as_str()), ("failures", failures.as_str()), ("errors", "0")];
    writer.create_element("testsuites").with_attributes(counts).write_inner_content(|writer| {
        let element = writer.create_element("testsuite").with_attribute(("name", suite.as_str()));
        element
            .with_attributes(counts)
            .write_inner_content(|writer| checks.iter().try_for_each(|check| case(writer, &suite, check)))?;
        Ok(())
    })?;
    writer.get_mut().push(b'\n');
    Ok(())
}

fn case(writer: &mut Writer<&mut Vec<u8>>, suite: &str, check: &CheckResult) -> io::Result<()> {
    let name = legal(&check.name);
    let element = writer.create_element("testcase").with_attributes([("classname", suite), ("name", name.as_str())]);
    let CheckResult { scope, formula, bound, n, satisfied, .. } = check;
    let share = check.share.map_or_else(String::new, |Estimate { value, low, high }| {
        format!(" ({:.1} % [{:.1} %, {:.1} %])", 100.0 * value, 100.0 * low, 100.0 * high)
    });
    let found = format!("for {scope}: {formula} holds on {satisfied} of {n} images{share}, expected {bound}");
    let (kind, message) = match check.verdict {
        CheckVerdict::Pass => {
            element.write_inner_content(|writer| {
                writer.create_element("system-out").write_text_content(BytesText::new(&legal(&found)))?;
                Ok(())
            })?;
            return Ok(());
        }
        CheckVerdict::Fail => ("bound", legal(&found)),
        CheckVerdict::Unsupported => ("support", legal(&(found + "; so few images decide nothing"))),
    };
    let worst = check.worst.iter();
    let worst =
        worst.map(|image| legal(&format!("{} (label {}, predicted {})", image.path, image.label, image.prediction)));
    let lines: Vec<String> = std::iter::once(format!("{suite}:{}", check.line)).chain(worst).collect();
    element.write_inner_content(|writer| {
        let failure = writer.create_element("failure");
        let failure = failure.with_attributes([("type", kind), ("message", message.as_str())]);
        failure.write_text_content(BytesText::new(&lines.join("\n")))?;
        Ok(())
    })?;
    Ok(())
}

/// The text with the characters that XML 1.0 can't hold, and all other control characters, written as escapes.
fn legal(text: &str) -> String {
    let is_legal = |c: char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    let shown = |c: char| if is_legal(c) { c.to_string() } else { c.escape_default().to_string() };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_a_failure_and_every_character_is_legal() {
        let check = |name: &str, verdict| CheckResult {
            name: name.to_owned(),
            line: 3,
            scope: "class plane".to_owned(),
            formula: "wings > horns".to_owned(),
            bound: "at least 95 %".to_owned(),
            verdict,
            n: 10,
            satisfied: 4,
            share: Estimate::of_share(4, 10),
            certain: true,
            unannotated: 0,
            vacuous: None,
            worst: vec![crate::semantics::Counterexample {
                path: "a<b>&\u{1}\u{ffff}.png".to_owned(),
                label: "plane".to_owned(),
                prediction: "\"ship\"".to_owned(),
                margin: Some(-0.5),
            }],
        };
        let none = CheckResult {
            n: 0,
            satisfied: 0,
            share: None,
            worst: Vec::new(),
            ..check("none", CheckVerdict::Unsupported)
        };
        let checks = [check("good", CheckVerdict::Pass), check("bad", CheckVerdict::Fail), none];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("junit.xml");
        write_junit(&path, "checks.txt", &checks).unwrap();
        let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="3" failures="2" errors="0">
  <testsuite name="checks.txt" tests="3" failures="2" errors="0">
    <testcase classname="checks.txt" name="good">
      <system-out>for class plane: wings &gt; horns holds on 4 of 10 images (40.0 % [16.8 %, 68.7 %]), expected at least 95 %</system-out>
    </testcase>
    <testcase classname="checks.txt" name="bad">
      <failure type="bound" message="for class plane: wings &gt; horns holds on 4 of 10 images (40.0 % [16.8 %, 68.7 %]), expected at least 95 %">checks.txt:3
a&lt;b&gt;&amp;\u{1}\u{ffff}.png (label plane, predicted &quot;ship&quot;)</failure>
    </testcase>
    <testcase classname="checks.txt" name="none">
      <failure type="support" message="for class plane: wings &gt; horns holds on 0 of 0 images, expected at least 95 %; so few images decide nothing">checks.txt:3</failure>
    </testcase>
  </testsuite>
</testsuites>
"#;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    }
}
