// Depthwise convolution (each channel by itself) with a fused epilogue.
//
// A lane holds four neighbouring positions of one row and one vec4 of channels. It walks along the input under all four windows and
// adds each value to those that cover it, so that a window of stride 1 reads hardly more than one position alone would.

struct Params {
    rows: u32,
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

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column_tiles = (params.outputs4 + ACROSS - 1u) / ACROSS;
    let index = group.y * groups.x + group.x;
    let column = (index % column_tiles) * ACROSS + lane % ACROSS;
    let tile = (index / column_tiles) * (LANES / ACROSS) + lane / ACROSS;
    let tiles_across = (params.out_width + 3u) / 4u;
    let line = tile / tiles_across;
    let x = (tile % tiles_across) * 4u;
    let row = line * params.out_width + x;
    if row >= params.rows || column >= params.outputs4 {
        return;
    }
    let image = line / params.out_height;
    // The input under the first window's first tap, wrapping below 0.
    let first_y = (line % params.out_height) * params.stride - params.padding;
    let first_x = x * params.stride - params.padding;
    let reach = 3u * params.stride + params.window_width;
    let last = params.window_width - 1u;
    var sum0 = vec4<f32>(0.0);
    var sum1 = vec4<f32>(0.0);
    var sum2 = vec4<f32>(0.0);
    var sum3 = vec4<f32>(0.0);
    for (var dy = 0u; dy < params.window_height; dy++) {
        let iy = first_y + dy;
        if iy >= params.in_height {
            continue;
        }
        let source = (image * params.in_height + iy) * params.in_width;
        let w = dy * params.window_width;
        var w0 = vec4<f32>(0.0);
        var w1 = vec4<f32>(0.0);
        var w2 = vec4<f32>(0.0);
        var w3 = vec4<f32>(0.0);
        for (var step = 0u; step < reach; step++) {
            let tap0 = step;
            let tap1 = step - params.stride;
            let tap2 = step - 2u * params.stride;
            let tap3 = step - 3u * params.stride;
            if params.stride == 1u {
                // What a position needs now is what its neighbour needed one step before.
                w3 = w2;
                w2 = w1;
                w1 = w0;
            } else {
                w1 = weight[(w + min(tap1, last)) * params.outputs4 + column];
                w2 = weight[(w + min(tap2, last)) * params.outputs4 + column];
                w3 = weight[(w + min(tap3, last)) * params.outputs4 + column];
            }
            w0 = weight[(w + min(tap0, last)) * params.outputs4 + column];
            let ix = first_x + step;
            if ix >= params.in_width {
                continue;
            }
            let value = input[(source + ix) * params.outputs4 + column];
            if tap0 < params.window_width {
                sum0 += value * w0;
            }
            if tap1 < params.window_width {
                sum1 += value * w1;
            }
            if tap2 < params.window_width {
                sum2 += value * w2;
            }
            if tap3 < params.window_width {
                sum3 += value * w3;
            }
        }
    }
    store(row, column, sum0);
    if x + 1u < params.out_width {
        store(row + 1u, column, sum1);
    }
    if x + 2u < params.out_width {
        store(row + 2u, column, sum2);
    }
    if x + 3u < params.out_width {
        store(row + 3u, column, sum3);
    }
}
