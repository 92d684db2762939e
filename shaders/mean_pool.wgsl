// The mean over all rows of each image.

struct Params {
    images: u32,
    rows: u32,
    channels4: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> output: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = (group.y * groups.x + group.x) * 64u + lane;
    if index >= params.images * params.channels4 {
        return;
    }
    let image = index / params.channels4;
    let first = image * params.rows * params.channels4 + index % params.channels4;
    var sum = vec4<f32>(0.0);
    for (var row = 0u; row < params.rows; row++) {
        sum += input[first + row * params.channels4];
    }
    output[index] = sum / f32(params.rows);
}
