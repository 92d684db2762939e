//! Every shader, on every backend's compiler that naga has, without a GPU.

mod support {
    pub(crate) mod gemm_text;
}

use support::gemm_text;

/// The generated shaders are what the generator writes.
#[test]
fn generated_shaders_are_up_to_date() {
    for (file, text) in [("gemm_direct_8", gemm_text::direct(8)), ("gemm_tiled_8x2", gemm_text::tiled(8, 2))] {
        let path = format!("{}/shaders/{file}.wgsl", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("HEATLENS_BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{file} differs from its generator");
    }
}
