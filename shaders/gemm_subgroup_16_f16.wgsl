// Convolution and matrix product with weights in f16 and a fused epilogue, for software adapters with subgroups of 8 lanes or more. Written by
// tests/support/gemm_text.rs.
//
// A workgroup is 8 lanes. A lane holds 16 rows of four output channels in registers, and of the input it loads only the
// rows of its own number: such an adapter loads every lane's value by itself, even where all lanes ask for the same one, while
// handing a value on to all lanes costs one instruction.

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

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row_tiles = (params.rows + 15u) / 16u;
    let tiles = row_tiles * ((params.outputs4 + 7u) / 8u);
    let index = group.y * groups.x + group.x;
    let product = index / tiles;
    if product >= params.products {
        return;
    }
    // All rows of one column of tiles come first: its weights stay in the cache.
    let row = product * params.rows + index % row_tiles * 16u;
    let end = (product + 1u) * params.rows;
    let column = index % tiles / row_tiles * 8u + lane;
    // Lanes past the end compute the last column again and don't store it.
    var w = product * weights4() + min(column, params.outputs4 - 1u);
    let origin0 = origin_of(min(row + 0u * 8u + lane, end - 1u));
    let origin1 = origin_of(min(row + 1u * 8u + lane, end - 1u));
    var sum0 = vec4<f32>(0.0);
    var sum1 = vec4<f32>(0.0);
    var sum2 = vec4<f32>(0.0);
    var sum3 = vec4<f32>(0.0);
    var sum4 = vec4<f32>(0.0);
    var sum5 = vec4<f32>(0.0);
    var sum6 = vec4<f32>(0.0);
    var sum7 = vec4<f32>(0.0);
    var sum8 = vec4<f32>(0.0);
    var sum9 = vec4<f32>(0.0);
    var sum10 = vec4<f32>(0.0);
    var sum11 = vec4<f32>(0.0);
    var sum12 = vec4<f32>(0.0);
    var sum13 = vec4<f32>(0.0);
    var sum14 = vec4<f32>(0.0);
    var sum15 = vec4<f32>(0.0);
    for (var dy = 0u; dy < params.window_height; dy++) {
        for (var dx = 0u; dx < params.window_width; dx++) {
            let y0 = origin0.y + dy;
            let x0 = origin0.x + dx;
            let inside0 = y0 < params.in_height && x0 < params.in_width;
            let source0 = select(0u, (origin0.z + y0 * params.in_width + x0) * params.inputs4, inside0);
            let y1 = origin1.y + dy;
            let x1 = origin1.x + dx;
            let inside1 = y1 < params.in_height && x1 < params.in_width;
            let source1 = select(0u, (origin1.z + y1 * params.in_width + x1) * params.inputs4, inside1);
            for (var c = 0u; c < params.inputs4; c++) {
                let a0 = select(vec4<f32>(0.0), input[source0 + c], inside0);
                let a1 = select(vec4<f32>(0.0), input[source1 + c], inside1);
                let w0 = unpack(weight[w + 0u * params.outputs4]);
                sum0 += subgroupBroadcast(a0.x, 0u) * w0;
                sum1 += subgroupBroadcast(a0.x, 1u) * w0;
                sum2 += subgroupBroadcast(a0.x, 2u) * w0;
                sum3 += subgroupBroadcast(a0.x, 3u) * w0;
                sum4 += subgroupBroadcast(a0.x, 4u) * w0;
                sum5 += subgroupBroadcast(a0.x, 5u) * w0;
                sum6 += subgroupBroadcast(a0.x, 6u) * w0;
                sum7 += subgroupBroadcast(a0.x, 7u) * w0;
                sum8 += subgroupBroadcast(a1.x, 0u) * w0;
                sum9 += subgroupBroadcast(a1.x, 1u) * w0;
                sum10 += subgroupBroadcast(a1.x, 2u) * w0;
                sum11 += subgroupBroadcast(a1.x, 3u) * w0;
                sum12 += subgroupBroadcast(a1.x, 4u) * w0;
                sum13 += subgroupBroadcast(a1.x, 5u) * w0;
                sum14 += subgroupBroadcast(a1.x, 6u) * w0;
                sum15 += subgroupBroadcast(a1.x, 7u) * w0;
                let w1 = unpack(weight[w + 1u * params.outputs4]);
                sum0 += subgroupBroadcast(a0.y, 0u) * w1;
                sum1 += subgroupBroadcast(a0.y, 1u) * w1;
                sum2 += subgroupBroadcast(a0.y, 2u) * w1;
                sum3 += subgroupBroadcast(a0.y, 3u) * w1;
                sum4 += subgroupBroadcast(a0.y, 4u) * w1;
                sum5 += subgroupBroadcast(a0.y, 5u) * w1;
                sum6 += subgroupBroadcast(a0.y, 6u) * w1;
                sum7 += subgroupBroadcast(a0.y, 7u) * w1;
                sum8 += subgroupBroadcast(a1.y, 0u) * w1;
                sum9 += subgroupBroadcast(a1.y, 1u) * w1;
                sum10 += subgroupBroadcast(a1.y, 2u) * w1;
                sum11 += subgroupBroadcast(a1.y, 3u) * w1;
                sum12 += subgroupBroadcast(a1.y, 4u) * w1;
                sum13 += subgroupBroadcast(a1.y, 5u) * w1;
                sum14 += subgroupBroadcast(a1.y, 6u) * w1;
                sum15 += subgroupBroadcast(a1.y, 7u) * w1;
                let w2 = unpack(weight[w + 2u * params.outputs4]);
                sum0 += subgroupBroadcast(a0.z, 0u) * w2;
                sum1 += subgroupBroadcast(a0.z, 1u) * w2;
                sum2 += subgroupBroadcast(a0.z, 2u) * w2;
                sum3 += subgroupBroadcast(a0.z, 3u) * w2;
                sum4 += subgroupBroadcast(a0.z, 4u) * w2;
                sum5 += subgroupBroadcast(a0.z, 5u) * w2;
                sum6 += subgroupBroadcast(a0.z, 6u) * w2;
                sum7 += subgroupBroadcast(a0.z, 7u) * w2;
                sum8 += subgroupBroadcast(a1.z, 0u) * w2;
                sum9 += subgroupBroadcast(a1.z, 1u) * w2;
                sum10 += subgroupBroadcast(a1.z, 2u) * w2;
                sum11 += subgroupBroadcast(a1.z, 3u) * w2;
                sum12 += subgroupBroadcast(a1.z, 4u) * w2;
                sum13 += subgroupBroadcast(a1.z, 5u) * w2;
                sum14 += subgroupBroadcast(a1.z, 6u) * w2;
                sum15 += subgroupBroadcast(a1.z, 7u) * w2;
                let w3 = unpack(weight[w + 3u * params.outputs4]);
                sum0 += subgroupBroadcast(a0.w, 0u) * w3;
                sum1 += subgroupBroadcast(a0.w, 1u) * w3;
                sum2 += subgroupBroadcast(a0.w, 2u) * w3;
                sum3 += subgroupBroadcast(a0.w, 3u) * w3;
                sum4 += subgroupBroadcast(a0.w, 4u) * w3;
                sum5 += subgroupBroadcast(a0.w, 5u) * w3;
                sum6 += subgroupBroadcast(a0.w, 6u) * w3;
                sum7 += subgroupBroadcast(a0.w, 7u) * w3;
                sum8 += subgroupBroadcast(a1.w, 0u) * w3;
                sum9 += subgroupBroadcast(a1.w, 1u) * w3;
                sum10 += subgroupBroadcast(a1.w, 2u) * w3;
                sum11 += subgroupBroadcast(a1.w, 3u) * w3;
                sum12 += subgroupBroadcast(a1.w, 4u) * w3;
                sum13 += subgroupBroadcast(a1.w, 5u) * w3;
                sum14 += subgroupBroadcast(a1.w, 6u) * w3;
                sum15 += subgroupBroadcast(a1.w, 7u) * w3;
                w += 4u * params.outputs4;
            }
        }
    }
    var sums = array<vec4<f32>, 16>(sum0, sum1, sum2, sum3, sum4, sum5, sum6, sum7, sum8, sum9, sum10, sum11, sum12, sum13, sum14, sum15);
    for (var r = row; r < min(row + 16u, end); r++) {
        store(r, end, column, sums[r - row]);
    }
}
