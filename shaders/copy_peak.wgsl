// The bandwidth of memory: every value read once and written once, 16 vec4s a lane, neighbours by neighbouring lanes.

struct Params {
    vectors: u32,
}

override LANES: u32 = 64;

const VECTORS: u32 = 16;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> output: array<vec4<f32>>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = (group.y * groups.x + group.x) * LANES * VECTORS + lane;
    for (var i = 0u; i < VECTORS; i++) {
        let index = first + i * LANES;
        if index < params.vectors {
            output[index] = input[index];
        }
    }
}
