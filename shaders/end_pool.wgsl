// The row of each prompt's end token: the first of the largest id, or the first of a given id (the first token of all
// where it doesn't occur).

struct Params {
    images: u32,
    tokens: u32,
    channels4: u32,
    // 0: the largest id marks the end; otherwise the id itself, plus 1.
    end: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> ids: array<u32>;
@group(0) @binding(3) var<storage, read_write> output: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = (group.y * groups.x + group.x) * 64u + lane;
    if index >= params.images * params.channels4 {
        return;
    }
    let image = index / params.channels4;
    var found = 0u;
    var best = 0u;
    for (var t = 0u; t < params.tokens; t++) {
        let id = ids[image * params.tokens + t];
        let rank = select(u32(id + 1u == params.end), id + 1u, params.end == 0u);
        if rank > best {
            best = rank;
            found = t;
        }
    }
    output[index] = input[(image * params.tokens + found) * params.channels4 + index % params.channels4];
}
