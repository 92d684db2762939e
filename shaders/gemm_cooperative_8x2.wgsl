enable f16;
enable wgpu_cooperative_matrix;

// Convolution and matrix product on cooperative matrices of 8×8, with weights in f16 and a fused epilogue. Written by
// tests/support/gemm_cooperative_text.rs.
//
// A workgroup makes a tile of 32 rows by 32 output channels, in four quarters of 2×2 matrices: each of its subgroups
// one, or several in turn where they are fewer. Each step brings 32 inner channels of both operands into workgroup memory and rounds
// the input to f16; sums are f32.

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
@group(0) @binding(2) var<storage, read> weight: array<vec4<f16>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> output: array<vec4<f32>>;

override LANES: u32 = 128;

var<workgroup> origins: array<vec3<u32>, 32>;
// The rows of the input and of the weights' inner channels, each 16 bytes longer than its values: that keeps them on different banks.
var<workgroup> inputs: array<f16, 1280>;
var<workgroup> weights: array<f16, 1280>;
// 8 rows of every quarter's sums.
var<workgroup> sums: array<f32, 512>;

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

// Stores 8 rows of each of the quarters that were made.
fn store_round(first: u32, subgroups: u32, first_row: u32, end: u32, first_column: u32, lane: u32) {
    for (var at = lane; at < 128u; at += LANES) {
        let quarter = at / 32u;
        let row = first_row + quarter / 2u * 16u + at / 4u % 8u;
        let column = first_column + quarter % 2u * 4u + at % 4u;
        if quarter >= first && quarter < first + subgroups {
            store(row, end, column, vec4<f32>(sums[4u * at + 0u], sums[4u * at + 1u], sums[4u * at + 2u], sums[4u * at + 3u]));
        }
    }
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
) {
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
    for (var row = lane; row < 32u; row += LANES) {
        origins[row] = origin_of(min(first_row + row, end - 1u));
    }
    let inner4 = params.window_height * params.window_width * params.inputs4;
    let first_weight = product * 4u * inner4 * params.outputs4;
    let step = lane % 8u;
    for (var first = 0u; first < 4u; first += subgroups) {
        // Subgroups past the last quarter make it again and don't store it.
        let quarter = min(first + subgroup, 3u);
        let down = quarter / 2u * 16u;
        let across = quarter % 2u * 16u;
        for (var at = lane; at < 512u; at += LANES) {
            sums[at] = f32();
        }
        workgroupBarrier();
        var sum0_0 = coopLoadT<coop_mat8x8<f32, C>>(&sums[0], 16u);
        var sum0_1 = coopLoadT<coop_mat8x8<f32, C>>(&sums[0], 16u);
        var sum1_0 = coopLoadT<coop_mat8x8<f32, C>>(&sums[0], 16u);
        var sum1_1 = coopLoadT<coop_mat8x8<f32, C>>(&sums[0], 16u);
        // The tap and the vec4 of input channels that this lane loads next.
        var dy = 0u;
        var dx = 0u;
        var c = step;
        for (var k = 0u; k < inner4; k += 8u) {
            for (; c >= params.inputs4; c -= params.inputs4) {
                dx++;
                if dx == params.window_width {
                    dx = 0u;
                    dy++;
                }
            }
            for (var row = lane / 8u; row < 32u; row += LANES / 8u) {
                let origin = origins[row];
                let y = origin.y + dy;
                let x = origin.x + dx;
                let inside = dy < params.window_height && y < params.in_height && x < params.in_width;
                let source = select(0u, (origin.z + y * params.in_width + x) * params.inputs4 + c, inside);
                let at = row * 40u + step * 4u;
                let value = vec4<f16>(select(vec4<f32>(0.0), input[source], inside));
                inputs[at + 0u] = value[0];
                inputs[at + 1u] = value[1];
                inputs[at + 2u] = value[2];
                inputs[at + 3u] = value[3];
            }
            c += 8u;
            for (var vector = lane; vector < 256u; vector += LANES) {
                let row = 4u * k + vector / 8u;
                let column = first_column + vector % 8u;
                let inside = row < 4u * inner4 && column < params.outputs4;
                let source = select(0u, first_weight + row * params.outputs4 + column, inside);
                let at = vector / 8u * 40u + vector % 8u * 4u;
                let value = select(vec4<f16>(), weight[source], inside);
                weights[at + 0u] = value[0];
                weights[at + 1u] = value[1];
                weights[at + 2u] = value[2];
                weights[at + 3u] = value[3];
            }
            workgroupBarrier();
            for (var inner = 0u; inner < 32u; inner += 8u) {
                let a0 = coopLoadT<coop_mat8x8<f16, A>>(&inputs[(down + 0u * 8u) * 40u + inner / 1u], 40u);
                let a1 = coopLoadT<coop_mat8x8<f16, A>>(&inputs[(down + 1u * 8u) * 40u + inner / 1u], 40u);
                let b0 = coopLoadT<coop_mat8x8<f16, B>>(&weights[inner * 40u + (across + 0u * 8u) / 1u], 40u);
                let b1 = coopLoadT<coop_mat8x8<f16, B>>(&weights[inner * 40u + (across + 1u * 8u) / 1u], 40u);
                sum0_0 = coopMultiplyAdd(a0, b0, sum0_0);
                sum0_1 = coopMultiplyAdd(a0, b1, sum0_1);
                sum1_0 = coopMultiplyAdd(a1, b0, sum1_0);
                sum1_1 = coopMultiplyAdd(a1, b1, sum1_1);
            }
            workgroupBarrier();
        }
        if first + subgroup < 4u {
            coopStoreT(sum0_0, &sums[quarter * 128u + 0u * 8u], 16u);
            coopStoreT(sum0_1, &sums[quarter * 128u + 1u * 8u], 16u);
        }
        workgroupBarrier();
        store_round(first, subgroups, first_row + 0u, end, first_column, lane);
        workgroupBarrier();
        if first + subgroup < 4u {
            coopStoreT(sum1_0, &sums[quarter * 128u + 0u * 8u], 16u);
            coopStoreT(sum1_1, &sums[quarter * 128u + 1u * 8u], 16u);
        }
        workgroupBarrier();
        store_round(first, subgroups, first_row + 8u, end, first_column, lane);
        workgroupBarrier();
    }
}
