// Distances of single-input maps to stored maps: one workgroup takes one row of scores and one of its class's maps.
//
// The map of the row, h[i, j] = score i above score j, is never stored: its products with the stored weights are summed
// as the comparisons are made.

struct Params {
    rows: u32,
    concepts: u32,
    concepts4: u32,
    slots: u32,
    classes: u32,
    // The maps whose weights are bound.
    first: u32,
    count: u32,
}

override LANES: u32 = 64;

const NO_MAP: u32 = 0xffffffffu;
const ROOT: f32 = 1.0;
const COSINE: f32 = 2.0;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scores: array<vec4<f32>>;
// The class whose maps each row is compared with.
@group(0) @binding(2) var<storage, read> classes: array<u32>;
@group(0) @binding(3) var<storage, read> weights: array<vec4<f32>>;
// Offset, factor of ⟨h, W⟩, factor of Σh, form.
@group(0) @binding(4) var<storage, read> constants: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> table: array<u32>;
// Distance, ⟨h, W⟩, Σh, 0.
@group(0) @binding(6) var<storage, read_write> output: array<vec4<f32>>;

var<workgroup> partial: array<vec2<f32>, LANES>;

// An integer that orders as the float does; both zeros get the same one.
fn order(value: vec4<f32>) -> vec4<u32> {
    let raw = bitcast<vec4<u32>>(value);
    let bits = select(raw, vec4<u32>(0u), raw == vec4<u32>(0x80000000u));
    return bits ^ select(vec4<u32>(0x80000000u), vec4<u32>(0xffffffffu), bits >= vec4<u32>(0x80000000u));
}

fn distance_of(constant: vec4<f32>, product: f32, sum: f32) -> f32 {
    if constant.w == COSINE {
        return 1.0 - product * constant.y / sqrt(sum);
    }
    let value = constant.x + constant.y * product + constant.z * sum;
    return select(value, sqrt(max(value, 0.0)), constant.w == ROOT);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = group.y * groups.x + group.x;
    if index >= params.rows * params.slots {
        return;
    }
    let row = index / params.slots;
    let chosen = min(classes[row], params.classes - 1u);
    let map = table[chosen * params.slots + index % params.slots];
    if map == NO_MAP {
        if lane == 0u {
            output[index] = vec4<f32>(0.0);
        }
        return;
    }
    let at = map - params.first;
    if at >= params.count {
        return;
    }

    // The cells in steps of LANES vec4s, without a division a step.
    let step_i = LANES / params.concepts4;
    let step_j = LANES % params.concepts4;
    let first_score = row * params.concepts4;
    var i = lane / params.concepts4;
    var j4 = lane % params.concepts4;
    var product = 0.0;
    var sum = 0.0;
    while i < params.concepts {
        let left = order(scores[first_score + i / 4u])[i % 4u];
        let channel = 4u * j4 + vec4<u32>(0u, 1u, 2u, 3u);
        let above = vec4<u32>(left) > order(scores[first_score + j4]);
        let h = select(vec4<f32>(0.0), vec4<f32>(1.0), above & (channel < vec4<u32>(params.concepts)));
        product += dot(h, weights[(at * params.concepts + i) * params.concepts4 + j4]);
        sum += dot(h, vec4<f32>(1.0));
        i += step_i;
        j4 += step_j;
        if j4 >= params.concepts4 {
            j4 -= params.concepts4;
            i++;
        }
    }
    partial[lane] = vec2<f32>(product, sum);
    workgroupBarrier();
    if lane == 0u {
        var total = vec2<f32>(0.0);
        for (var k = 0u; k < LANES; k++) {
            total += partial[k];
        }
        let usable = total.y > 0.0;
        let distance = distance_of(constants[map], total.x, select(1.0, total.y, usable));
        output[index] = vec4<f32>(select(0.0, distance, usable), total, 0.0);
    }
}
