//! The networks in meganeura's graph, as its own models are built: norms of a ResNet folded into the weights and biases of
//! convolutions, patches cut out by the host.

use meganeura::graph::NodeId;
use meganeura::{Graph, Session, SessionConfig};
use peers::{CLASSES, EMBEDDING, Network, Noise, PATCH, SIZE, TEXT, Task, Tower, VISION, VOCABULARY, WIDTHS};

const EPSILON: f32 = 1e-5;

/// A graph under construction, and the scales of its parameters' random values around an offset.
struct Builder {
    graph: Graph,
    batch: u32,
    parameters: Vec<Parameter>,
}

struct Parameter {
    name: String,
    count: usize,
    offset: f32,
    scale: f32,
}

/// A picture or what became of one.
#[derive(Clone, Copy)]
struct Image {
    node: NodeId,
    channels: usize,
    size: usize,
}

impl Builder {
    fn new(batch: usize) -> Self {
        Self { graph: Graph::new(), batch: batch as u32, parameters: Vec::new() }
    }

    fn parameter(&mut self, shape: &[usize], offset: f32, scale: f32) -> NodeId {
        let name = format!("p{}", self.parameters.len());
        let node = self.graph.parameter(&name, shape);
        self.parameters.push(Parameter { name, count: shape.iter().product(), offset, scale });
        node
    }

    /// A weight whose results are as large as its inputs if `inputs` of them are summed.
    fn weight(&mut self, shape: &[usize], inputs: usize) -> NodeId {
        self.parameter(shape, 0.0, (3.0 / inputs as f32).sqrt())
    }

    fn bias(&mut self, count: usize) -> NodeId {
        self.parameter(&[count], 0.0, 0.1)
    }

    fn conv(&mut self, x: Image, outputs: usize, window: usize, stride: usize) -> Image {
        let [inputs, size] = [x.channels, x.size];
        let padding = window / 2;
        let taps = inputs * window * window;
        let kernel = self.weight(&[outputs * taps], taps);
        let bias = self.bias(outputs);
        let [window, stride, padding] = [window, stride, padding].map(|number| number as u32);
        let edge = size as u32;
        let node = self.graph.conv2d(
            x.node,
            kernel,
            self.batch,
            inputs as u32,
            edge,
            edge,
            outputs as u32,
            window,
            window,
            stride,
            padding,
        );
        let size = (edge + 2 * padding - window) / stride + 1;
        let node = self.graph.add_per_channel(node, bias, outputs as u32, size * size);
        Image { node, channels: outputs, size: size as usize }
    }

    fn rectified(&mut self, x: Image) -> Image {
        Image { node: self.graph.relu(x.node), ..x }
    }

    fn block(&mut self, x: Image, width: usize, stride: usize, bottleneck: bool) -> Image {
        // Outputs, window and stride of each convolution.
        let convs = match bottleneck {
            false => vec![(width, 3, stride), (width, 3, 1)],
            true => vec![(width, 1, 1), (width, 3, stride), (4 * width, 1, 1)],
        };
        let mut y = x;
        for (number, &(outputs, window, stride)) in convs.iter().enumerate() {
            y = self.conv(y, outputs, window, stride);
            if number + 1 < convs.len() {
                y = self.rectified(y);
            }
        }
        let shortcut = match x.channels != y.channels || stride > 1 {
            true => self.conv(x, y.channels, 1, stride),
            false => x,
        };
        let node = self.graph.add(y.node, shortcut.node);
        self.rectified(Image { node, ..y })
    }

    /// The logits of `pixels`.
    fn resnet(&mut self, depths: [usize; 4], bottleneck: bool, size: usize) -> NodeId {
        let node = self.graph.input("pixels", &[self.batch as usize * 3 * size * size]);
        let x = self.conv(Image { node, channels: 3, size }, WIDTHS[0], 7, 2);
        let x = self.rectified(x);
        let edge = x.size as u32;
        let node = self.graph.max_pool_2d(x.node, self.batch, x.channels as u32, edge, edge, 3, 3, 2, 1);
        let mut x = Image { node, size: (x.size - 1) / 2 + 1, ..x };
        for (layer, (width, depth)) in WIDTHS.into_iter().zip(depths).enumerate() {
            for block in 0..depth {
                let stride = if layer > 0 && block == 0 { 2 } else { 1 };
                x = self.block(x, width, stride, bottleneck);
            }
        }
        let spatial = (x.size * x.size) as u32;
        let mean = self.graph.global_avg_pool(x.node, self.batch, x.channels as u32, spatial);
        self.linear(mean, x.channels, CLASSES)
    }

    fn product(&mut self, x: NodeId, inputs: usize, outputs: usize) -> NodeId {
        let weight = self.weight(&[inputs, outputs], inputs);
        self.graph.matmul(x, weight)
    }

    fn linear(&mut self, x: NodeId, inputs: usize, outputs: usize) -> NodeId {
        let x = self.product(x, inputs, outputs);
        let bias = self.bias(outputs);
        self.graph.bias_add(x, bias)
    }

    fn norm(&mut self, x: NodeId, width: usize) -> NodeId {
        let weight = self.parameter(&[width], 1.0, 0.1);
        let bias = self.bias(width);
        self.graph.layer_norm(x, weight, bias, EPSILON)
    }

    /// The blocks of a tower on `[rows, width]`.
    fn transformer(&mut self, mut x: NodeId, tower: &Tower, causal: bool) -> NodeId {
        let (width, heads) = (tower.width, tower.heads() as u32);
        let head = (width / tower.heads()) as u32;
        for _ in 0..tower.depth {
            let y = self.norm(x, width);
            let [q, k, v] = [(); 3].map(|()| self.linear(y, width, width));
            let y = match causal {
                true => self.graph.causal_attention(q, k, v, heads, heads, head),
                false => self.graph.full_attention(q, k, v, heads, heads, head),
            };
            let y = self.linear(y, width, width);
            x = self.graph.add(x, y);
            let y = self.norm(x, width);
            let y = self.linear(y, width, 4 * width);
            let y = self.graph.gelu(y);
            let y = self.linear(y, 4 * width, width);
            x = self.graph.add(x, y);
        }
        x
    }

    fn embedding(&mut self, row: NodeId, tower: &Tower) -> NodeId {
        let row = self.graph.reshape(row, &[1, tower.width]);
        let row = self.norm(row, tower.width);
        self.product(row, tower.width, EMBEDDING)
    }

    /// The embedding of `patches`, `[49, 3072]`.
    fn vision(&mut self) -> NodeId {
        let Tower { width, rows, .. } = VISION;
        let (patches, values) = (rows - 1, 3 * PATCH * PATCH);
        let x = self.graph.input("patches", &[patches, values]);
        let x = self.product(x, values, width);
        let x = self.graph.reshape(x, &[patches * width]);
        let class = self.parameter(&[width], 0.0, 1.0);
        let x = self.graph.concat(class, x, 1, 1, patches as u32, width as u32);
        let x = self.graph.reshape(x, &[rows, width]);
        let positions = self.parameter(&[rows, width], 0.0, 1.0);
        let x = self.graph.add(x, positions);
        let x = self.norm(x, width);
        let x = self.transformer(x, &VISION, false);
        let x = self.graph.reshape(x, &[rows * width]);
        let class = self.graph.split_a(x, 1, 1, patches as u32, width as u32);
        self.embedding(class, &VISION)
    }

    /// The embedding of `ids`, `[77]`, the last of which is the end.
    fn text(&mut self) -> NodeId {
        let Tower { width, rows, .. } = TEXT;
        let ids = self.graph.input_u32("ids", &[rows]);
        let table = self.parameter(&[VOCABULARY, width], 0.0, 1.0);
        let x = self.graph.embedding(ids, table);
        let positions = self.parameter(&[rows, width], 0.0, 1.0);
        let x = self.graph.add(x, positions);
        let x = self.transformer(x, &TEXT, true);
        let x = self.graph.reshape(x, &[rows * width]);
        let end = self.graph.split_b(x, 1, rows as u32 - 1, 1, width as u32);
        self.embedding(end, &TEXT)
    }

    /// Compiles the graph for inference, with random weights.
    fn build(mut self, output: NodeId, numbers: &mut Noise) -> Session {
        self.graph.set_outputs(vec![output]);
        let mut session = meganeura::build(&self.graph, SessionConfig::inference_from_env()).0;
        for Parameter { name, count, offset, scale } in self.parameters {
            let mut values = numbers.values(count, scale);
            values.iter_mut().for_each(|value| *value += offset);
            session.set_parameter(&name, &values);
        }
        session
    }
}

fn run(session: &mut Session, outputs: usize) -> Vec<f32> {
    session.step();
    session.wait();
    session.read_output(outputs)
}

fn main() {
    let task = Task::from_arguments();
    let batch = task.batch;
    let mut builder = Builder::new(batch);
    let mut numbers = Noise::new();
    match task.network {
        Network::Resnet { depths, bottleneck, size } => {
            let output = builder.resnet(depths, bottleneck, size);
            let mut session = builder.build(output, &mut numbers);
            let pixels = numbers.values(batch * 3 * size * size, 1.0);
            task.measure(|| {
                session.set_input("pixels", &pixels);
                run(&mut session, batch * CLASSES)
            });
        }
        Network::Vision => {
            assert_eq!(batch, 1, "its attention takes one sequence");
            let output = builder.vision();
            let mut session = builder.build(output, &mut numbers);
            let patches = numbers.values(3 * SIZE * SIZE, 1.0);
            task.measure(|| {
                session.set_input("patches", &patches);
                run(&mut session, EMBEDDING)
            });
        }
        Network::Text => {
            assert_eq!(batch, 1, "its attention takes one sequence");
            let output = builder.text();
            let mut session = builder.build(output, &mut numbers);
            let ids = numbers.prompt();
            task.measure(|| {
                session.set_input_u32("ids", &ids);
                run(&mut session, EMBEDDING)
            });
        }
    }
}
