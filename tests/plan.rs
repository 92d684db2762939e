//! Recorded plans: shapes, work, and which values share memory. No GPU is needed.

use std::collections::{BTreeMap, BTreeSet};

use heatlens::kernels::Profile;
use heatlens::layers::{Activation, BatchNorm, Conv2d, ConvOptions, LayerNorm, Linear};
use heatlens::models::{Architecture, Classifier, Clip, common_plan};
use heatlens::plan::{Shape, Source};
use heatlens::weights::Precision;
use heatlens::{Plan, Silent, Tensor, Var};
use proptest::prelude::*;

fn demo(part: &str) -> String {
    format!("{}/weights/demo/{part}", env!("CARGO_MANIFEST_DIR"))
}

fn classifier(batch: usize) -> Plan {
    let classifier = Classifier::open(demo("classifier"), &Silent).unwrap();
    let mut plan = Plan::new(batch);
    let pixels = classifier.input(&mut plan);
    let output = classifier.record(&mut plan, pixels);
    plan.output("features", output.features);
    plan.output("logits", output.logits);
    plan
}

/// The image tower and the text tower.
fn clip(batch: usize) -> [Plan; 2] {
    let clip = Clip::open(demo("clip")).unwrap();
    let (mut image, mut text) = (Plan::new(batch), Plan::new(batch));
    let pixels = clip.image_input(&mut image);
    let embedding = clip.record_image(&mut image, pixels);
    image.output("embedding", embedding);
    let ids = clip.text_input(&mut text);
    let embedding = clip.record_text(&mut text, ids);
    text.output("embedding", embedding);
    [image, text]
}

fn conv(inputs: usize, outputs: usize, window: usize, stride: usize) -> Conv2d {
    let norm = BatchNorm {
        weight: vec![1.0; outputs],
        bias: vec![0.0; outputs],
        mean: vec![0.0; outputs],
        variance: vec![1.0; outputs],
        epsilon: 1e-5,
    };
    let options = ConvOptions { stride, padding: window / 2, groups: 1 };
    Conv2d::folded("conv", &Tensor::zeros([outputs, inputs, window, window]), &norm, options)
}

/// A ResNet-50 of an eighth of the width: its values have the proportions of the real one's.
fn narrow_resnet50(batch: usize) -> Plan {
    let mut plan = Plan::new(batch);
    let bytes = plan.input_pixels("pixels", 224, 224);
    let colors = heatlens::layers::Normalization { scale: 1.0, mean: [0.0; 3], std: [1.0; 3] };
    let x = plan.normalize_image(bytes, [224, 224], colors);
    let x = plan.conv2d(x, &conv(3, 8, 7, 2), Activation::Relu);
    let mut x = plan.max_pool(x, 3, 2, 1);
    let mut channels = 8;
    for (layer, depth) in [3, 4, 6, 3].into_iter().enumerate() {
        let width = 8 << layer;
        for block in 0..depth {
            let stride = if layer > 0 && block == 0 { 2 } else { 1 };
            let skip = match block {
                0 => plan.conv2d(x, &conv(channels, 4 * width, 1, stride), Activation::Identity),
                _ => x,
            };
            let y = plan.conv2d(x, &conv(channels, width, 1, 1), Activation::Relu);
            let y = plan.conv2d(y, &conv(width, width, 3, stride), Activation::Relu);
            x = plan.conv2d_add(y, &conv(width, 4 * width, 1, 1), skip, Activation::Relu);
            channels = 4 * width;
        }
    }
    let features = plan.mean_pool(x);
    plan.output("features", features);
    plan
}

/// All values of a plan in the order of their numbers: each is an input or the result of a dispatch.
fn values(plan: &Plan) -> Vec<Var> {
    let inputs = plan.inputs().iter().map(|(_, var)| *var);
    let mut values: Vec<Var> = inputs.chain(plan.dispatches().iter().map(|dispatch| dispatch.output)).collect();
    values.sort_unstable();
    // Some are written in parts.
    values.dedup();
    assert_eq!(values.len(), plan.len(), "a value that nothing makes");
    values
}

/// The first and last step at which each value must be kept, by plain search: what is written or read outside the pass
/// is kept throughout.
fn lifetimes(plan: &Plan) -> Vec<(usize, usize)> {
    let end = plan.dispatches().len();
    let lifetime = |var: &Var| {
        let is_named = plan.inputs().iter().chain(plan.outputs()).any(|(_, named)| named == var);
        let reads = |source: &Source| matches!(source, Source::Var(read) if read == var);
        let steps = plan.dispatches().iter().enumerate();
        let uses: Vec<usize> = steps
            .clone()
            .filter(|(_, dispatch)| dispatch.output == *var || dispatch.reads.iter().any(reads))
            .map(|(step, _)| step)
            .collect();
        let is_accumulated = steps.clone().any(|(_, d)| d.output == *var && d.kernel.accumulates());
        match uses[..] {
            [first, .., last] if !is_named && !is_accumulated => (first, last),
            [only] if !is_named && !is_accumulated => (only, only),
            _ => (0, end),
        }
    };
    values(plan).iter().map(lifetime).collect()
}

/// Checks the slots of a plan by comparing every pair of values.
fn check_slots(plan: &Plan) {
    let (slots, values, lifetimes) = (plan.slots(), values(plan), lifetimes(plan));
    assert_eq!(slots.slot_of.len(), values.len());
    for (a, &(first_a, last_a)) in lifetimes.iter().enumerate() {
        let bytes = 4 * plan.value(values[a]).len as u64;
        assert!(slots.bytes[slots.slot_of[a]] >= bytes, "value {a} doesn't fit its slot");
        for (b, &(first_b, last_b)) in lifetimes.iter().enumerate().skip(a + 1) {
            let overlap = first_a <= last_b && first_b <= last_a;
            assert!(!overlap || slots.slot_of[a] != slots.slot_of[b], "values {a} and {b} overlap in a slot\n{plan}");
        }
    }
    let alive = |step: usize| {
        let kept = lifetimes.iter().zip(&values).filter(|((first, last), _)| (*first..=*last).contains(&step));
        kept.map(|(_, var)| 4 * plan.value(*var).len as u64).sum::<u64>()
    };
    let peak = (0..plan.dispatches().len()).map(alive).max().unwrap_or_default();
    assert_eq!(plan.peak_live_bytes(), peak, "the peak by plain search\n{plan}");
    assert!(slots.total_bytes() >= peak);
}

/// A plan, and the same in Winograd's basis where software adapters take it there.
fn lowered<T: Copy>((name, plan): (T, Plan)) -> [(T, Plan); 2] {
    let lowered = plan.lowered(Profile::SoftwareSubgroups);
    [(name, plan), (name, lowered)]
}

#[test]
fn models_reuse_memory_close_to_the_least() {
    for batch in [1, 7, 32] {
        let [image, text] = clip(batch);
        let plans = [("classifier", classifier(batch)), ("image", image), ("text", text)];
        for (name, plan) in plans.into_iter().chain([("ResNet-50", narrow_resnet50(batch))]).flat_map(lowered) {
            check_slots(&plan);
            let (total, peak) = (plan.slots().total_bytes(), plan.peak_live_bytes());
            assert!(total as f64 <= 1.2 * peak as f64, "{name}, batch {batch}: {total} bytes for a peak of {peak}");
        }
    }
}

/// Making any value an output, to bisect a wrong model, must not disturb the others.
#[test]
fn any_value_may_be_an_output() {
    let plan = classifier(2);
    for dispatch in plan.dispatches() {
        let mut tapped = plan.clone();
        tapped.output("tap", dispatch.output);
        check_slots(&tapped);
    }
}

#[test]
fn pipelines_are_few() {
    let of = |plans: &[&Plan], profile| {
        let dispatches = plans.iter().flat_map(|plan| plan.dispatches());
        let launches = dispatches.map(|dispatch| dispatch.kernel.launch(profile));
        launches.map(|l| (l.shader.label, l.constants)).collect::<BTreeSet<_>>().len()
    };
    let [image, text] = clip(1);
    for profile in Profile::ALL {
        assert!(of(&[&wide_block(1, 14, 32).lowered(profile)], profile) <= 4);
        assert!(of(&[&narrow_resnet50(1).lowered(profile)], profile) <= 12);
        assert!(of(&[&classifier(1)], profile) <= 12);
        assert!(of(&[&image, &text], profile) <= 16);
    }
}

/// What is prepared before a model is read is what the model then runs.
#[test]
fn the_common_plan_has_a_pipeline_of_every_network() {
    for precision in [Precision::F32, Precision::F16] {
        let common = common_plan(precision);
        for name in ["resnet18", "resnet50", "vit-b-32", "vit-b-32-text"] {
            let network = name.parse::<Architecture>().unwrap().load_in(None, precision).unwrap().record(1).unwrap();
            for profile in [Profile::Software, Profile::SoftwareSubgroups] {
                let shaders = |plan: &Plan| -> BTreeSet<&str> {
                    let plan = plan.lowered(profile);
                    plan.dispatches().iter().map(|dispatch| dispatch.kernel.launch(profile).shader.label).collect()
                };
                let common = shaders(&common);
                assert!(common.len() == 1 && common.is_subset(&shaders(&network)), "{name}, {precision}, {profile:?}");
            }
        }
    }
}

/// Which pipelines run must not depend on the batch, or scores wouldn't be the same at any batch size.
#[test]
fn the_batch_changes_no_kernel_choice() {
    for profile in Profile::ALL {
        let choices = |plan: &Plan| {
            let launches = plan.dispatches().iter().map(|dispatch| dispatch.kernel.launch(profile));
            launches.map(|launch| (launch.shader.label, launch.constants)).collect::<Vec<_>>()
        };
        let [one, many] = [1, 32].map(|batch| {
            let [image, text] = clip(batch);
            [classifier(batch), image, text].each_ref().map(choices)
        });
        assert_eq!(one, many);
        let [one, many] = [1, 7].map(|batch| {
            let mut shaders = choices(&wide_block(batch, 56, 64).lowered(profile));
            // Large batches are taken to Winograd's basis in parts.
            shaders.sort_unstable();
            shaders.dedup();
            shaders
        });
        assert_eq!(one, many);
    }
}

/// Two convolutions of 3×3 with stride 1, the second with a residual.
fn wide_block(batch: usize, edge: usize, channels: usize) -> Plan {
    let weight = Tensor::zeros([channels, channels, 3, 3]);
    let options = ConvOptions { padding: 1, ..ConvOptions::default() };
    let [first, second] = ["first", "second"].map(|name| Conv2d::new(name, &weight, None, options));
    let mut plan = Plan::new(batch);
    let bytes = plan.input_pixels("pixels", edge, edge);
    let colors = heatlens::layers::Normalization { scale: 1.0, mean: [0.0; 3], std: [1.0; 3] };
    let x = plan.normalize_image(bytes, [edge, edge], colors);
    let x = plan.conv2d(x, &conv(3, channels, 1, 1), Activation::Identity);
    let y = plan.conv2d(x, &first, Activation::Relu);
    let y = plan.conv2d_add(y, &second, x, Activation::Relu);
    plan.output("y", y);
    plan
}

#[test]
fn convolutions_are_lowered_where_winograd_was_measured_to_be_faster() {
    let counts = |batch, edge, channels, profile| wide_block(batch, edge, channels).lowered(profile).dispatch_counts();
    let direct = BTreeMap::from([("normalize_image", 1), ("gemm", 3)]);
    let winograd = |parts: usize| {
        let [input, output] = ["winograd_input", "winograd_output"].map(|kernel| (kernel, 2 * parts));
        BTreeMap::from([("normalize_image", 1), input, ("gemm", 1 + 2 * parts), output])
    };
    assert_eq!(counts(1, 56, 64, Profile::SoftwareSubgroups), winograd(1));
    assert_eq!(counts(7, 56, 64, Profile::SoftwareSubgroups), winograd(2), "five images of 3.2 MB at a time");
    assert_eq!(counts(4, 6, 64, Profile::SoftwareSubgroups), direct, "few tiles");
    assert_eq!(counts(1, 56, 24, Profile::SoftwareSubgroups), direct, "few channels");
    assert_eq!(counts(1, 56, 64, Profile::Software), direct);
    assert_eq!(counts(1, 56, 64, Profile::Hardware), direct);
    let lowered = wide_block(2, 20, 32).lowered(Profile::SoftwareSubgroups);
    let again = lowered.lowered(Profile::SoftwareSubgroups);
    assert_eq!(again.dispatch_counts(), lowered.dispatch_counts(), "lowering twice is lowering once");
    assert_eq!(lowered.memory().parameters, 4 * (4 * 32 + 32 + 2 * (16 * 32 * 32 + 32)));
}

/// Output sizes as torch.nn.Conv2d's and MaxPool2d's documentation has them: ⌊(n + 2p − k) / s⌋ + 1.
#[test]
fn shapes_follow_the_window() {
    for (size, window, stride, padding, expected) in [
        (224, 7, 2, 3, 112),
        (112, 3, 2, 1, 56),
        (7, 3, 2, 1, 4),
        (8, 1, 2, 0, 4),
        (224, 32, 32, 0, 7),
        (3, 3, 1, 0, 1),
        (5, 3, 1, 1, 5),
    ] {
        let mut plan = Plan::new(2);
        let x = plan.input_pixels("pixels", size, size + 4);
        let colors = heatlens::layers::Normalization { scale: 1.0, mean: [0.0; 3], std: [1.0; 3] };
        let x = plan.normalize_image(x, [size, size + 4], colors);
        let layer = Conv2d::new(
            "conv",
            &Tensor::zeros([5, 3, window, window]),
            None,
            ConvOptions { stride, padding, groups: 1 },
        );
        let y = plan.conv2d(x, &layer, Activation::Identity);
        let width = (size + 4 + 2 * padding - window) / stride + 1;
        assert_eq!(plan.shape(y), Shape { images: 2, height: expected, width, channels: 5 });
        if padding <= window / 2 {
            let pooled = plan.max_pool(x, window, stride, padding);
            assert_eq!(plan.shape(pooled), Shape { images: 2, height: expected, width, channels: 3 });
        }
    }
}

#[test]
fn groups_choose_the_kernel() {
    let options = |groups| ConvOptions { stride: 2, padding: 1, groups };
    for (groups, seen, outputs, kernel) in [
        (1, 1, 1, "gemm"),
        (1, 12, 8, "gemm"),
        (6, 2, 12, "grouped_conv"),
        (6, 1, 12, "grouped_conv"),
        (6, 1, 6, "depthwise_conv"),
    ] {
        let layer = Conv2d::new("conv", &Tensor::zeros([outputs, seen, 3, 3]), None, options(groups));
        let mut plan = Plan::new(2);
        let x = plan.input("x", 35, seen * groups);
        let pooled = plan.avg_pool(x, 2, 2, true);
        assert_eq!(plan.shape(pooled), Shape { images: 2, height: 18, width: 1, channels: seen * groups });
        let y = plan.conv2d(x, &layer, Activation::Relu);
        assert_eq!(plan.shape(y), Shape { images: 2, height: 18, width: 1, channels: outputs });
        assert_eq!(plan.dispatch_counts(), BTreeMap::from([("avg_pool", 1), (kernel, 1)]));
    }
}

#[test]
fn work_is_counted_with_padding() {
    let mut plan = Plan::new(3);
    let x = plan.input("x", 10, 6);
    let y = plan.linear(x, &Linear::new("a", &Tensor::zeros([5, 6]), None), Activation::Relu);
    let z = plan.linear_add(y, &Linear::new("b", &Tensor::zeros([6, 5]), None), x, Activation::Identity);
    plan.output("z", z);
    // 30 rows, both widths padded to 8; a multiply-add is two.
    assert_eq!(plan.flops(), 2 * (2 * 30 * 8 * 8));
    // x, weight, bias and the bias in the residual's place, y; then y, weight, bias, x, z.
    assert_eq!(plan.bytes(), 4 * (240 + 64 + 8 + 8 + 240) + 4 * (240 + 64 + 8 + 240 + 240));
    assert_eq!(plan.dispatch_counts(), BTreeMap::from([("gemm", 2)]));
    let listing = plan.to_string();
    assert!(listing.ends_with("2 dispatches, 0.000 GFLOP, 0.0 MiB moved"), "{listing}");
    assert_eq!(listing.lines().count(), 4);
}

/// One step of a random plan: which operation, on which of the values so far, and how wide its result is.
#[derive(Debug, Clone)]
struct Step {
    operation: u8,
    operands: [prop::sample::Index; 2],
    channels: usize,
    is_output: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..5u8, any::<[prop::sample::Index; 2]>(), 1..40usize, prop::bool::weighted(0.1));
    let step =
        step.prop_map(|(operation, operands, channels, is_output)| Step { operation, operands, channels, is_output });
    prop::collection::vec(step, 1..40)
}

fn record(steps: &[Step]) -> Plan {
    let mut plan = Plan::new(2);
    let mut values = vec![plan.input("a", 6, 9), plan.input("b", 6, 4)];
    for (number, step) in steps.iter().enumerate() {
        let [x, y] = step.operands.map(|operand| *operand.get(&values));
        let (inputs, outputs) = (plan.shape(x).channels, step.channels);
        let linear = |outputs| Linear::new("linear", &Tensor::zeros([outputs, inputs]), None);
        let var = match step.operation {
            0 => plan.linear(x, &linear(outputs), Activation::Gelu),
            1 if plan.shape(y).rows() == plan.shape(x).rows() => {
                plan.linear_add(x, &linear(plan.shape(y).channels), y, Activation::Identity)
            }
            2 => plan.l2_normalize(x),
            3 => {
                // Counts are read outside the pass, and no verb takes them.
                let concepts = plan.shape(x).channels;
                plan.map_counts(x, None, &[vec![0, 1], vec![0]], 0..concepts);
                continue;
            }
            _ => plan.layer_norm(x, &LayerNorm::new("norm", &vec![1.0; inputs], &vec![0.0; inputs], 1e-5)),
        };
        values.push(var);
        if step.is_output {
            plan.output(number.to_string(), var);
        }
    }
    plan
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn no_two_live_values_share_a_slot(steps in steps()) {
        check_slots(&record(&steps));
    }
}
