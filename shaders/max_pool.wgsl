// The largest value under each position of a window; positions in the padding don't take part.

struct Params {
    images: u32,
    in_height: u32,
    in_width: u32,
    out_height: u32,
    out_width: u32,
    channels4: u32,
    window_height: u32,
    window_width: u32,
    stride: u32,
    padding: u32,
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
    let x = row % params.out_width;
    let y = (row / params.out_width) % params.out_height;
    let image = row / (params.out_width * params.out_height);

    var best = vec4<f32>(-3.4028235e38);
    for (var dy = 0u; dy < params.window_height; dy++) {
        let iy = y * params.stride + dy - params.padding;
        if iy >= params.in_height {
            continue;
        }
        for (var dx = 0u; dx < params.window_width; dx++) {
            let ix = x * params.stride + dx - params.padding;
            if ix < params.in_width {
                let source = (image * params.in_height + iy) * params.in_width + ix;
                best = max(best, input[source * params.channels4 + channel]);
            }
        }
    }
    output[index] = best;
}
