// Convolution and matrix product as one writes them first: an invocation for each output, plain loops, nothing shared
// and nothing vectorised. The benches measure the real kernels against it.

struct Params {
    rows: u32,
    inputs: u32,
    outputs: u32,
    in_height: u32,
    in_width: u32,
    out_height: u32,
    out_width: u32,
    window_height: u32,
    window_width: u32,
    stride: u32,
    padding: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.rows * params.outputs {
        return;
    }
    let column = id.x % params.outputs;
    let row = id.x / params.outputs;
    let out_x = row % params.out_width;
    let out_y = (row / params.out_width) % params.out_height;
    let image = row / (params.out_width * params.out_height);
    var sum = bias[column];
    for (var dy = 0u; dy < params.window_height; dy++) {
        for (var dx = 0u; dx < params.window_width; dx++) {
            let y = out_y * params.stride + dy - params.padding;
            let x = out_x * params.stride + dx - params.padding;
            if y < params.in_height && x < params.in_width {
                let pixel = (image * params.in_height + y) * params.in_width + x;
                let tap = dy * params.window_width + dx;
                for (var c = 0u; c < params.inputs; c++) {
                    sum += input[pixel * params.inputs + c] * weight[(tap * params.inputs + c) * params.outputs + column];
                }
            }
        }
    }
    output[id.x] = sum;
}
