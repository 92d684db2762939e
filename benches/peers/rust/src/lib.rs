//! What the programs of this crate share: which network they run, its weights, and how a run is timed.

use std::env;
use std::time::Instant;

/// Which network runs on what.
pub enum Network {
    /// A ResNet with these blocks a layer, on pictures of `size`² pixels; its logits.
    Resnet { depths: [usize; 4], bottleneck: bool, size: usize },
    /// The image tower of CLIP ViT-B/32 on pictures of 224×224 pixels; its embeddings.
    Vision,
    /// The text tower of CLIP ViT-B/32 on prompts of 77 tokens; its embeddings.
    Text,
}

/// A tower of CLIP ViT-B/32.
pub struct Tower {
    /// Channels; heads are 64 of them wide.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Rows that attend to each other: patches and the class, or tokens.
    pub rows: usize,
}

/// The image tower.
pub const VISION: Tower = Tower { width: 768, depth: 12, rows: (SIZE / PATCH) * (SIZE / PATCH) + 1 };
/// The text tower.
pub const TEXT: Tower = Tower { width: 512, depth: 12, rows: 77 };
/// Pixels along an edge of its pictures.
pub const SIZE: usize = 224;
/// Pixels along an edge of a patch.
pub const PATCH: usize = 32;
/// Tokens that the text tower knows.
pub const VOCABULARY: usize = 49408;
/// Values of an embedding.
pub const EMBEDDING: usize = 512;
/// Classes of a ResNet.
pub const CLASSES: usize = 1000;
/// Channels of a ResNet's four layers, inside of their blocks.
pub const WIDTHS: [usize; 4] = [64, 128, 256, 512];

impl Tower {
    /// The number of its heads.
    pub fn heads(&self) -> usize {
        self.width / 64
    }
}

/// What the arguments ask for: network, edge of its pictures (0 for prompts), batch, repetitions.
pub struct Task {
    pub network: Network,
    pub batch: usize,
    repetitions: usize,
    started: Instant,
}

impl Task {
    /// Reads the arguments; the time of the first result counts from here.
    pub fn from_arguments() -> Self {
        let started = Instant::now();
        let arguments: Vec<String> = env::args().skip(1).collect();
        let [name, size, batch, repetitions] = &arguments[..] else { panic!("usage: NETWORK SIZE BATCH REPETITIONS") };
        let number = |text: &String| text.parse().unwrap_or_else(|_| panic!("{text} is no number"));
        let network = match (name.as_str(), number(size)) {
            ("resnet18", size) => Network::Resnet { depths: [2, 2, 2, 2], bottleneck: false, size },
            ("resnet50", size) => Network::Resnet { depths: [3, 4, 6, 3], bottleneck: true, size },
            ("vit-b-32", SIZE) => Network::Vision,
            ("vit-b-32-text", 0) => Network::Text,
            _ => panic!("{name} at size {size} isn't here"),
        };
        Self { network, batch: number(batch), repetitions: number(repetitions), started }
    }

    /// Times `run`, which takes the network from its inputs in memory to its results in memory, and prints milliseconds: of the
    /// first result since the program began, and the median of the repetitions after one that doesn't count.
    pub fn measure(&self, mut run: impl FnMut() -> Vec<f32>) {
        let first = run();
        let first_ms = 1e3 * self.started.elapsed().as_secs_f64();
        let largest = first.iter().fold(0.0, |largest: f32, value| largest.max(value.abs()));
        assert!(
            first.iter().all(|value| value.is_finite()) && largest > 0.0,
            "the results are no numbers, or all are 0"
        );
        let mut milliseconds: Vec<f64> = (0..=self.repetitions)
            .map(|_| {
                let start = Instant::now();
                let again = run();
                let milliseconds = 1e3 * start.elapsed().as_secs_f64();
                // Tuning may have changed the kernel, and with it the order of its sums.
                let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-3 * largest;
                assert!(again.len() == first.len() && again.iter().zip(&first).all(close), "runs differ");
                milliseconds
            })
            .skip(1)
            .collect();
        milliseconds.sort_by(f64::total_cmp);
        let middle = milliseconds.len() / 2;
        let median_ms = match milliseconds.len() % 2 {
            0 => (milliseconds[middle - 1] + milliseconds[middle]) / 2.0,
            _ => milliseconds[middle],
        };
        println!("{{\"first_ms\": {first_ms}, \"median_ms\": {median_ms}}}");
    }
}

/// Numbers in [-1, 1), by Marsaglia's xorshift (2003).
pub struct Noise(u64);

impl Noise {
    pub fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    fn word(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// `count` numbers in [-scale, scale).
    pub fn values(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| ((self.word() >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale).collect()
    }

    /// Ids of a prompt: start, words, end.
    pub fn prompt(&mut self) -> Vec<u32> {
        let word = |_| (self.word() % (VOCABULARY as u64 - 2)) as u32;
        let words: Vec<u32> = (2..TEXT.rows).map(word).collect();
        [&[VOCABULARY as u32 - 2][..], &words, &[VOCABULARY as u32 - 1]].concat()
    }
}

impl Default for Noise {
    fn default() -> Self {
        Self::new()
    }
}
