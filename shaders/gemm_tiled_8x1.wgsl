// Convolution and matrix product with a fused epilogue, for GPUs. Written by tests/support/gemm_text.rs.
//
// 32 lanes share a tile of 32 rows by 32 output channels. Each step brings 16 inner channels of both operands into
// workgroup memory, where a lane reads 8 vec4s of input and 1 of weights for every 128 multiply-adds.

struct Params {
    // The rows of a product.
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
    // The vec4 of output channels that the weights start at, and those of a row of the output.
    first4: u32,
    stride4: u32,
    // How many products lie one behind another, each with weights of its own.
    products: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> output: array<vec4<f32>>;

// vec4s of a row of the input tile: four and one more, which keeps the lanes on different banks.
const PITCH: u32 = 5u;

var<workgroup> inputs: array<vec4<f32>, 160>;
var<workgroup> weights: array<vec4<f32>, 128>;

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

fn store(row: u32, end: u32, column: u32, sum: vec4<f32>) {
    if row >= end || column >= params.outputs4 {
        return;
    }
    let channel = params.first4 + column;
    let index = row * params.stride4 + channel;
    var value = sum + bias[channel];
    if params.residual != 0u {
        value += residual[index];
    }
    output[index] = activate(value);
}

@compute @workgroup_size(32)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column_tiles = (params.outputs4 + 7u) / 8u;
    let tiles = (params.rows + 31u) / 32u * column_tiles;
    let index = group.y * groups.x + group.x;
    let product = index / tiles;
    if product >= params.products {
        return;
    }
    let first_row = product * params.rows + index % tiles / column_tiles * 32u;
    let end = (product + 1u) * params.rows;
    let first_column = index % column_tiles * 8u;
    let tx = lane % 8u;
    let ty = lane / 8u;

    // The row this lane loads: its image, and the input pixel under the window's first tap (wrapping below 0).
    let r = min(first_row + lane, end - 1u);
    let origin_x = (r % params.out_width) * params.stride - params.padding;
    let origin_y = ((r / params.out_width) % params.out_height) * params.stride - params.padding;
    let image = (r / (params.out_width * params.out_height)) * params.in_height * params.in_width;
    // The tap and the vec4 of input channels that comes next, without a division a step.
    var dy = 0u;
    var dx = 0u;
    var c = 0u;

    let inner4 = params.window_height * params.window_width * params.inputs4;
    let first_weight = product * 4u * inner4 * params.outputs4;
    var sum0_0 = vec4<f32>(0.0);
    var sum1_0 = vec4<f32>(0.0);
    var sum2_0 = vec4<f32>(0.0);
    var sum3_0 = vec4<f32>(0.0);
    var sum4_0 = vec4<f32>(0.0);
    var sum5_0 = vec4<f32>(0.0);
    var sum6_0 = vec4<f32>(0.0);
    var sum7_0 = vec4<f32>(0.0);
    for (var k = 0u; k < inner4; k += 4u) {
        for (var step = 0u; step < 4u; step++) {
            let y = origin_y + dy;
            let x = origin_x + dx;
            let inside = dy < params.window_height && y < params.in_height && x < params.in_width;
            let source = select(0u, (image + y * params.in_width + x) * params.inputs4 + c, inside);
            inputs[lane * PITCH + step] = select(vec4<f32>(0.0), input[source], inside);
            c++;
            if c == params.inputs4 {
                c = 0u;
                dx++;
                if dx == params.window_width {
                    dx = 0u;
                    dy++;
                }
            }
        }
        for (var at = lane; at < 128u; at += 32u) {
            let row = 4u * k + at / 8u;
            let column = first_column + at % 8u;
            let inside = row < 4u * inner4 && column < params.outputs4;
            let source = select(0u, first_weight + row * params.outputs4 + column, inside);
            weights[at] = select(vec4<f32>(0.0), weight[source], inside);
        }
        workgroupBarrier();
        for (var k4 = 0u; k4 < 4u; k4++) {
            let a0 = inputs[(0u * 4u + ty) * PITCH + k4];
            let a1 = inputs[(1u * 4u + ty) * PITCH + k4];
            let a2 = inputs[(2u * 4u + ty) * PITCH + k4];
            let a3 = inputs[(3u * 4u + ty) * PITCH + k4];
            let a4 = inputs[(4u * 4u + ty) * PITCH + k4];
            let a5 = inputs[(5u * 4u + ty) * PITCH + k4];
            let a6 = inputs[(6u * 4u + ty) * PITCH + k4];
            let a7 = inputs[(7u * 4u + ty) * PITCH + k4];
            let w0_0 = weights[(4u * k4 + 0u) * 8u + tx + 8u * 0u];
            sum0_0 += a0.x * w0_0;
            sum1_0 += a1.x * w0_0;
            sum2_0 += a2.x * w0_0;
            sum3_0 += a3.x * w0_0;
            sum4_0 += a4.x * w0_0;
            sum5_0 += a5.x * w0_0;
            sum6_0 += a6.x * w0_0;
            sum7_0 += a7.x * w0_0;
            let w1_0 = weights[(4u * k4 + 1u) * 8u + tx + 8u * 0u];
            sum0_0 += a0.y * w1_0;
            sum1_0 += a1.y * w1_0;
            sum2_0 += a2.y * w1_0;
            sum3_0 += a3.y * w1_0;
            sum4_0 += a4.y * w1_0;
            sum5_0 += a5.y * w1_0;
            sum6_0 += a6.y * w1_0;
            sum7_0 += a7.y * w1_0;
            let w2_0 = weights[(4u * k4 + 2u) * 8u + tx + 8u * 0u];
            sum0_0 += a0.z * w2_0;
            sum1_0 += a1.z * w2_0;
            sum2_0 += a2.z * w2_0;
            sum3_0 += a3.z * w2_0;
            sum4_0 += a4.z * w2_0;
            sum5_0 += a5.z * w2_0;
            sum6_0 += a6.z * w2_0;
            sum7_0 += a7.z * w2_0;
            let w3_0 = weights[(4u * k4 + 3u) * 8u + tx + 8u * 0u];
            sum0_0 += a0.w * w3_0;
            sum1_0 += a1.w * w3_0;
            sum2_0 += a2.w * w3_0;
            sum3_0 += a3.w * w3_0;
            sum4_0 += a4.w * w3_0;
            sum5_0 += a5.w * w3_0;
            sum6_0 += a6.w * w3_0;
            sum7_0 += a7.w * w3_0;
        }
        workgroupBarrier();
    }
    store(first_row + 0u * 4u + ty, end, first_column + tx + 8u * 0u, sum0_0);
    store(first_row + 1u * 4u + ty, end, first_column + tx + 8u * 0u, sum1_0);
    store(first_row + 2u * 4u + ty, end, first_column + tx + 8u * 0u, sum2_0);
    store(first_row + 3u * 4u + ty, end, first_column + tx + 8u * 0u, sum3_0);
    store(first_row + 4u * 4u + ty, end, first_column + tx + 8u * 0u, sum4_0);
    store(first_row + 5u * 4u + ty, end, first_column + tx + 8u * 0u, sum5_0);
    store(first_row + 6u * 4u + ty, end, first_column + tx + 8u * 0u, sum6_0);
    store(first_row + 7u * 4u + ty, end, first_column + tx + 8u * 0u, sum7_0);
}
