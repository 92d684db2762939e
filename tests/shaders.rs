//! Every shader, on every backend's compiler that naga has, without a GPU.

use std::collections::{BTreeMap, BTreeSet};

use heatlens::kernels::{Launch, Matrices, MatrixEdge, Profile, cases};
use naga::back::PipelineConstants;
use naga::back::pipeline_constants::process_overrides;
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage, StorageAccess, TypeInner};

mod support {
    pub(crate) mod gemm_cooperative_text;
    pub(crate) mod gemm_text;
}

use support::gemm_cooperative_text::{Memory, cooperative};
use support::gemm_text::{self, Weights};

/// The generated shaders are what the generator writes.
#[test]
fn generated_shaders_are_up_to_date() {
    let generated = [
        ("gemm_direct_8", gemm_text::direct(8, Weights::F32)),
        ("gemm_direct_8_f16", gemm_text::direct(8, Weights::F16)),
        ("gemm_subgroup_16", gemm_text::subgroup(2, Weights::F32)),
        ("gemm_subgroup_16_f16", gemm_text::subgroup(2, Weights::F16)),
        ("gemm_tiled_8x2", gemm_text::tiled(8, 2, 64, Weights::F32)),
        ("gemm_tiled_8x2_f16", gemm_text::tiled(8, 2, 64, Weights::F16)),
        ("gemm_tiled_8x1", gemm_text::tiled(8, 1, 32, Weights::F32)),
        ("gemm_tiled_8x1_f16", gemm_text::tiled(8, 1, 32, Weights::F16)),
        ("gemm_cooperative_16x2", cooperative(16, 2, Memory::Vectors)),
        ("gemm_cooperative_16x1", cooperative(16, 1, Memory::Vectors)),
        ("gemm_cooperative_8x4", cooperative(8, 4, Memory::Scalars)),
        ("gemm_cooperative_8x2", cooperative(8, 2, Memory::Scalars)),
    ];
    for (file, text) in generated {
        let path = format!("{}/shaders/{file}.wgsl", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("HEATLENS_BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{file} differs from its generator");
    }
}

/// Shaders stand alone, so the convolutions that aren't generated hold the GEMM's activations word for word.
#[test]
fn convolutions_have_the_same_activations() {
    let activations = |file: &str| {
        let path = format!("{}/shaders/{file}.wgsl", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap();
        let start = text.find("// The error function").unwrap_or_else(|| panic!("{file}: no error function"));
        let end = text.find("fn store").unwrap_or_else(|| panic!("{file}: no epilogue"));
        text[start..end].to_owned()
    };
    for file in ["grouped_conv", "depthwise_conv"] {
        assert_eq!(activations(file), activations("gemm_direct_8"), "{file}");
    }
}

/// The launches of all cases on every profile, and on every kind of cooperative matrices.
fn launches() -> Vec<Launch> {
    let cooperative = MatrixEdge::ALL.map(|edge| cases::cooperative(Matrices { edge, lanes: 32 })).concat();
    let cases = [cases::all(), cooperative].concat();
    cases.iter().flat_map(|case| Profile::ALL.map(|profile| case.kernel.launch(profile))).collect()
}

/// One launch of each distinct module and set of constants: a pipeline each.
fn variants() -> Vec<Launch> {
    let keyed = launches().into_iter().map(|launch| ((launch.shader.label, launch.constants.clone()), launch));
    keyed.collect::<BTreeMap<_, _>>().into_values().collect()
}

fn constants(launch: &Launch) -> PipelineConstants {
    launch.constants.iter().map(|&(name, value)| (name.to_owned(), f64::from(value))).collect()
}

/// Whether a shader is for adapters with subgroups only.
fn uses_subgroups(label: &str) -> bool {
    label.contains("_subgroup") || is_cooperative(label)
}

/// Whether a shader is for adapters with cooperative matrices only.
fn is_cooperative(label: &str) -> bool {
    label.contains("_cooperative")
}

/// The module and what validation says of it. No capability may be needed beyond what every adapter has (no f16 but for
/// unpacking it into f32), but for subgroups and cooperative matrices where the shader's name says so.
fn validated(label: &str, source: &str) -> (Module, ModuleInfo) {
    let module = naga::front::wgsl::parse_str(source).unwrap_or_else(|e| panic!("{}", e.emit_to_string(source)));
    let subgroups = if uses_subgroups(label) { Capabilities::SUBGROUP } else { Capabilities::empty() };
    let matrices = Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_FLOAT16;
    let matrices = if is_cooperative(label) { matrices } else { Capabilities::empty() };
    let capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32 | subgroups | matrices;
    let info = Validator::new(ValidationFlags::all(), capabilities).validate(&module);
    let info = info.unwrap_or_else(|e| panic!("{label}: {}", e.emit_to_string(source)));
    (module, info)
}

/// Vulkan's, Metal's and DX12's compilers each get text they can be given.
#[test]
fn every_variant_compiles_for_every_backend() {
    let variants = variants();
    assert!(variants.len() >= 15, "{} variants: has the shape table shrunk?", variants.len());
    for launch in &variants {
        let label = launch.shader.label;
        let (module, info) = validated(label, launch.shader.source);
        let entry = Some((ShaderStage::Compute, "main"));
        let (module, info) =
            process_overrides(&module, &info, entry, &constants(launch)).unwrap_or_else(|e| panic!("{label}: {e}"));

        use naga::back::spv::Capability::{
            CooperativeMatrixKHR, Float16, GroupNonUniform, GroupNonUniformShuffle, Shader, StorageBuffer16BitAccess,
            VulkanMemoryModel,
        };
        let subgroups = [GroupNonUniform, GroupNonUniformShuffle].into_iter().filter(|_| uses_subgroups(label));
        let matrices = [CooperativeMatrixKHR, Float16, StorageBuffer16BitAccess, VulkanMemoryModel];
        let matrices = matrices.into_iter().filter(|_| is_cooperative(label));
        let capabilities: Vec<_> = [Shader].into_iter().chain(subgroups).chain(matrices).collect();
        let capabilities = Some(capabilities.into_iter().collect());
        let lang_version = if uses_subgroups(label) { (1, 3) } else { (1, 0) };
        let options = naga::back::spv::Options { capabilities, lang_version, ..Default::default() };
        let words = naga::back::spv::write_vec(&module, &info, &options, None);
        let words = words.unwrap_or_else(|e| panic!("{label} as SPIR-V: {e}"));
        assert_eq!(words[0], 0x0723_0203, "{label}: SPIR-V's magic number");

        let lang_version = if uses_subgroups(label) { (2, 4) } else { (1, 0) };
        let options = naga::back::msl::Options { lang_version, ..Default::default() };
        let (text, _) = naga::back::msl::write_string(&module, &info, &options, &Default::default())
            .unwrap_or_else(|e| panic!("{label} as MSL: {e}"));
        assert!(text.contains("kernel void main_("), "{label}: MSL without an entry point:\n{text}");

        // DX12 has no cooperative matrices.
        if is_cooperative(label) {
            continue;
        }
        // Shader model 5.1 is what FXC compiles, the compiler that Windows comes with; subgroups came with 6.0.
        use naga::back::hlsl::ShaderModel::{V5_1, V6_0};
        let shader_model = if uses_subgroups(label) { V6_0 } else { V5_1 };
        let options = naga::back::hlsl::Options { shader_model, ..Default::default() };
        let mut text = String::new();
        let pipeline = naga::back::hlsl::PipelineOptions::default();
        naga::back::hlsl::Writer::new(&mut text, &options, &pipeline)
            .write(&module, &info, None)
            .unwrap_or_else(|e| panic!("{label} as HLSL: {e}"));
        assert!(text.contains("[numthreads("), "{label}: HLSL without an entry point:\n{text}");
    }
}

/// Binding 0 is the uniform, then come the operands that are read, and last the one that is written.
#[test]
fn bindings_are_those_of_the_rust_twin() {
    for launch in launches() {
        let label = launch.shader.label;
        let (module, _) = validated(label, launch.shader.source);
        let mut bound = BTreeMap::new();
        for (_, variable) in module.global_variables.iter() {
            if let Some(binding) = variable.binding {
                assert_eq!(binding.group, 0, "{label}: {:?} is in another group", variable.name);
                bound.insert(binding.binding, variable);
            }
        }
        let numbers: Vec<u32> = bound.keys().copied().collect();
        let expected: Vec<u32> = (0..launch.shader.reads as u32 + 2).collect();
        assert_eq!(numbers, expected, "{label}: bindings");

        let uniform = bound[&0];
        assert_eq!(uniform.space, AddressSpace::Uniform, "{label}: binding 0");
        let TypeInner::Struct { span, .. } = module.types[uniform.ty].inner else {
            panic!("{label}: the uniform isn't a struct")
        };
        assert_eq!(span.next_multiple_of(16) as usize, launch.params.len(), "{label}: bytes of its Params");

        let output = launch.shader.reads as u32 + 1;
        for binding in 1..=output {
            let AddressSpace::Storage { access } = bound[&binding].space else {
                panic!("{label}: binding {binding} isn't a storage buffer")
            };
            let written = binding == output;
            assert_eq!(access.contains(StorageAccess::STORE), written, "{label}: access of binding {binding}");
            assert!(access.contains(StorageAccess::LOAD), "{label}: access of binding {binding}");
        }
    }
}

/// A constant of the Rust twin that the shader lacks, or one that only the shader has, would be a silent default.
#[test]
fn constants_are_those_of_the_rust_twin() {
    for launch in variants() {
        let label = launch.shader.label;
        let (module, _) = validated(label, launch.shader.source);
        let declared: BTreeSet<&str> =
            module.overrides.iter().filter_map(|(_, constant)| constant.name.as_deref()).collect();
        let given: BTreeSet<&str> = launch.constants.iter().map(|(name, _)| *name).collect();
        let without_default: BTreeSet<&str> = module
            .overrides
            .iter()
            .filter(|(_, constant)| constant.init.is_none())
            .filter_map(|(_, constant)| constant.name.as_deref())
            .collect();
        assert!(given.is_subset(&declared), "{label} has the constants {declared:?}, and is given {given:?}");
        assert!(without_default.is_subset(&given), "{label} needs {without_default:?}, and is given {given:?}");
    }
}

/// What `Device::from_wgpu` asks of a host's device is enough: WebGPU's least limits, with 64 lanes a workgroup. What devices with
/// cooperative matrices are asked for is enough for those.
#[test]
fn workgroups_fit_the_least_limits() {
    for launch in variants() {
        let label = launch.shader.label;
        let (module, info) = validated(label, launch.shader.source);
        let (module, _) = process_overrides(&module, &info, None, &constants(&launch)).unwrap();
        let [entry] = &module.entry_points[..] else { panic!("{label}: one entry point") };
        let lanes: u32 = entry.workgroup_size.iter().product();
        let (most_lanes, most_shared) =
            if is_cooperative(label) { (4 * 32, Matrices::WORKGROUP_BYTES) } else { (64, 16_384) };
        assert!((1..=most_lanes).contains(&lanes), "{label}: {lanes} lanes");
        let context = module.to_ctx();
        let shared: u32 = module
            .global_variables
            .iter()
            .filter(|(_, variable)| variable.space == AddressSpace::WorkGroup)
            .map(|(_, variable)| module.types[variable.ty].inner.size(context))
            .sum();
        assert!(shared <= most_shared, "{label}: {shared} bytes of workgroup memory");
        assert!(launch.shader.reads < 8, "{label}: {} storage buffers", launch.shader.reads + 1);
        assert!(launch.grid.iter().all(|&groups| (1..=65_535).contains(&groups)), "{label}: grid {:?}", launch.grid);
    }
}
