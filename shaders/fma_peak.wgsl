// The rate of multiply-adds: chains that don't depend on one another, so that none waits, and nothing read meanwhile.
// Eight chains a lane are as many as the latency of a CPU's vector units needs, and few enough to stay in registers.

struct Params {
    lanes: u32,
    rounds: u32,
}

override LANES: u32 = 64;

@group(0) @binding(0) var<uniform> params: Params;
// The factor and the summand of every step; a compiler that knew them could do without the steps.
@group(0) @binding(1) var<storage, read> coefficients: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> output: array<vec4<f32>>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = (group.y * groups.x + group.x) * LANES + lane;
    if id >= params.lanes {
        return;
    }
    let factor = coefficients[0];
    let summand = coefficients[1];
    var x = vec4<f32>(f32(id % 1024u) / 1024.0);
    var y = x + 1.0;
    for (var round = 0u; round < params.rounds; round++) {
        x = fma(x, factor, summand);
        y = fma(y, factor, summand);
        x = fma(x, factor, summand);
        y = fma(y, factor, summand);
        x = fma(x, factor, summand);
        y = fma(y, factor, summand);
        x = fma(x, factor, summand);
        y = fma(y, factor, summand);
        x = fma(x, factor, summand);
        y = fma(y, factor, summand);
        x = fma(x, factor, summand);
        y = fma(y, factor, summand);
        x = fma(x, factor, summand);
        y = fma(y, factor, summand);
        x = fma(x, factor, summand);
        y = fma(y, factor, summand);
    }
    output[id] = x + y;
}
