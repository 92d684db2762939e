// 8-bit RGB pixels, three bytes each, to activations of 3 channels: (byte · scale − mean) / std.

struct Params {
    mean: vec4<f32>,
    deviation: vec4<f32>,
    pixels: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> bytes: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<vec4<f32>>;

fn byte_at(index: u32) -> f32 {
    return f32((bytes[index / 4u] >> (8u * (index % 4u))) & 0xffu);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let pixel = (group.y * groups.x + group.x) * 64u + lane;
    if pixel >= params.pixels {
        return;
    }
    let color = vec4<f32>(byte_at(3u * pixel), byte_at(3u * pixel + 1u), byte_at(3u * pixel + 2u), 0.0);
    output[pixel] = (color * params.scale - params.mean) / params.deviation;
}
