// The index of each row's largest value, the lowest index where several are equal; one workgroup a row.

struct Params {
    rows: u32,
    channels: u32,
    channels4: u32,
}

override LANES: u32 = 64;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

var<workgroup> values: array<f32, LANES>;
var<workgroup> indices: array<u32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * groups.x + group.x;
    if row >= params.rows {
        return;
    }
    var best = -3.4028235e38;
    var index = 0xffffffffu;
    for (var c = lane; c < params.channels; c += LANES) {
        let value = input[row * params.channels4 + c / 4u][c % 4u];
        if index == 0xffffffffu || value > best {
            best = value;
            index = c;
        }
    }
    values[lane] = best;
    indices[lane] = index;
    workgroupBarrier();
    if lane == 0u {
        for (var i = 1u; i < LANES; i++) {
            let taken = indices[i] != 0xffffffffu;
            if taken && (values[i] > best || (values[i] == best && indices[i] < index)) {
                best = values[i];
                index = indices[i];
            }
        }
        output[row] = index;
    }
}
