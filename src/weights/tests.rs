//! Files of every dtype, and broken ones.

use super::*;

/// A safetensors file of one tensor.
fn file(dtype: Dtype, shape: &[usize], data: &[u8]) -> Vec<u8> {
    let view = safetensors::tensor::TensorView::new(dtype, shape.to_vec(), data).unwrap();
    safetensors::serialize([("x", view)], None).unwrap()
}

#[test]
fn every_float_type_becomes_f32() {
    let values = [1.0f32, -2.5, 0.0, 1024.0, 0.099_975_586]; // exact in f16; the last one isn't in bf16
    let f32s: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let f16s: Vec<u8> = values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect();
    let bf16s: Vec<u8> = values.iter().flat_map(|&v| ((v.to_bits() >> 16) as u16).to_le_bytes()).collect();
    for (dtype, bytes) in [(Dtype::F32, &f32s), (Dtype::F16, &f16s)] {
        let weights = Weights::from_bytes("x.safetensors", file(dtype, &[5], bytes)).unwrap();
        assert_eq!(weights.vector("x", 5).unwrap(), values);
    }
    let weights = Weights::from_bytes("x.safetensors", file(Dtype::BF16, &[5], &bf16s)).unwrap();
    let truncated = values.map(|v| f32::from_bits(v.to_bits() & 0xffff_0000));
    assert_eq!(weights.vector("x", 5).unwrap(), truncated);
}

#[test]
fn other_types_and_bad_values_are_refused() {
    let weights = Weights::from_bytes("x.safetensors", file(Dtype::I64, &[1], &[0; 8])).unwrap();
    let error = weights.tensor("x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Weights);
    assert_eq!(error.to_string(), "x.safetensors: tensor `x` is of type I64, not F32, F16 or BF16");

    let weights = Weights::from_bytes("x.safetensors", file(Dtype::F16, &[2], &[0, 0, 0, 0x7c])).unwrap();
    assert_eq!(weights.tensor("x").unwrap_err().to_string(), "x.safetensors: tensor `x` holds inf at index 1");
}

#[test]
fn a_cut_file_is_refused_wherever_it_is_cut() {
    let whole = file(Dtype::F32, &[3, 2], &[0; 24]);
    for len in 0..whole.len() {
        let error = Weights::from_bytes("cut.safetensors", whole[..len].to_vec()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Format, "cut to {len}");
        assert!(error.to_string().starts_with("cut.safetensors: not a whole safetensors file: "), "{error}");
        assert!(error.hint_text().unwrap().contains("truncated"));
    }
    assert!(Weights::from_bytes("whole.safetensors", whole).is_ok());
}

#[test]
fn broken_headers_are_refused() {
    let header = |json: &str, data: usize| {
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend(json.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    };
    for bytes in [
        header("not json", 0),
        header(r#"{"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}}"#, 8),
        header(r#"{"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}"#, 12),
        header(r#"{"x": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}"#, 12),
        header(r#"{"x": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}}"#, 8),
        header(r#"{"x": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 8]}}"#, 8),
        u64::MAX.to_le_bytes().to_vec(),
    ] {
        assert_eq!(Weights::from_bytes("bad.safetensors", bytes).unwrap_err().kind(), ErrorKind::Format);
    }
}

#[test]
fn other_formats_get_a_hint() {
    let hint = |bytes: &[u8]| {
        let error = Weights::from_bytes("model.safetensors", bytes.to_vec()).unwrap_err();
        error.hint_text().unwrap().to_owned()
    };
    assert!(hint(b"PK\x03\x04........").contains("PyTorch checkpoint"));
    assert!(hint(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n").contains("git lfs pull"));
}

#[test]
fn missing_tensors_name_their_neighbours() {
    let tensors = ["conv1.weight", "bn1.weight", "fc.weight"].map(|name| (name.to_owned(), Tensor::zeros([1])));
    let weights = Weights::from_tensors("r.safetensors", &tensors);
    let message = weights.tensor("fc.weigth").unwrap_err().to_string();
    assert!(message.starts_with("r.safetensors: no tensor `fc.weigth` (nearest: `fc.weight`, "), "{message}");
    let empty = Weights::from_tensors("e.safetensors", &[]).tensor("x").unwrap_err().to_string();
    assert_eq!(empty, "e.safetensors: no tensor `x` (it holds none at all)");
}

#[test]
fn shapes_are_checked() {
    let weights = Weights::from_tensors("r.safetensors", &[("x".to_owned(), Tensor::zeros([2, 3]))]);
    let error = weights.tensor_shaped("x", &[3, 2]).unwrap_err();
    assert_eq!(error.to_string(), "r.safetensors: tensor `x` has shape [2, 3], not [3, 2]");
    assert_eq!(weights.extents::<2>("x").unwrap(), [2, 3]);
    let error = weights.extents::<4>("x").unwrap_err();
    assert_eq!(error.to_string(), "r.safetensors: tensor `x` has shape [2, 3]; 4 axes were expected");
}

#[test]
fn unread_tensors_are_known() {
    let tensors = ["a", "b", "c"].map(|name| (name.to_owned(), Tensor::zeros([1])));
    let weights = Weights::from_tensors("r.safetensors", &tensors);
    weights.tensor("b").unwrap();
    weights.tensor_shaped("c", &[9]).unwrap_err();
    assert_eq!(weights.unused(), ["a", "c"]);
}

#[test]
fn the_hash_is_that_of_the_file() {
    // `printf '\x02\0\0\0\0\0\0\0{}' | sha256sum`
    let weights = Weights::from_bytes("empty.safetensors", b"\x02\0\0\0\0\0\0\0{}".to_vec()).unwrap();
    assert_eq!(weights.sha256(), "411a485216e432ece6b9af94fa32154cf79a2a56d4f81266baa50063f45092bd");
    let again = Weights::from_shards("copy", weights.shards().to_vec()).unwrap();
    assert_eq!(again.sha256(), weights.sha256());
}

#[test]
fn shards_may_not_repeat_a_tensor() {
    let shard = file(Dtype::F32, &[1], &[0; 4]);
    let error = Weights::from_shards("two", vec![shard.clone(), shard]).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Format, "two: two shards hold tensor `x`"));
}

#[test]
fn some_tensors_are_replaced_and_the_rest_kept() {
    let tensor = |values: &[f32]| Tensor::new([values.len()], values.to_vec());
    let named = |tensors: &[(&str, &[f32])]| {
        tensors.iter().map(|(name, values)| ((*name).to_owned(), tensor(values))).collect::<Vec<_>>()
    };
    let whole = Weights::from_tensors("whole", &named(&[("a", &[1.0, 2.0]), ("b", &[3.0])]));
    let data = [0x00, 0x3c, 0x00, 0xc0];
    let view = safetensors::tensor::TensorView::new(Dtype::F16, vec![2], &data).unwrap();
    let halves = Weights::from_bytes("halves", safetensors::serialize([("a", view)], None).unwrap()).unwrap();
    let both = whole.replaced(&halves).unwrap();
    assert_eq!(both.vector("a", 2).unwrap(), [1.0, -2.0]);
    assert_eq!(both.vector("b", 1).unwrap(), [3.0]);
    assert_eq!(both.name(), "whole with halves");
    assert_ne!(both.sha256(), whole.sha256());
    assert_eq!(whole.vector("a", 2).unwrap(), [1.0, 2.0]);

    let error = |tensors: &[(&str, &[f32])]| {
        let error = whole.replaced(&Weights::from_tensors("part", &named(tensors))).unwrap_err();
        assert!(error.kind() == ErrorKind::Weights && error.hint_text().is_some());
        error.to_string()
    };
    assert_eq!(error(&[("b", &[1.0, 2.0])]), "part: tensor `b` has shape [2], expected [1], which it has in whole");
    assert!(error(&[("bias", &[1.0])]).starts_with("part: tensor `bias` replaces nothing"));
    assert_eq!(error(&[]), "part: holds no tensor");
}
