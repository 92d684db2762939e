// Class token before each image's patches, and a position added to every token.

struct Params {
    images: u32,
    tokens: u32,
    channels4: u32,
    // Class tokens: 1, or as many as images.
    classes: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> patches: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> class_token: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> position: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> output: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = (group.y * groups.x + group.x) * 64u + lane;
    if index >= params.images * params.tokens * params.channels4 {
        return;
    }
    let channel = index % params.channels4;
    let row = index / params.channels4;
    let token = row % params.tokens;
    let image = row / params.tokens;
    var value = class_token[(image % params.classes) * params.channels4 + channel];
    if token > 0u {
        value = patches[(image * (params.tokens - 1u) + token - 1u) * params.channels4 + channel];
    }
    output[index] = value + position[token * params.channels4 + channel];
}
