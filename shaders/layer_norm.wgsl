// Layer normalisation: one workgroup a row, the mean first and then the variance around it.

struct Params {
    rows: u32,
    channels: u32,
    channels4: u32,
    epsilon: f32,
}

override LANES: u32 = 64;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> output: array<vec4<f32>>;

var<workgroup> partial: array<vec2<f32>, LANES>;

// The sum of every lane's value, added in the same order by all.
fn total(lane: u32, value: vec2<f32>) -> vec2<f32> {
    partial[lane] = value;
    workgroupBarrier();
    var sum = vec2<f32>(0.0);
    for (var i = 0u; i < LANES; i++) {
        sum += partial[i];
    }
    workgroupBarrier();
    return sum;
}

// The value's difference from the mean, zero in the channels that are padding.
fn deviation(value: vec4<f32>, mean: f32, channel4: u32) -> vec4<f32> {
    let channel = 4u * channel4 + vec4<u32>(0u, 1u, 2u, 3u);
    return select(vec4<f32>(0.0), value - mean, channel < vec4<u32>(params.channels));
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * groups.x + group.x;
    if row >= params.rows {
        return;
    }
    let first = row * params.channels4;
    let count = f32(params.channels);
    var sum = vec4<f32>(0.0);
    for (var c = lane; c < params.channels4; c += LANES) {
        sum += input[first + c];
    }
    let rounded_mean = total(lane, vec2<f32>(dot(sum, vec4<f32>(1.0)), 0.0)).x / count;

    // The deviations from the rounded mean sum to what rounding took from it: far from zero that is what counts.
    var deviations = vec2<f32>(0.0);
    for (var c = lane; c < params.channels4; c += LANES) {
        let d = deviation(input[first + c], rounded_mean, c);
        deviations += vec2<f32>(dot(d, vec4<f32>(1.0)), dot(d, d));
    }
    let moments = total(lane, deviations) / count;
    let scale = inverseSqrt(max(moments.y - moments.x * moments.x, 0.0) + params.epsilon);

    for (var c = lane; c < params.channels4; c += LANES) {
        let d = deviation(input[first + c], rounded_mean, c);
        output[first + c] = (d - moments.x) * scale * weight[c] + bias[c];
    }
}
