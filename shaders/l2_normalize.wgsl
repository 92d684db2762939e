// Each row divided by its Euclidean length; one workgroup a row. A row of zeros stays zero.

struct Params {
    rows: u32,
    channels4: u32,
}

override LANES: u32 = 64;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> output: array<vec4<f32>>;

var<workgroup> partial: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * groups.x + group.x;
    if row >= params.rows {
        return;
    }
    let first = row * params.channels4;
    // Scaled by the largest magnitude, so that squares neither overflow nor vanish.
    var largest = 0.0;
    for (var c = lane; c < params.channels4; c += LANES) {
        let v = abs(input[first + c]);
        largest = max(largest, max(max(v.x, v.y), max(v.z, v.w)));
    }
    partial[lane] = largest;
    workgroupBarrier();
    for (var i = 0u; i < LANES; i++) {
        largest = max(largest, partial[i]);
    }
    workgroupBarrier();
    let inverse = select(1.0 / largest, 0.0, largest == 0.0);

    var square = 0.0;
    for (var c = lane; c < params.channels4; c += LANES) {
        let v = input[first + c] * inverse;
        square += dot(v, v);
    }
    partial[lane] = square;
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < LANES; i++) {
        sum += partial[i];
    }
    let scale = select(inverse / sqrt(sum), 0.0, largest == 0.0);
    for (var c = lane; c < params.channels4; c += LANES) {
        output[first + c] = input[first + c] * scale;
    }
}
