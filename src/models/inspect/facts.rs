//! A loaded network in figures.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use crate::image::Preprocess;
use crate::kernels::Profile;
use crate::models::classifier::{NAME_KEYS, is_timm};
use crate::models::{Classifier, Clip, Model};
use crate::plan::{Plan, Shape, Source};
use crate::weights::ModelFiles;

/// A network and what belongs to it.
#[derive(Debug, Serialize)]
pub struct ModelFacts {
    /// The architecture in words, a line for each tower.
    pub architecture: Vec<String>,
    /// The activation of each tower.
    pub activations: BTreeMap<&'static str, &'static str>,
    /// The number of values of a classifier's feature, or of CLIP's embedding.
    pub features: usize,
    /// A classifier's classes.
    pub classes: Option<ClassFacts>,
    /// CLIP's text side.
    pub text: Option<TextFacts>,
    /// How pictures are prepared, in words.
    pub preprocess: String,
    /// The same as data.
    pub preprocess_steps: Preprocess,
    /// The file that says so; none = torchvision's preset.
    pub preprocess_source: Option<String>,
    /// The work and memory of each tower.
    pub plans: Vec<PlanFacts>,
}

/// A classifier's classes.
#[derive(Debug, Serialize)]
pub struct ClassFacts {
    /// How many there are.
    pub count: usize,
    /// What names them, such as ``config.json `id2label` ``; none where nothing does.
    pub names_from: Option<String>,
    /// Their names in the order of the logits, if there are any.
    pub names: Option<Vec<String>>,
}

/// What CLIP's text tower takes.
#[derive(Debug, Serialize)]
pub struct TextFacts {
    /// Tokens of a prompt, start and end included.
    pub context: usize,
    /// Rows of the token embedding.
    pub vocabulary: usize,
    /// Ids that the tokenizer makes, up to the largest.
    pub tokenizer: usize,
    /// The id before every prompt.
    pub start: u32,
    /// The id behind every prompt.
    pub end: u32,
    /// The factor of cosines in zero-shot logits.
    pub logit_scale: f32,
}

/// The work and memory of one forward pass.
#[derive(Debug, Serialize)]
pub struct PlanFacts {
    /// What it takes: `image` or `text`.
    pub input: &'static str,
    /// Operations for one input, a multiply-add counted as two.
    pub flops: u64,
    /// Dispatches of a run.
    pub dispatches: usize,
    /// Distinct pipelines on hardware.
    pub pipelines: usize,
    /// Inputs a run, to which the figures below belong.
    pub batch: usize,
    /// Bytes of all parameters, packed in the precision asked for.
    pub parameter_bytes: u64,
    /// Bytes of all inputs, intermediate values and results.
    pub value_bytes: u64,
    /// Bytes on the GPU: parameters, values, and results once more for reading them back.
    pub gpu_bytes: u64,
    /// The largest parameter; an adapter that can't bind it gets it in parts.
    pub largest_parameter: Option<Largest>,
    /// The largest value, which an adapter must be able to bind whole.
    pub largest_value: Option<Largest>,
}

/// The largest of several buffers.
#[derive(Debug, Serialize)]
pub struct Largest {
    /// What it is: a tensor's name, or a kernel's result with its extents.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

impl ModelFacts {
    pub(super) fn of(model: &Model, files: &ModelFiles, batch: usize) -> Self {
        let preprocess = model.preprocess();
        let base = |architecture: Vec<String>, features: usize| Self {
            architecture,
            activations: BTreeMap::new(),
            features,
            classes: None,
            text: None,
            preprocess: preprocess.describe(),
            preprocess_steps: preprocess.clone(),
            preprocess_source: preprocess_source(model, files),
            plans: Vec::new(),
        };
        match model {
            Model::Classifier(classifier) => {
                let network = classifier.network();
                Self {
                    activations: BTreeMap::from([("network", network.activation().name())]),
                    classes: Some(ClassFacts::of(classifier, files)),
                    plans: vec![PlanFacts::of("image", batch, |plan| record_classifier(classifier, plan))],
                    ..base(vec![network.describe()], network.feature_dim())
                }
            }
            Model::Clip(clip) => {
                let towers = vec![clip.vision().describe(), clip.text().describe()];
                let activations = [("image", clip.vision().activation()), ("text", clip.text().activation())]
                    .map(|(tower, activation)| (tower, activation.name()));
                Self {
                    activations: BTreeMap::from(activations),
                    text: Some(TextFacts::of(clip)),
                    plans: vec![
                        PlanFacts::of("image", batch, |plan| record_image(clip, plan)),
                        PlanFacts::of("text", batch, |plan| record_text(clip, plan)),
                    ],
                    ..base(towers, clip.embedding_dim())
                }
            }
        }
    }
}

/// The configuration file that a model's preprocessing comes from.
fn preprocess_source(model: &Model, files: &ModelFiles) -> Option<String> {
    // transformers' config.json says nothing of pictures, timm's does.
    let own = match model {
        Model::Clip(_) => files.config("open_clip_config.json"),
        Model::Classifier(_) => files.config("config.json").filter(|config| is_timm(config)),
    };
    let config = own.or_else(|| Some(files.image_processor().ok()?.1))?;
    Path::new(config.name()).file_name().map(|name| name.to_string_lossy().into_owned())
}

fn record_classifier(classifier: &Classifier, plan: &mut Plan) {
    let pixels = classifier.input(plan);
    let output = classifier.record(plan, pixels);
    plan.output("features", output.features);
    plan.output("logits", output.logits);
}

fn record_image(clip: &Clip, plan: &mut Plan) {
    let pixels = clip.image_input(plan);
    let embeddings = clip.record_image(plan, pixels);
    plan.output("embeddings", embeddings);
}

fn record_text(clip: &Clip, plan: &mut Plan) {
    let ids = clip.text_input(plan);
    let embeddings = clip.record_text(plan, ids);
    plan.output("embeddings", embeddings);
}

impl ClassFacts {
    fn of(classifier: &Classifier, files: &ModelFiles) -> Self {
        let config = files.config("config.json");
        let key = config.and_then(|config| NAME_KEYS.into_iter().find(|key| config.get(key).is_some()));
        Self {
            count: classifier.network().num_classes(),
            names_from: key.map(|key| format!("config.json `{key}`")),
            names: classifier.class_names().map(<[String]>::to_vec),
        }
    }
}

impl TextFacts {
    fn of(clip: &Clip) -> Self {
        let tokenizer = clip.tokenizer();
        Self {
            context: clip.text().context(),
            vocabulary: clip.text().vocabulary(),
            tokenizer: tokenizer.vocabulary_size(),
            start: tokenizer.start(),
            end: tokenizer.end(),
            logit_scale: clip.logit_scale(),
        }
    }
}

impl PlanFacts {
    fn of(input: &'static str, batch: usize, record: impl Fn(&mut Plan)) -> Self {
        let recorded = |batch| {
            let mut plan = Plan::new(batch);
            record(&mut plan);
            plan
        };
        let (one, plan) = (recorded(1), recorded(batch));
        let (parameters, memory) = (plan.parameters(), plan.memory());
        Self {
            input,
            flops: one.flops(),
            dispatches: plan.dispatches().len(),
            pipelines: pipelines(&plan),
            batch,
            parameter_bytes: memory.parameters,
            value_bytes: memory.values,
            gpu_bytes: memory.total(),
            largest_parameter: parameters
                .iter()
                .max_by_key(|parameter| parameter.bytes())
                .map(|parameter| Largest { name: parameter.name().to_owned(), bytes: parameter.bytes() }),
            largest_value: largest_value(&plan),
        }
    }
}

/// The distinct pipelines that a plan needs on hardware: modules with their constants.
fn pipelines(plan: &Plan) -> usize {
    let launches = plan.dispatches().iter().map(|dispatch| dispatch.kernel.launch(Profile::Hardware));
    launches.map(|launch| (launch.shader.label, launch.constants)).collect::<BTreeSet<_>>().len()
}

fn largest_value(plan: &Plan) -> Option<Largest> {
    let results = plan.dispatches().iter().map(|dispatch| (dispatch.kernel.name(), dispatch.output));
    let inputs = plan.dispatches().iter().flat_map(|dispatch| &dispatch.reads).filter_map(|source| match source {
        Source::Var(var) => {
            plan.inputs().iter().find(|(_, input)| input == var).map(|(name, var)| (name.as_str(), *var))
        }
        Source::Parameter(_) | Source::Winograd(_) | Source::Constant(_) => None,
    });
    let (name, var) = results.chain(inputs).max_by_key(|(_, var)| plan.value(*var).len)?;
    let Shape { images, height, width, channels } = plan.shape(var);
    let name = format!("{name}: {images}×{height}×{width}×{channels}");
    Some(Largest { name, bytes: plan.value(var).bytes() })
}
