//! What `bench` prints, at shapes that take no time, and how it refuses what can't be measured.

use serde_json::Value;

use super::fixture::{fixture, heatlens};

const TINY: [&str; 8] = ["bench", "kernels", "--kernel", "gemm", "--shape", "9x8x4", "--repeat", "2"];

/// Fails unless the command ends with `code` and one error that names all of `parts`.
fn refused(args: &[&str], code: i32, parts: &[&str]) {
    let output = heatlens().args(args).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    assert_eq!(stderr.matches("error: ").count(), 1, "{args:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{args:?} prints results");
    for part in parts {
        assert!(stderr.contains(part), "{args:?}: `{part}` in {stderr}");
    }
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn peaks_are_rates_of_the_adapter() {
    let found = fixture().json(&["bench", "peak", "--repeat", "1", "--json"]);
    assert_eq!(keys(&found), ["adapter", "clock", "peak"]);
    assert_eq!(keys(&found["peak"]), ["fma_gflops", "copy_gbps"]);
    for rate in ["fma_gflops", "copy_gbps"] {
        assert!(found["peak"][rate].as_f64().unwrap() > 0.0, "{found}");
    }
}

#[test]
fn a_kernel_is_measured_at_any_shape_in_every_variant() {
    let found = fixture().json(&[&TINY[..], &["--variant", "all", "--json"]].concat());
    assert!(found["adapter"]["driver"].is_string());
    let rows = found["rows"].as_array().unwrap();
    let variants: Vec<&str> = rows.iter().map(|row| row["variant"].as_str().unwrap()).collect();
    assert_eq!(variants[..3], ["tiled_8x2", "tiled_8x1", "direct_8"]);
    for row in rows {
        assert_eq!((&row["kernel"], &row["shape"], &row["passes"]), (&"gemm".into(), &"9x8x4".into(), &true.into()));
        let rate = 2.0 * 9.0 * 8.0 * 4.0 / row["median_us"].as_f64().unwrap() * 1e-3;
        assert!((row["gflops"].as_f64().unwrap() / rate - 1.0).abs() < 1e-6, "{row}");
    }
}

/// Products in f16 on cooperative matrices, where the adapter has such; where it has none, a refusal rather than another variant.
#[test]
fn products_in_f16_are_measured_on_cooperative_matrices_or_refused() {
    let in_f16 = [&TINY[..], &["--precision", "f16", "--variant", "all", "--json"]].concat();
    let variants = |found: &Value| -> Vec<String> {
        let rows = found["rows"].as_array().unwrap();
        rows.iter().map(|row| row["variant"].as_str().unwrap().to_owned()).collect()
    };
    let without = variants(&fixture().json(&in_f16));
    assert!(without.iter().all(|variant| variant.ends_with("_f16")), "{without:?}");
    let doctor = fixture().json(&["doctor", "--json"]);
    assert!(doctor["cooperative_matrix"].is_null());
    let adapter = &doctor["adapters"][doctor["tested"].as_u64().unwrap() as usize];
    let matrices: Vec<String> = serde_json::from_value(adapter["cooperative_matrices"].clone()).unwrap();
    let edge = ["16", "8"].into_iter().find(|n| matrices.contains(&format!("{n}×{n}×{n} of f16, sums in f32")));
    let asked = [&in_f16[..], &["--cooperative-matrix"]].concat();
    let Some(edge) = edge else {
        refused(&asked, 2, &["has no cooperative matrices", "leave --cooperative-matrix"]);
        return refused(&["doctor", "--cooperative-matrix"], 2, &["has no cooperative matrices"]);
    };
    let with = variants(&fixture().json(&asked));
    assert!(with[..2].iter().all(|variant| variant.starts_with(&format!("cooperative_{edge}x"))), "{with:?}");
    assert_eq!(with[2..], without);
    let doctor = fixture().json(&["doctor", "--cooperative-matrix", "--json"]);
    assert_eq!(doctor["cooperative_matrix"]["edge"].to_string(), edge);
}

#[test]
fn every_format_names_the_adapter_and_its_driver() {
    let whole = fixture().json(&[&TINY[..], &["-o", "json"]].concat());
    let name = whole["adapter"]["name"].as_str().unwrap();
    let driver = whole["adapter"]["driver"].as_str().unwrap();
    for format in ["table", "csv", "jsonl", "md"] {
        let text = fixture().run(&[&TINY[..], &["-o", format]].concat());
        for part in [name, driver, "gemm", "9x8x4"] {
            assert!(text.contains(part), "{format}: `{part}` in {text}");
        }
    }
    let lines = fixture().json_lines(&[&TINY[..], &["-o", "jsonl", "--clock", "wall"]].concat());
    assert_eq!((lines.len(), &lines[0]["clock"]), (1, &"wall".into()));
}

#[test]
fn a_network_is_measured_from_the_start_of_the_program() {
    let args = ["bench", "models", "--arch", "resnet18", "--size", "32", "--batch", "2", "--repeat", "2", "--json"];
    let found = fixture().json(&args);
    assert_eq!(keys(&found), ["adapter", "peak", "rows"]);
    assert_eq!(keys(&found["peak"]), ["fma_gflops", "copy_gbps"]);
    let [row] = &found["rows"].as_array().unwrap()[..] else { panic!("{found}") };
    let of = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("`{key}` in {row}"));
    assert_eq!((&row["arch"], of("size"), of("batch")), (&"resnet18".into(), 32.0, 2.0));
    assert!(of("first_ms") > of("median_ms"), "{row}");
    let close =
        |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 1e-9, "{found}, {expected}: {row}");
    close(of("images_per_second"), 2e3 / of("median_ms"));
    if !row["allocated_bytes"].is_null() {
        // Nothing of the network may be there twice; buffers on which it starts may have been freed.
        let ratio = of("allocated_bytes") / of("gpu_bytes");
        assert!((0.99..1.2).contains(&ratio), "{ratio}: {row}");
    }
    close(of("share_of_peak"), of("gflops") / found["peak"]["fma_gflops"].as_f64().unwrap());
    // He et al. (2015): 1.8 GMAC at 224×224; 32×32 is a 49th of it, and the head is the same.
    let giga = of("gflops") * of("median_ms") * 1e-3;
    assert!((0.12..0.18).contains(&giga), "{giga}");
}

#[test]
fn a_text_tower_takes_prompts_of_its_context() {
    let args = ["bench", "models", "--arch", "vit-b-32-text", "--repeat", "1"];
    let found = fixture().json(&[&args[..], &["--json"]].concat());
    let [row] = &found["rows"].as_array().unwrap()[..] else { panic!("{found}") };
    let first = ["arch", "tokens", "precision", "batch", "first_ms"];
    assert_eq!(keys(row)[..5], first);
    assert_eq!((&row["arch"], &row["tokens"], &row["batch"]), (&"vit-b-32-text".into(), &77.into(), &1.into()));
    // open_clip's profile: 2.98 GMAC, which count masked pairs as well.
    let of = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("`{key}` in {row}"));
    let giga = of("gflops") * of("median_ms") * 1e-3;
    assert!((giga / 5.96 - 1.0).abs() < 0.03, "{giga}");
    let text = fixture().run(&args);
    assert!(text.contains("vit-b-32-text 77 tokens"), "{text}");
}

#[test]
fn files_to_embeddings_stand_beside_decoding_and_the_gpu() {
    let tiny = ["bench", "pipeline", "--count", "3", "--batch", "2", "--size", "32", "--repeat", "1"];
    let found = fixture().json(&[&tiny[..], &["--json"]].concat());
    assert_eq!(keys(&found), ["adapter", "rows"]);
    let [row] = &found["rows"].as_array().unwrap()[..] else { panic!("{found}") };
    let of = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("`{key}` in {row}"));
    assert_eq!((&row["arch"], of("size"), of("images"), of("batch")), (&"resnet18".into(), 32.0, 3.0, 2.0));
    assert!(of("threads") >= 1.0);
    let close =
        |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 1e-9, "{found}, {expected}: {row}");
    for part in ["decode", "gpu", "together"] {
        close(of(&format!("{part}_images_per_second")), 3e3 / of(&format!("{part}_ms")));
    }
    close(of("share_of_slower"), of("decode_ms").max(of("gpu_ms")) / of("together_ms"));
    if !row["share_of_serial"].is_null() {
        close(of("share_of_serial"), (of("decode_ms") + of("gpu_ms")) / of("together_ms"));
    }
    let text = fixture().run(&tiny);
    for part in ["resnet18 32×32", "of slower", "of serial", "threads decode"] {
        assert!(text.contains(part), "`{part}` in {text}");
    }
}

#[test]
fn a_filter_stands_beside_its_classifier() {
    let args = ["bench", "filter", "--size", "32", "--concepts", "7", "--repeat", "1"];
    let found = fixture().json(&[&args[..], &["--json"]].concat());
    let [row] = &found["rows"].as_array().unwrap()[..] else { panic!("{found}") };
    let of = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("`{key}` in {row}"));
    assert_eq!((&row["arch"], of("size"), of("concepts"), of("classes")), (&"resnet18".into(), 32.0, 7.0, 1000.0));
    let share = of("heatmap_ms") / of("forward_ms");
    assert!((of("heatmap_share") / share - 1.0).abs() < 1e-9, "{row}");
    assert_eq!(of("submissions"), 1.0);
    let text = fixture().run(&args);
    for part in ["resnet18 32×32", "of forward", "submissions", "1000 classes"] {
        assert!(text.contains(part), "`{part}` in {text}");
    }
}

#[test]
fn aggregation_is_carried_over_to_a_large_vocabulary() {
    let args = ["bench", "aggregation", "--concepts", "30", "--images", "9", "--repeat", "1"];
    let found = fixture().json(&[&args[..], &["--json"]].concat());
    let [row] = &found["rows"].as_array().unwrap()[..] else { panic!("{found}") };
    let of = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("`{key}` in {row}"));
    assert_eq!((of("concepts"), of("images"), of("host_bytes")), (30.0, 9.0, 4.0 * 30.0 * 39.0));
    let ratio = of("large_seconds") / (1e-3 * of("median_ms"));
    assert!((ratio / (5e12 / 8100.0) - 1.0).abs() < 1e-9, "{row}");
    assert_eq!(of("large_host_bytes"), 4.0 * 10_000.0 * 60_000.0);
}

#[test]
fn the_shader_that_runs_is_printed() {
    let text = fixture().run(&["bench", "kernels", "--kernel", "gemm", "--variant", "tiled_8x2", "--print-shader"]);
    let file = format!("{}/shaders/gemm_tiled_8x2.wgsl", env!("CARGO_MANIFEST_DIR"));
    let shader = std::fs::read_to_string(file).unwrap();
    assert_eq!(text.split_once('\n').unwrap(), ("// gemm tiled_8x2, run with no constants", shader.as_str()));
    let list = fixture().run(&["bench", "kernels", "--list"]);
    for part in ["map_counts", "tiled_8x2, tiled_8x1, direct_8", "ROWSxINPUTSxOUTPUTS"] {
        assert!(list.contains(part), "{part} in {list}");
    }
}

#[test]
fn a_shader_of_ones_own_is_checked_and_measured_beside_the_kernel() {
    let ours = fixture().run(&["bench", "kernels", "--kernel", "gemm", "--variant", "direct_8", "--print-shader"]);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let with = |shader: &str| {
        let args = [&TINY[..], &["--variant", "direct_8", "--json", "--shader", shader]].concat();
        heatlens().args(args).output().unwrap()
    };
    let passes = |output: &std::process::Output| {
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let row = |row: &Value| (row["variant"].as_str().unwrap().to_owned(), row["passes"].as_bool().unwrap());
        found["rows"].as_array().unwrap().iter().map(row).collect::<Vec<_>>()
    };
    let same = file("same.wgsl", &ours);
    let output = with(&same);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(passes(&output), [("direct_8".to_owned(), true), (same, true)]);
    let wrong = file("wrong.wgsl", &ours.replace("sum + bias[channel]", "sum - bias[channel]"));
    let output = with(&wrong);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(passes(&output), [("direct_8".to_owned(), true), (wrong, false)]);

    let broken = file("broken.wgsl", &ours.replace("fn main(", "fn main(("));
    let output = with(&broken);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    for part in ["broken.wgsl can't take the place of gemm_direct_8", "fn main((", "--variant direct_8 --print-shader"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    refused(&[&TINY[..], &["--variant", "direct_8", "--shader", "absent.wgsl"]].concat(), 2, &["absent.wgsl"]);
    refused(&[&TINY[..], &["--variant", "all", "--shader", &broken]].concat(), 2, &["gemm_tiled_8x2", "--variant"]);
}

#[test]
fn what_cannot_be_measured_is_refused_by_name() {
    refused(
        &["bench", "models", "--arch", "vgg16"],
        2,
        &["vgg16", "resnet18, resnet50, vit-b-32, vit-b-16, vit-b-32-text"],
    );
    refused(&["bench", "models", "--arch", "vit-b-16", "--size", "100"], 2, &["vit-b-16", "16 pixels", "100"]);
    refused(
        &["bench", "models", "--arch", "vit-b-32-text", "--size", "224"],
        2,
        &["vit-b-32-text", "no size in pixels"],
    );
    refused(&["bench", "pipeline", "--arch", "vit-b-32-text", "--count", "1"], 2, &["takes prompts", "bench models"]);
    refused(&["bench", "pipeline", "--images", "no-such-folder"], 2, &["no-such-folder"]);
    refused(&["bench", "pipeline", "--images", ".", "--count", "3"], 2, &["--images", "--count"]);
    refused(&["bench", "pipeline", "--size", "100000", "--count", "1"], 2, &["100000", "--size"]);
    refused(&["bench", "filter", "--arch", "vit-b-32"], 2, &["vit-b-32 is no classifier", "resnet18 or resnet50"]);
    refused(&["bench", "filter", "--arch", "vit-b-32-text"], 2, &["vit-b-32-text is no classifier"]);
    refused(&["bench", "filter", "--concepts", "1"], 2, &["1 concepts", "--concepts 2"]);
    refused(&["bench", "aggregation", "--images", "0"], 2, &["0 images", "--images 1"]);
    let kernels = |args: &[&'static str]| [&["bench", "kernels"], args].concat();
    refused(&kernels(&["--kernel", "gem"]), 2, &["no kernel `gem`", "gemm, gram"]);
    refused(&kernels(&["--kernel", "gemm", "--shape", "9x8"]), 2, &["9x8", "ROWSxINPUTSxOUTPUTS"]);
    refused(&kernels(&["--kernel", "gemm", "--shape", "9xx8"]), 2, &["9xx8", "512x512x512"]);
    refused(&kernels(&["--kernel", "gemm", "--shape", "0x8x8"]), 2, &["rows is 0"]);
    refused(&kernels(&["--kernel", "copy_peak", "--shape", "999999999999"]), 2, &["999999999999", "binds at most"]);
    refused(&[&TINY[..], &["--variant", "tiled_9"]].concat(), 2, &["tiled_9", "tiled_8x2, tiled_8x1, direct_8"]);
    refused(&[&TINY[..], &["--json", "-o", "csv"]].concat(), 2, &["--json", "-o csv"]);
    refused(&[&TINY[..], &["--repeat", "0"]].concat(), 2, &["--repeat"]);
    refused(&kernels(&["--shape", "9x8x4"]), 2, &["--kernel"]);
}
