// Grouped convolution with a fused epilogue.
//
// Neighbouring groups are packed into blocks of whole vec4s: `block_inputs4` vec4s of input make `block_outputs4` vec4s of output.
// A lane holds four positions of one vec4 of output channels, so that each weight is used four times.

struct Params {
    rows: u32,
    inputs4: u32,
    outputs4: u32,
    activation: u32,
    in_height: u32,
    in_width: u32,
    out_height: u32,
    out_width: u32,
    window_height: u32,
    window_width: u32,
    stride: u32,
    padding: u32,
    residual: u32,
    block_inputs4: u32,
    block_outputs4: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> output: array<vec4<f32>>;

// Lanes of a workgroup, and how many of them lie along the output channels; the others lie along positions.
override LANES: u32 = 64;
override ACROSS: u32 = 8;

// The error function to 1.5e-7 (Abramowitz and Stegun 7.1.26). Past 10 it is 1, and its square would overflow.
fn erf(x: vec4<f32>) -> vec4<f32> {
    let a = min(abs(x), vec4<f32>(10.0));
    let t = 1.0 / (1.0 + 0.3275911 * a);
    let p = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
    return sign(x) * (1.0 - p * exp(-a * a));
}

fn activate(x: vec4<f32>) -> vec4<f32> {
    switch params.activation {
        case 1u: {
            return max(x, vec4<f32>(0.0));
        }
        case 2u: {
            return 0.5 * x * (1.0 + erf(x * 0.70710678));
        }
        case 3u: {
            return x / (1.0 + exp(min(-1.702 * x, vec4<f32>(80.0))));
        }
        default: {
            return x;
        }
    }
}

fn store(row: u32, column: u32, sum: vec4<f32>) {
    if row >= params.rows || column >= params.outputs4 {
        return;
    }
    let index = row * params.outputs4 + column;
    var value = sum + bias[column];
    if params.residual != 0u {
        value += residual[index];
    }
    output[index] = activate(value);
}

// Index of an image's first pixel, and the image's row and column under the window's first tap (wrapping below 0).
fn origin_of(row: u32) -> vec3<u32> {
    let r = min(row, params.rows - 1u);
    let x = r % params.out_width;
    let y = (r / params.out_width) % params.out_height;
    let image = r / (params.out_width * params.out_height);
    return vec3<u32>(
        x * params.stride - params.padding,
        y * params.stride - params.padding,
        image * params.in_height * params.in_width,
    );
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column_tiles = (params.outputs4 + ACROSS - 1u) / ACROSS;
    let index = group.y * groups.x + group.x;
    let column = (index % column_tiles) * ACROSS + lane % ACROSS;
    let row = ((index / column_tiles) * (LANES / ACROSS) + lane / ACROSS) * 4u;
    if row >= params.rows || column >= params.outputs4 {
        return;
    }
    // The last block may reach past the channels: its weights there belong to padding.
    let first = (column / params.block_outputs4) * params.block_inputs4;
    let inputs = min(params.block_inputs4, params.inputs4 - first);
    let origin0 = origin_of(row + 0u);
    let origin1 = origin_of(row + 1u);
    let origin2 = origin_of(row + 2u);
    let origin3 = origin_of(row + 3u);
    var sum0 = vec4<f32>(0.0);
    var sum1 = vec4<f32>(0.0);
    var sum2 = vec4<f32>(0.0);
    var sum3 = vec4<f32>(0.0);
    for (var dy = 0u; dy < params.window_height; dy++) {
        for (var dx = 0u; dx < params.window_width; dx++) {
            let y0 = origin0.y + dy;
            let x0 = origin0.x + dx;
            let inside0 = y0 < params.in_height && x0 < params.in_width;
            let source0 = select(0u, (origin0.z + y0 * params.in_width + x0) * params.inputs4 + first, inside0);
            let y1 = origin1.y + dy;
            let x1 = origin1.x + dx;
            let inside1 = y1 < params.in_height && x1 < params.in_width;
            let source1 = select(0u, (origin1.z + y1 * params.in_width + x1) * params.inputs4 + first, inside1);
            let y2 = origin2.y + dy;
            let x2 = origin2.x + dx;
            let inside2 = y2 < params.in_height && x2 < params.in_width;
            let source2 = select(0u, (origin2.z + y2 * params.in_width + x2) * params.inputs4 + first, inside2);
            let y3 = origin3.y + dy;
            let x3 = origin3.x + dx;
            let inside3 = y3 < params.in_height && x3 < params.in_width;
            let source3 = select(0u, (origin3.z + y3 * params.in_width + x3) * params.inputs4 + first, inside3);
            var w = (dy * params.window_width + dx) * params.block_inputs4 * 4u * params.outputs4 + column;
            for (var c = 0u; c < inputs; c++) {
                let a0 = select(vec4<f32>(0.0), input[source0 + c], inside0);
                let a1 = select(vec4<f32>(0.0), input[source1 + c], inside1);
                let a2 = select(vec4<f32>(0.0), input[source2 + c], inside2);
                let a3 = select(vec4<f32>(0.0), input[source3 + c], inside3);
                let w0 = weight[w + 0u * params.outputs4];
                let w1 = weight[w + 1u * params.outputs4];
                let w2 = weight[w + 2u * params.outputs4];
                let w3 = weight[w + 3u * params.outputs4];
                sum0 += a0.x * w0;
                sum1 += a1.x * w0;
                sum2 += a2.x * w0;
                sum3 += a3.x * w0;
                sum0 += a0.y * w1;
                sum1 += a1.y * w1;
                sum2 += a2.y * w1;
                sum3 += a3.y * w1;
                sum0 += a0.z * w2;
                sum1 += a1.z * w2;
                sum2 += a2.z * w2;
                sum3 += a3.z * w2;
                sum0 += a0.w * w3;
                sum1 += a1.w * w3;
                sum2 += a2.w * w3;
                sum3 += a3.w * w3;
                w += 4u * params.outputs4;
            }
        }
    }
    store(row + 0u, column, sum0);
    store(row + 1u, column, sum1);
    store(row + 2u, column, sum2);
    store(row + 3u, column, sum3);
}
