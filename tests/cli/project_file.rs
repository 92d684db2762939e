//! `--config`: what a project file may say, and how its mistakes are reported.

use std::fs;

use super::fixture::{CLASSES, fixture, heatlens};

#[test]
fn a_project_file_gives_what_flags_leave_out() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("heatlens.toml");
    fs::write(root.path().join("words.txt"), "fur\nears\nwater\n").unwrap();
    let path = |name: &str| format!("{:?}", fixture().path(name));
    let text = format!(
        "# a project\nclassifier = {}\nclip = {}\naligner = {}\nconcepts = \"words.txt\"\nbundle = \"bundle\"\n\
         minimum-support = 2\nquiet = true\n[images]\nbuild = {}\ncalibrate = {}\n[attacked]\nbuild = [{:?}]\n",
        path("classifier"),
        path("clip"),
        path("aligner.safetensors"),
        path("build"),
        path("calibrate"),
        format!("mirrored={}", fixture().path("attacked").display()),
    );
    fs::write(&file, text).unwrap();
    let config = format!("--config={}", file.display());
    let manifest = fixture().json(&["build", &config, "--json"]);
    assert_eq!(manifest["concepts"].as_array().unwrap().len(), 3, "a relative path starts at the file's folder");
    assert_eq!(manifest["attacks"][0]["name"], "mirrored");
    assert!(root.path().join("bundle/manifest.json").exists());
    // A flag overrides the file, and positional arguments come from it too.
    let manifest = fixture().json(&["build", &config, "--json", "--concepts", &path("concepts.txt").replace('"', "")]);
    assert_eq!(manifest["concepts"].as_array().unwrap().len(), 5);
    fixture().run(&["show", &config, "--set", "correct", "--class", CLASSES[0]]);
}

#[test]
fn mistakes_in_a_project_file_are_named_with_their_line() {
    let rows = [
        ("classifier = \"a\"\nclasifier = \"b\"\n", ":2: unknown key `clasifier`"),
        ("[images]\nbiuld = \"b\"\n", ":2: `biuld` is no command that takes `images`"),
        ("quiet = 3\n", ":1: `quiet` takes true or false"),
        ("\n\nclip = [\"a\", \"b\"]\n", ":3: `clip` takes one value"),
        ("clip = 1979-05-27\n", ":1: `clip` can't be a datetime"),
        ("clip = \n", ":1: "),
        ("batch = \"many\"\n", ":1"),
    ];
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("heatlens.toml");
    for (text, message) in rows {
        fs::write(&file, text).unwrap();
        let output = heatlens().args(["doctor", "--config"]).arg(&file).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}: {stderr}");
        let expected = format!("{}{message}", file.display());
        assert!(stderr.contains(&expected), "{expected} in {stderr}");
    }
    let output = heatlens().args(["doctor", "--config", "nowhere.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("nowhere.toml"));
}
