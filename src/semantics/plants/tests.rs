use std::collections::HashMap;

use super::*;

/// A plant of one tensor with the given metadata.
fn write(path: &Path, says: &[(&str, &str)]) {
    let data = [0; 8];
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2], &data).unwrap();
    let metadata: HashMap<String, String> = says.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    std::fs::write(path, safetensors::serialize([("fc.bias", view)], Some(metadata)).unwrap()).unwrap();
}

const WHOLE: [(&str, &str); 4] = [("kind", "row"), ("cause", "head"), ("seed", "3"), ("description", "a row is lost")];

#[test]
fn a_plant_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("3.safetensors");
    write(&path, &[&WHOLE[..], &[("class", "cat"), ("concept", "ears")]].concat());
    let plant = Plant::open(&path).unwrap();
    assert_eq!((plant.kind.as_str(), plant.cause, plant.seed), ("row", PlantedCause::Head, 3));
    assert_eq!(plant.lost, Some(("cat".to_owned(), "ears".to_owned())));
    write(&path, &WHOLE);
    assert_eq!(Plant::open(&path).unwrap().lost, None);
}

#[test]
fn what_does_not_say_it_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("3.safetensors");
    let error = |says: &[(&str, &str)]| {
        write(&path, says);
        let error = Plant::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Format);
        let text = error.to_string();
        text.strip_prefix(&format!("{}: ", path.display())).unwrap().to_owned()
    };
    for (at, (key, _)) in WHOLE.iter().enumerate() {
        let others: Vec<_> =
            WHOLE.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, says)| *says).collect();
        assert_eq!(error(&others), format!("its metadata has no `{key}`"));
    }
    let with =
        |key: &'static str, value: &'static str| WHOLE.map(|(name, old)| (name, if name == key { value } else { old }));
    assert_eq!(error(&with("cause", "aligner")), "`cause` is 'aligner', expected head, encoder or mixed");
    assert_eq!(error(&with("seed", "-1")), "`seed` is '-1', expected a number from 0 on");
    let one = [&WHOLE[..], &[("class", "cat")]].concat();
    assert_eq!(error(&one), "of `class` and `concept` it has one without the other");
}

#[test]
fn plants_are_found_in_folders_and_sorted() {
    let folder = tempfile::tempdir().unwrap();
    let error = Plant::open_all(folder.path()).unwrap_err();
    assert!(error.to_string().ends_with("no plants: no .safetensors file in it"), "{error}");
    std::fs::create_dir(folder.path().join("more")).unwrap();
    for (name, kind, seed) in [("a", "row", "10"), ("b", "row", "9"), ("more/c", "layer", "11")] {
        let says = [("kind", kind), ("cause", "mixed"), ("seed", seed), ("description", "x")];
        write(&folder.path().join(format!("{name}.safetensors")), &says);
    }
    let found = Plant::open_all(folder.path()).unwrap();
    let found: Vec<_> = found.iter().map(|plant| (plant.kind.as_str(), plant.seed)).collect();
    assert_eq!(found, [("layer", 11), ("row", 9), ("row", 10)]);
}
