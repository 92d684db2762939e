//! What passes an adapter's limits: weights are cut, batches chosen smaller, and the rest refused with numbers.

use heatlens::gpu::{Device, DeviceOptions, Input, Outputs};
use heatlens::kernels::{DistanceForm, MapConstants, NO_MAP, Profile, cases::noise};
use heatlens::layers::{Activation, Conv2d, ConvOptions, Linear, TokenEmbedding};
use heatlens::models::{Classifier, Clip};
use heatlens::plan::{Limits, Memory, StoredMaps};
use heatlens::{ErrorKind, Plan, Result, Silent, Tensor};

const UNLIMITED: Limits = Limits { binding: u64::MAX, buffer: u64::MAX, memory: None };

fn demo(part: &str) -> String {
    format!("{}/weights/demo/{part}", env!("CARGO_MANIFEST_DIR"))
}

/// The adapter with its own profile and with those that every adapter can run, binding at most `bytes` at a time.
fn binding_at_most(bytes: Option<u64>) -> [Device; 3] {
    [None, Some(Profile::Software), Some(Profile::Hardware)].map(|profile| {
        Device::open(&DeviceOptions { profile, max_binding_bytes: bytes, ..DeviceOptions::default() }).unwrap()
    })
}

fn tensor(seed: u32, shape: &[usize]) -> Tensor {
    Tensor::new(shape, noise(seed, shape.iter().product()))
}

/// Runs the plan with and without the limit on each profile: as many dispatches more as said, and the same bits.
fn assert_cut(plan: &Plan, inputs: &[(&str, Input<'_>)], limit: u64, more: usize) {
    for (whole, cut) in binding_at_most(None).iter().zip(&binding_at_most(Some(limit))) {
        let [whole, cut] = [whole, cut].map(|device| {
            let executable = device.compile(plan).unwrap();
            executable.poison();
            (executable.run(inputs).unwrap(), executable.dispatches())
        });
        assert_eq!(cut.1, whole.1 + more, "dispatches with the limit\n{plan}");
        let bits = |outputs: &Outputs| -> Vec<u32> {
            let named = plan.outputs().iter().map(|(name, _)| outputs.tensor(name));
            named.flat_map(|tensor| tensor.data().iter().map(|value| value.to_bits()).collect::<Vec<_>>()).collect()
        };
        assert!(bits(&whole.0).iter().all(|bits| !f32::from_bits(*bits).is_nan()), "something isn't written\n{plan}");
        assert_eq!(bits(&cut.0), bits(&whole.0), "{plan}");
    }
}

#[test]
fn a_product_is_cut_by_its_output_channels() {
    let layer = |inputs, outputs, seed| {
        Linear::new("layer", &tensor(seed, &[outputs, inputs]), Some(&noise(seed + 1, outputs)))
    };
    let mut plan = Plan::new(5);
    let x = plan.input("x", 13, 29);
    let first = plan.linear(x, &layer(29, 203, 3), Activation::Gelu);
    let second = plan.linear_add(first, &layer(203, 203, 5), first, Activation::Relu);
    plan.output("second", second);
    // The first layer's weights are 32·204 values, which fit; the second's are 204·204, and 64 columns of them fit.
    let values = noise(1, 5 * 13 * 29);
    let inputs = [("x", Input::F32(&values))];
    assert_cut(&plan, &inputs, 5 * 13 * 204 * 4, 3);
    let error = plan.check(&Limits { binding: 4 * 65 * 32, ..UNLIMITED }).unwrap_err();
    assert!(error.to_string().contains("gemm (5×13×1×203) takes 53040 bytes, and at most 8320"), "{error}");
}

#[test]
fn a_product_with_weights_in_f16_is_cut_later() {
    let layer = Linear::new("layer", &tensor(3, &[203, 29]), Some(&noise(4, 203)));
    let halved = Linear { weight: layer.weight.in_f16().unwrap(), ..layer.clone() };
    assert_eq!(2 * halved.weight.bytes(), layer.weight.bytes());
    let values = noise(1, 29);
    // 32 rows of weights: 32 columns of f32 fit, or 64 of f16.
    for (layer, more) in [(layer, 6), (halved, 3)] {
        let mut plan = Plan::new(1);
        let x = plan.input("x", 1, 29);
        let y = plan.linear(x, &layer, Activation::Relu);
        plan.output("y", y);
        assert_cut(&plan, &[("x", Input::F32(&values))], 4 * 32 * 32, more);
    }
}

#[test]
fn a_weight_past_the_range_of_f16_is_an_error_that_names_the_tensor() {
    let layer = |value| Linear::new("fc.weight", &Tensor::new([1, 2], vec![1.0, value]), None).weight.in_f16();
    assert!(layer(65_504.0).is_ok() && layer(-65_504.0).is_ok());
    let error = layer(65_600.0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Weights);
    assert!(error.to_string().contains("`fc.weight` holds 65600, and f16 ends at 65504"), "{error}");
}

#[test]
fn a_convolution_is_cut_by_its_output_channels() {
    let layer = Conv2d::new("conv", &tensor(2, &[70, 5, 3, 3]), None, ConvOptions { stride: 2, padding: 1, groups: 1 });
    let mut plan = Plan::new(2);
    let x = plan.input("x", 1, 5);
    let y = plan.conv2d(x, &layer, Activation::Relu);
    plan.output("y", y);
    let values = noise(1, 10);
    // 72 rows of weights: 8 columns of 72 a part.
    assert_cut(&plan, &[("x", Input::F32(&values))], 72 * 8 * 4, 8);
}

#[test]
fn a_token_table_is_cut_by_its_rows() {
    let layer = TokenEmbedding::new("table", &tensor(2, &[101, 10]), &tensor(3, &[7, 10]));
    let mut plan = Plan::new(3);
    let ids = plan.input_indices("ids", 7);
    let embedded = plan.embed_tokens(ids, &layer);
    plan.output("embedded", embedded);
    // Every part's first and last row, and one past the table, which reads its last.
    let ids: Vec<u32> = [0, 20, 21, 41, 42, 62, 63, 83, 84, 100, 50, 700].iter().copied().cycle().take(21).collect();
    assert_cut(&plan, &[("ids", Input::U32(&ids))], 21 * 12 * 4, 4);
}

#[test]
fn stored_maps_are_cut_by_whole_maps() {
    let (concepts, count) = (9, 5);
    let weights: Vec<Vec<f32>> = (0..count).map(|map| noise(map + 7, concepts * concepts)).collect();
    let constants = MapConstants { form: DistanceForm::Affine, offset: 0.5, product: 0.25, sum: 0.125 };
    let maps: Vec<(&[f32], MapConstants)> = weights.iter().map(|weights| (weights.as_slice(), constants)).collect();
    let maps = StoredMaps::new(concepts, &maps, vec![0, 4, NO_MAP, 2, 3, 1], 2);
    let mut plan = Plan::new(6);
    let scores = plan.input("scores", 1, concepts);
    let classes = plan.input_indices("classes", 1);
    let distances = plan.map_distances(scores, classes, &maps);
    plan.output("distances", distances);
    let scores = noise(1, 6 * concepts);
    let inputs = [("scores", Input::F32(&scores)), ("classes", Input::U32(&[0, 1, 2, 2, 1, 0]))];
    // A map is 9·12 values: two a part.
    assert_cut(&plan, &inputs, 4 * 2 * 9 * 12, 2);
}

fn classifier_plan(classifier: &Classifier, batch: usize) -> Plan {
    let mut plan = Plan::new(batch);
    let pixels = classifier.input(&mut plan);
    let output = classifier.record(&mut plan, pixels);
    plan.output("logits", output.logits);
    plan
}

fn text_plan(clip: &Clip, batch: usize) -> Plan {
    let mut plan = Plan::new(batch);
    let ids = clip.text_input(&mut plan);
    let embedding = clip.record_text(&mut plan, ids);
    plan.output("embedding", embedding);
    plan
}

/// The largest value of a plan, in bytes.
fn largest_value(plan: &Plan) -> u64 {
    let values = plan.inputs().iter().map(|(_, var)| *var).chain(plan.dispatches().iter().map(|d| d.output));
    values.map(|var| 4 * plan.value(var).len as u64).max().unwrap()
}

#[test]
fn whole_networks_with_weights_in_parts_give_the_same_bits() {
    let clip = Clip::open(demo("clip")).unwrap();
    let plan = text_plan(&clip, 1);
    let limit = largest_value(&plan);
    let large = plan.parameters().iter().filter(|parameter| parameter.bytes() > limit).count();
    assert!(large > 2, "{large} parameters over {limit} bytes");
    let ids = clip.tokenizer().encode("a photo of a wet ship", clip.text().context()).unwrap().ids;
    let [whole, cut] = [None, Some(limit)].map(|bytes| {
        let executable = binding_at_most(bytes)[0].compile(&plan).unwrap();
        let embedding = executable.run(&[("ids", Input::U32(&ids))]).unwrap().tensor("embedding");
        (embedding.into_data(), executable.dispatches())
    });
    assert!(cut.1 >= whole.1 + large);
    assert_eq!(cut.0, whole.0);
}

#[test]
fn the_memory_that_is_told_beforehand_is_what_a_run_takes() {
    let classifier = Classifier::open(demo("classifier"), &Silent).unwrap();
    for batch in [1, 5] {
        let [device, ..] = binding_at_most(None);
        let plan = classifier_plan(&classifier, batch).lowered(device.profile());
        let executable = device.compile(&plan).unwrap();
        let told = plan.memory().total();
        // Beside it there are a dispatch's sizes, on boundaries of 256 bytes at most, and buffers end on multiples of 16.
        let beside = 256 * plan.dispatches().len() as u64 + 16 * (plan.parameters().len() + plan.len()) as u64;
        assert!((told..=told + beside).contains(&executable.bytes()), "{told} told, {} taken", executable.bytes());
    }
}

fn fitting(classifier: &Classifier, asked: Option<usize>, limits: &Limits) -> Result<usize> {
    Plan::fitting(asked, 32, limits, |batch| classifier_plan(classifier, batch)).map(|plan| plan.batch())
}

#[test]
fn the_batch_is_the_largest_that_fits() {
    let classifier = Classifier::open(demo("classifier"), &Silent).unwrap();
    let of = |batch| classifier_plan(&classifier, batch);
    assert_eq!(fitting(&classifier, None, &UNLIMITED).unwrap(), 32);
    assert_eq!(fitting(&classifier, Some(100), &UNLIMITED).unwrap(), 100);
    for batch in [1, 2, 7, 31, 32] {
        let by_value = Limits { binding: largest_value(&of(batch)), ..UNLIMITED };
        let by_memory = Limits { memory: Some(of(batch).memory().total()), ..UNLIMITED };
        let Memory { staging, readback, .. } = of(batch).memory();
        let by_buffer = Limits { buffer: staging.max(readback), ..UNLIMITED };
        for limits in [by_value, by_memory, by_buffer] {
            assert_eq!(fitting(&classifier, None, &limits).unwrap(), batch, "{limits:?}");
            assert_eq!(fitting(&classifier, Some(batch), &limits).unwrap(), batch, "{limits:?}");
            let error = fitting(&classifier, Some(batch + 1), &limits).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Limit);
            assert!(error.to_string().contains(&format!("a batch of {} doesn't fit", batch + 1)), "{error}");
            assert!(error.hint_text().unwrap().contains(&format!("--batch {batch},")), "{error:?}");
        }
    }
}

#[test]
fn what_does_not_fit_alone_is_refused_with_numbers() {
    let classifier = Classifier::open(demo("classifier"), &Silent).unwrap();
    let one = classifier_plan(&classifier, 1);
    let (value, memory) = (largest_value(&one), one.memory());
    let by_value = Limits { binding: value - 1, ..UNLIMITED };
    let by_memory = Limits { memory: Some(memory.total() - 1), ..UNLIMITED };
    let named = [
        (by_value, format!("takes {value} bytes, and at most {}", value - 1)),
        (by_memory, format!("{} bytes of weights, {} of values", memory.parameters, memory.values)),
        (by_memory, format!("takes {} bytes, and at most {}", memory.total(), memory.total() - 1)),
    ];
    for (limits, text) in named {
        for asked in [None, Some(1), Some(9)] {
            let error = fitting(&classifier, asked, &limits).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Limit);
            assert!(error.to_string().contains("even a batch of 1 doesn't fit"), "{error}");
            assert!(error.to_string().contains(&text), "{text}: {error}");
        }
    }
}

/// What a plan needs whole is an error of the compilation as well, never a panic of wgpu's.
#[test]
fn compiling_what_does_not_fit_is_an_error() {
    let clip = Clip::open(demo("clip")).unwrap();
    let plan = text_plan(&clip, 4);
    let limit = largest_value(&plan) - 1;
    let error = binding_at_most(Some(limit))[0].compile(&plan).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.to_string().contains(&format!("takes {} bytes, and at most {limit}", limit + 1)), "{error}");
    let device = Device::open(&DeviceOptions { memory: Some(1 << 10), ..DeviceOptions::default() }).unwrap();
    let error = device.compile(&plan).unwrap_err();
    assert!(error.to_string().contains("at most 1024 of memory may be used"), "{error}");
}
