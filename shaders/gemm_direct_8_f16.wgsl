// Convolution and matrix product with weights in f16 and a fused epilogue, for software adapters. Written by tests/support/gemm_text.rs.
//
// A lane holds 8 rows of four output channels in registers. The lanes of a workgroup lie along the output channels
// and read the same input, at an address that doesn't depend on the lane: a broadcast rather than a gather.

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
@group(0) @binding(2) var<storage, read> weight: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> output: array<vec4<f32>>;

fn unpack(halves: vec2<u32>) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(halves.x), unpack2x16float(halves.y));
}

override LANES: u32 = 8;

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

// Index of an image's first pixel, and the image's row and column under the window's first tap (wrapping below 0).
fn origin_of(row: u32) -> vec3<u32> {
    let x = row % params.out_width;
    let y = (row / params.out_width) % params.out_height;
    let image = row / (params.out_width * params.out_height);
    return vec3<u32>(
        x * params.stride - params.padding,
        y * params.stride - params.padding,
        image * params.in_height * params.in_width,
    );
}

// The vec4s of weights of one product.
fn weights4() -> u32 {
    return params.window_height * params.window_width * 4u * params.inputs4 * params.outputs4;
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column_tiles = (params.outputs4 + LANES - 1u) / LANES;
    let tiles = (params.rows + 7u) / 8u * column_tiles;
    let index = group.y * groups.x + group.x;
    let product = index / tiles;
    if product >= params.products {
        return;
    }
    let row = product * params.rows + index % tiles / column_tiles * 8u;
    let end = (product + 1u) * params.rows;
    let column = index % column_tiles * LANES + lane;
    // Lanes past the end compute the last column again and don't store it.
    var w = product * weights4() + min(column, params.outputs4 - 1u);
    let origin0 = origin_of(min(row + 0u, end - 1u));
    let image0 = origin0.z;
    let origin1 = origin_of(min(row + 1u, end - 1u));
    let image1 = origin1.z;
    let origin2 = origin_of(min(row + 2u, end - 1u));
    let image2 = origin2.z;
    let origin3 = origin_of(min(row + 3u, end - 1u));
    let image3 = origin3.z;
    let origin4 = origin_of(min(row + 4u, end - 1u));
    let image4 = origin4.z;
    let origin5 = origin_of(min(row + 5u, end - 1u));
    let image5 = origin5.z;
    let origin6 = origin_of(min(row + 6u, end - 1u));
    let image6 = origin6.z;
    let origin7 = origin_of(min(row + 7u, end - 1u));
    let image7 = origin7.z;
    var sum0 = vec4<f32>(0.0);
    var sum1 = vec4<f32>(0.0);
    var sum2 = vec4<f32>(0.0);
    var sum3 = vec4<f32>(0.0);
    var sum4 = vec4<f32>(0.0);
    var sum5 = vec4<f32>(0.0);
    var sum6 = vec4<f32>(0.0);
    var sum7 = vec4<f32>(0.0);
    for (var dy = 0u; dy < params.window_height; dy++) {
        for (var dx = 0u; dx < params.window_width; dx++) {
            let y0 = origin0.y + dy;
            let x0 = origin0.x + dx;
            let y1 = origin1.y + dy;
            let x1 = origin1.x + dx;
            let y2 = origin2.y + dy;
            let x2 = origin2.x + dx;
            let y3 = origin3.y + dy;
            let x3 = origin3.x + dx;
            let y4 = origin4.y + dy;
            let x4 = origin4.x + dx;
            let y5 = origin5.y + dy;
            let x5 = origin5.x + dx;
            let y6 = origin6.y + dy;
            let x6 = origin6.x + dx;
            let y7 = origin7.y + dy;
            let x7 = origin7.x + dx;
            let inside0 = y0 < params.in_height && x0 < params.in_width;
            let source0 = select(0u, (image0 + y0 * params.in_width + x0) * params.inputs4, inside0);
            let inside1 = y1 < params.in_height && x1 < params.in_width;
            let source1 = select(0u, (image1 + y1 * params.in_width + x1) * params.inputs4, inside1);
            let inside2 = y2 < params.in_height && x2 < params.in_width;
            let source2 = select(0u, (image2 + y2 * params.in_width + x2) * params.inputs4, inside2);
            let inside3 = y3 < params.in_height && x3 < params.in_width;
            let source3 = select(0u, (image3 + y3 * params.in_width + x3) * params.inputs4, inside3);
            let inside4 = y4 < params.in_height && x4 < params.in_width;
            let source4 = select(0u, (image4 + y4 * params.in_width + x4) * params.inputs4, inside4);
            let inside5 = y5 < params.in_height && x5 < params.in_width;
            let source5 = select(0u, (image5 + y5 * params.in_width + x5) * params.inputs4, inside5);
            let inside6 = y6 < params.in_height && x6 < params.in_width;
            let source6 = select(0u, (image6 + y6 * params.in_width + x6) * params.inputs4, inside6);
            let inside7 = y7 < params.in_height && x7 < params.in_width;
            let source7 = select(0u, (image7 + y7 * params.in_width + x7) * params.inputs4, inside7);
            if inside0 && inside1 && inside2 && inside3 && inside4 && inside5 && inside6 && inside7 {
                for (var c = 0u; c < params.inputs4; c++) {
                    let a0 = input[source0 + c];
                    let a1 = input[source1 + c];
                    let a2 = input[source2 + c];
                    let a3 = input[source3 + c];
                    let a4 = input[source4 + c];
                    let a5 = input[source5 + c];
                    let a6 = input[source6 + c];
                    let a7 = input[source7 + c];
                    let w0 = unpack(weight[w + 0u * params.outputs4]);
                    let w1 = unpack(weight[w + 1u * params.outputs4]);
                    let w2 = unpack(weight[w + 2u * params.outputs4]);
                    let w3 = unpack(weight[w + 3u * params.outputs4]);
                    sum0 += a0.x * w0;
                    sum1 += a1.x * w0;
                    sum2 += a2.x * w0;
                    sum3 += a3.x * w0;
                    sum4 += a4.x * w0;
                    sum5 += a5.x * w0;
                    sum6 += a6.x * w0;
                    sum7 += a7.x * w0;
                    sum0 += a0.y * w1;
                    sum1 += a1.y * w1;
                    sum2 += a2.y * w1;
                    sum3 += a3.y * w1;
                    sum4 += a4.y * w1;
                    sum5 += a5.y * w1;
                    sum6 += a6.y * w1;
                    sum7 += a7.y * w1;
                    sum0 += a0.z * w2;
                    sum1 += a1.z * w2;
                    sum2 += a2.z * w2;
                    sum3 += a3.z * w2;
                    sum4 += a4.z * w2;
                    sum5 += a5.z * w2;
                    sum6 += a6.z * w2;
                    sum7 += a7.z * w2;
                    sum0 += a0.w * w3;
                    sum1 += a1.w * w3;
                    sum2 += a2.w * w3;
                    sum3 += a3.w * w3;
                    sum4 += a4.w * w3;
                    sum5 += a5.w * w3;
                    sum6 += a6.w * w3;
                    sum7 += a7.w * w3;
                    w += 4u * params.outputs4;
                }
            } else {
                for (var c = 0u; c < params.inputs4; c++) {
                    let a0 = select(vec4<f32>(0.0), input[source0 + c], inside0);
                    let a1 = select(vec4<f32>(0.0), input[source1 + c], inside1);
                    let a2 = select(vec4<f32>(0.0), input[source2 + c], inside2);
                    let a3 = select(vec4<f32>(0.0), input[source3 + c], inside3);
                    let a4 = select(vec4<f32>(0.0), input[source4 + c], inside4);
                    let a5 = select(vec4<f32>(0.0), input[source5 + c], inside5);
                    let a6 = select(vec4<f32>(0.0), input[source6 + c], inside6);
                    let a7 = select(vec4<f32>(0.0), input[source7 + c], inside7);
                    let w0 = unpack(weight[w + 0u * params.outputs4]);
                    let w1 = unpack(weight[w + 1u * params.outputs4]);
                    let w2 = unpack(weight[w + 2u * params.outputs4]);
                    let w3 = unpack(weight[w + 3u * params.outputs4]);
                    sum0 += a0.x * w0;
                    sum1 += a1.x * w0;
                    sum2 += a2.x * w0;
                    sum3 += a3.x * w0;
                    sum4 += a4.x * w0;
                    sum5 += a5.x * w0;
                    sum6 += a6.x * w0;
                    sum7 += a7.x * w0;
                    sum0 += a0.y * w1;
                    sum1 += a1.y * w1;
                    sum2 += a2.y * w1;
                    sum3 += a3.y * w1;
                    sum4 += a4.y * w1;
                    sum5 += a5.y * w1;
                    sum6 += a6.y * w1;
                    sum7 += a7.y * w1;
                    sum0 += a0.z * w2;
                    sum1 += a1.z * w2;
                    sum2 += a2.z * w2;
                    sum3 += a3.z * w2;
                    sum4 += a4.z * w2;
                    sum5 += a5.z * w2;
                    sum6 += a6.z * w2;
                    sum7 += a7.z * w2;
                    sum0 += a0.w * w3;
                    sum1 += a1.w * w3;
                    sum2 += a2.w * w3;
                    sum3 += a3.w * w3;
                    sum4 += a4.w * w3;
                    sum5 += a5.w * w3;
                    sum6 += a6.w * w3;
                    sum7 += a7.w * w3;
                    w += 4u * params.outputs4;
                }
            }
        }
    }
    var sums = array<vec4<f32>, 8>(sum0, sum1, sum2, sum3, sum4, sum5, sum6, sum7);
    for (var r = row; r < min(row + 8u, end); r++) {
        store(r, end, column, sums[r - row]);
    }
}
