// Pairwise predicate counts by group, for software adapters with subgroups of 8 lanes or more.
//
// A workgroup is 8 lanes and takes 32 concepts i by 32 concepts j over one chunk of a group's rows. A lane holds the counts of
// all its i against four j in registers; it loads the four scores of j, and four of the 32 of i, which it hands to the others:
// such an adapter loads every lane's value by itself, even where all lanes ask for the same one. Scores are compared as
// integers of the same order, so that no adapter's flushing of denormals can turn a strict inequality into a tie.

struct Params {
    concepts: u32,
    concepts4: u32,
    chunks: u32,
    // Tiles of 32 by 32 of one chunk.
    block_groups: u32,
    // The first i, in vec4s, and the number of them.
    first4: u32,
    above: u32,
    above4: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scores: array<vec4<f32>>;
// Not read: counts in both of two operands take the other shader.
@group(0) @binding(2) var<storage, read> other_scores: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> listed: array<u32>;
// Group, first listed row, number of rows, 0.
@group(0) @binding(4) var<storage, read> chunks: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> counts: array<atomic<u32>>;

// A signed integer that orders as the float does; both zeros get the same one.
fn order(value: vec4<f32>) -> vec4<i32> {
    let raw = bitcast<vec4<i32>>(value);
    let bits = select(raw, vec4<i32>(0), raw == vec4<i32>(-2147483647 - 1));
    return bits ^ ((bits >> vec4<u32>(31u)) & vec4<i32>(0x7fffffff));
}

fn above(value: i32, others: vec4<i32>) -> vec4<u32> {
    return select(vec4<u32>(0u), vec4<u32>(1u), vec4<i32>(value) > others);
}

fn add(group: u32, i: u32, j4: u32, count: vec4<u32>) {
    for (var k = 0u; k < 4u; k++) {
        let j = 4u * j4 + k;
        if j < params.concepts && count[k] > 0u {
            atomicAdd(&counts[(group * params.above + i) * params.concepts + j], count[k]);
        }
    }
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = group.y * groups.x + group.x;
    let tile = index % params.block_groups;
    let number = index / params.block_groups;
    if number >= params.chunks {
        return;
    }
    let tiles_j = (params.concepts4 + 7u) / 8u;
    let first_i = tile / tiles_j * 32u;
    let j4 = tile % tiles_j * 8u + lane;
    // Lanes past the end take the last scores once more; what they count isn't added.
    let from_i = min(params.first4 + first_i / 4u + lane, params.concepts4 - 1u);
    let from_j = min(j4, params.concepts4 - 1u);
    let chunk = chunks[number];
    var count0 = vec4<u32>(0u);
    var count1 = vec4<u32>(0u);
    var count2 = vec4<u32>(0u);
    var count3 = vec4<u32>(0u);
    var count4 = vec4<u32>(0u);
    var count5 = vec4<u32>(0u);
    var count6 = vec4<u32>(0u);
    var count7 = vec4<u32>(0u);
    var count8 = vec4<u32>(0u);
    var count9 = vec4<u32>(0u);
    var count10 = vec4<u32>(0u);
    var count11 = vec4<u32>(0u);
    var count12 = vec4<u32>(0u);
    var count13 = vec4<u32>(0u);
    var count14 = vec4<u32>(0u);
    var count15 = vec4<u32>(0u);
    var count16 = vec4<u32>(0u);
    var count17 = vec4<u32>(0u);
    var count18 = vec4<u32>(0u);
    var count19 = vec4<u32>(0u);
    var count20 = vec4<u32>(0u);
    var count21 = vec4<u32>(0u);
    var count22 = vec4<u32>(0u);
    var count23 = vec4<u32>(0u);
    var count24 = vec4<u32>(0u);
    var count25 = vec4<u32>(0u);
    var count26 = vec4<u32>(0u);
    var count27 = vec4<u32>(0u);
    var count28 = vec4<u32>(0u);
    var count29 = vec4<u32>(0u);
    var count30 = vec4<u32>(0u);
    var count31 = vec4<u32>(0u);
    for (var n = 0u; n < chunk.z; n++) {
        let row = listed[chunk.y + n] * params.concepts4;
        let left = order(scores[row + from_i]);
        let right = order(scores[row + from_j]);
        count0 += above(subgroupBroadcast(left.x, 0u), right);
        count1 += above(subgroupBroadcast(left.y, 0u), right);
        count2 += above(subgroupBroadcast(left.z, 0u), right);
        count3 += above(subgroupBroadcast(left.w, 0u), right);
        count4 += above(subgroupBroadcast(left.x, 1u), right);
        count5 += above(subgroupBroadcast(left.y, 1u), right);
        count6 += above(subgroupBroadcast(left.z, 1u), right);
        count7 += above(subgroupBroadcast(left.w, 1u), right);
        count8 += above(subgroupBroadcast(left.x, 2u), right);
        count9 += above(subgroupBroadcast(left.y, 2u), right);
        count10 += above(subgroupBroadcast(left.z, 2u), right);
        count11 += above(subgroupBroadcast(left.w, 2u), right);
        count12 += above(subgroupBroadcast(left.x, 3u), right);
        count13 += above(subgroupBroadcast(left.y, 3u), right);
        count14 += above(subgroupBroadcast(left.z, 3u), right);
        count15 += above(subgroupBroadcast(left.w, 3u), right);
        count16 += above(subgroupBroadcast(left.x, 4u), right);
        count17 += above(subgroupBroadcast(left.y, 4u), right);
        count18 += above(subgroupBroadcast(left.z, 4u), right);
        count19 += above(subgroupBroadcast(left.w, 4u), right);
        count20 += above(subgroupBroadcast(left.x, 5u), right);
        count21 += above(subgroupBroadcast(left.y, 5u), right);
        count22 += above(subgroupBroadcast(left.z, 5u), right);
        count23 += above(subgroupBroadcast(left.w, 5u), right);
        count24 += above(subgroupBroadcast(left.x, 6u), right);
        count25 += above(subgroupBroadcast(left.y, 6u), right);
        count26 += above(subgroupBroadcast(left.z, 6u), right);
        count27 += above(subgroupBroadcast(left.w, 6u), right);
        count28 += above(subgroupBroadcast(left.x, 7u), right);
        count29 += above(subgroupBroadcast(left.y, 7u), right);
        count30 += above(subgroupBroadcast(left.z, 7u), right);
        count31 += above(subgroupBroadcast(left.w, 7u), right);
    }
    var sums = array<vec4<u32>, 32>(
        count0, count1, count2, count3, count4, count5, count6, count7,
        count8, count9, count10, count11, count12, count13, count14, count15,
        count16, count17, count18, count19, count20, count21, count22, count23,
        count24, count25, count26, count27, count28, count29, count30, count31,
    );
    let end = min(first_i + 32u, params.above);
    for (var i = first_i; i < end; i++) {
        add(chunk.x, i, j4, sums[i - first_i]);
    }
}
