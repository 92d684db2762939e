// (A − ā)ᵀ (B − b̄) summed over the rows: a lane takes an 8×8 block of the product.

struct Params {
    rows: u32,
    left4: u32,
    right4: u32,
    right_blocks: u32,
    blocks: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> left: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> right: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> left_mean: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> right_mean: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> output: array<vec4<f32>>;

fn store(i4: u32, j4: u32, row0: vec4<f32>, row1: vec4<f32>, row2: vec4<f32>, row3: vec4<f32>) {
    if i4 < params.left4 && j4 < params.right4 {
        let first = 4u * i4 * params.right4 + j4;
        output[first] = row0;
        output[first + params.right4] = row1;
        output[first + 2u * params.right4] = row2;
        output[first + 3u * params.right4] = row3;
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let block = (group.y * groups.x + group.x) * 64u + lane;
    if block >= params.blocks {
        return;
    }
    let i0 = 2u * (block / params.right_blocks);
    let j0 = 2u * (block % params.right_blocks);
    // An odd last vec4 is read twice and written once.
    let i1 = min(i0 + 1u, params.left4 - 1u);
    let j1 = min(j0 + 1u, params.right4 - 1u);
    let i0_mean = left_mean[i0];
    let i1_mean = left_mean[i1];
    let j0_mean = right_mean[j0];
    let j1_mean = right_mean[j1];
    var sum00: array<vec4<f32>, 4>;
    var sum01: array<vec4<f32>, 4>;
    var sum10: array<vec4<f32>, 4>;
    var sum11: array<vec4<f32>, 4>;
    for (var n = 0u; n < params.rows; n++) {
        let a0 = left[n * params.left4 + i0] - i0_mean;
        let a1 = left[n * params.left4 + i1] - i1_mean;
        let b0 = right[n * params.right4 + j0] - j0_mean;
        let b1 = right[n * params.right4 + j1] - j1_mean;
        sum00[0] += a0.x * b0;
        sum00[1] += a0.y * b0;
        sum00[2] += a0.z * b0;
        sum00[3] += a0.w * b0;
        sum01[0] += a0.x * b1;
        sum01[1] += a0.y * b1;
        sum01[2] += a0.z * b1;
        sum01[3] += a0.w * b1;
        sum10[0] += a1.x * b0;
        sum10[1] += a1.y * b0;
        sum10[2] += a1.z * b0;
        sum10[3] += a1.w * b0;
        sum11[0] += a1.x * b1;
        sum11[1] += a1.y * b1;
        sum11[2] += a1.z * b1;
        sum11[3] += a1.w * b1;
    }
    store(i0, j0, sum00[0], sum00[1], sum00[2], sum00[3]);
    store(i0, j0 + 1u, sum01[0], sum01[1], sum01[2], sum01[3]);
    store(i0 + 1u, j0, sum10[0], sum10[1], sum10[2], sum10[3]);
    store(i0 + 1u, j0 + 1u, sum11[0], sum11[1], sum11[2], sum11[3]);
}
