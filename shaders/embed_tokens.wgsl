// Token vectors looked up by id, with their positions added.

struct Params {
    rows: u32,
    tokens: u32,
    channels4: u32,
    vocabulary: u32,
    // The rows of the table that are bound.
    first: u32,
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> position: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> output: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = (group.y * groups.x + group.x) * 64u + lane;
    if index >= params.rows * params.channels4 {
        return;
    }
    let channel = index % params.channels4;
    let row = index / params.channels4;
    let id = min(ids[row], params.vocabulary - 1u);
    let at = id - params.first;
    if at >= params.count {
        return;
    }
    output[index] = table[at * params.channels4 + channel] + position[(row % params.tokens) * params.channels4 + channel];
}
