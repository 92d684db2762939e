// Pairwise predicate counts by group: how many rows of a group have score i above score j, for a range of i and all j.
//
// A lane takes a 4×4 block of pairs over one chunk of a group's rows and adds its sums to the group's counts; integer
// sums don't depend on their order. Scores are compared as integers of the same order, so that no adapter's flushing
// of denormals can turn a strict inequality into a tie.

struct Params {
    concepts: u32,
    concepts4: u32,
    chunks: u32,
    block_groups: u32,
    // The first i, in vec4s, and the number of them.
    first4: u32,
    above: u32,
    above4: u32,
}

// Whether a row counts only if its order holds in both operands.
override JOINT: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scores: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> other_scores: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> listed: array<u32>;
// Group, first listed row, number of rows, 0.
@group(0) @binding(4) var<storage, read> chunks: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> counts: array<atomic<u32>>;

// An integer that orders as the float does; both zeros get the same one.
fn order(value: vec4<f32>) -> vec4<u32> {
    let raw = bitcast<vec4<u32>>(value);
    let bits = select(raw, vec4<u32>(0u), raw == vec4<u32>(0x80000000u));
    return bits ^ select(vec4<u32>(0x80000000u), vec4<u32>(0xffffffffu), bits >= vec4<u32>(0x80000000u));
}

fn above(value: u32, others: vec4<u32>) -> vec4<u32> {
    return select(vec4<u32>(0u), vec4<u32>(1u), vec4<u32>(value) > others);
}

fn add(group: u32, i: u32, j4: u32, count: vec4<u32>) {
    if i >= params.above {
        return;
    }
    for (var k = 0u; k < 4u; k++) {
        let j = 4u * j4 + k;
        if j < params.concepts && count[k] > 0u {
            atomicAdd(&counts[(group * params.above + i) * params.concepts + j], count[k]);
        }
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = group.y * groups.x + group.x;
    let block = (index % params.block_groups) * 64u + lane;
    let number = index / params.block_groups;
    if number >= params.chunks || block >= params.above4 * params.concepts4 {
        return;
    }
    let i4 = block / params.concepts4;
    let j4 = block % params.concepts4;
    let chunk = chunks[number];
    var count0 = vec4<u32>(0u);
    var count1 = vec4<u32>(0u);
    var count2 = vec4<u32>(0u);
    var count3 = vec4<u32>(0u);
    for (var n = 0u; n < chunk.z; n++) {
        let row = listed[chunk.y + n] * params.concepts4;
        let left = order(scores[row + params.first4 + i4]);
        let right = order(scores[row + j4]);
        var above0 = above(left.x, right);
        var above1 = above(left.y, right);
        var above2 = above(left.z, right);
        var above3 = above(left.w, right);
        if JOINT {
            let other_left = order(other_scores[row + params.first4 + i4]);
            let other_right = order(other_scores[row + j4]);
            above0 &= above(other_left.x, other_right);
            above1 &= above(other_left.y, other_right);
            above2 &= above(other_left.z, other_right);
            above3 &= above(other_left.w, other_right);
        }
        count0 += above0;
        count1 += above1;
        count2 += above2;
        count3 += above3;
    }
    add(chunk.x, 4u * i4, j4, count0);
    add(chunk.x, 4u * i4 + 1u, j4, count1);
    add(chunk.x, 4u * i4 + 2u, j4, count2);
    add(chunk.x, 4u * i4 + 3u, j4, count3);
}
