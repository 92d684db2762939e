// The mean under each position of a window; a window that reaches past the image averages what it covers.

struct Params {
    images: u32,
    in_height: u32,
    in_width: u32,
    out_height: u32,
    out_width: u32,
    channels4: u32,
    window: u32,
    stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> output: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = (group.y * groups.x + group.x) * 64u + lane;
    let rows = params.images * params.out_height * params.out_width;
    if index >= rows * params.channels4 {
        return;
    }
    let channel = index % params.channels4;
    let row = index / params.channels4;
    let first_x = (row % params.out_width) * params.stride;
    let first_y = ((row / params.out_width) % params.out_height) * params.stride;
    let image = row / (params.out_width * params.out_height);
    let last_x = min(first_x + params.window, params.in_width);
    let last_y = min(first_y + params.window, params.in_height);

    var sum = vec4<f32>(0.0);
    for (var y = first_y; y < last_y; y++) {
        for (var x = first_x; x < last_x; x++) {
            sum += input[((image * params.in_height + y) * params.in_width + x) * params.channels4 + channel];
        }
    }
    output[index] = sum / f32((last_y - first_y) * (last_x - first_x));
}
