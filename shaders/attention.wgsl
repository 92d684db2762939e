// Softmax attention from packed rows Q|K|V, Q already scaled: one workgroup takes four queries of one head.
//
// The scores of the four queries stay in workgroup memory: the lanes first share out the keys, then the softmax, then
// the channels of the result.

struct Params {
    images: u32,
    tokens: u32,
    heads: u32,
    width4: u32,
    causal: u32,
}

override LANES: u32 = 64;
override TOKENS: u32 = 64;

const QUERIES: u32 = 4;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> output: array<vec4<f32>>;

// One vec4 a key: the scores, then the weights, of the four queries.
var<workgroup> scores: array<vec4<f32>, TOKENS>;
var<workgroup> partial: array<vec4<f32>, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let blocks = (params.tokens + QUERIES - 1u) / QUERIES;
    let index = group.y * groups.x + group.x;
    if index >= params.images * params.heads * blocks {
        return;
    }
    let block = index % blocks;
    let head = (index / blocks) % params.heads;
    let image = index / (blocks * params.heads);
    let channels4 = params.heads * params.width4;
    let pitch = 3u * channels4;
    let origin = image * params.tokens * pitch + head * params.width4;
    let last = params.tokens - 1u;
    // Past the end the last query is repeated; its results aren't written.
    let query = min(vec4<u32>(block * QUERIES) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(last));
    let keys = select(params.tokens, min(block * QUERIES + QUERIES, params.tokens), params.causal != 0u);

    let q = vec4<u32>(origin) + query * pitch;
    var largest = vec4<f32>(-3.4028235e38);
    for (var key = lane; key < keys; key += LANES) {
        let k = origin + channels4 + key * pitch;
        var score = vec4<f32>(0.0);
        for (var c = 0u; c < params.width4; c++) {
            let value = qkv[k + c];
            score += vec4<f32>(
                dot(qkv[q.x + c], value),
                dot(qkv[q.y + c], value),
                dot(qkv[q.z + c], value),
                dot(qkv[q.w + c], value),
            );
        }
        if params.causal != 0u {
            score = select(score, vec4<f32>(-3.4028235e38), vec4<u32>(key) > query);
        }
        scores[key] = score;
        largest = max(largest, score);
    }
    partial[lane] = largest;
    workgroupBarrier();
    for (var i = 0u; i < LANES; i++) {
        largest = max(largest, partial[i]);
    }
    workgroupBarrier();

    var sum = vec4<f32>(0.0);
    for (var key = lane; key < keys; key += LANES) {
        let weight = exp(scores[key] - largest);
        scores[key] = weight;
        sum += weight;
    }
    partial[lane] = sum;
    workgroupBarrier();
    sum = vec4<f32>(0.0);
    for (var i = 0u; i < LANES; i++) {
        sum += partial[i];
    }

    let queries = min(QUERIES, params.tokens - block * QUERIES);
    for (var c = lane; c < params.width4; c += LANES) {
        var result = array<vec4<f32>, 4>();
        let v = origin + 2u * channels4 + c;
        for (var key = 0u; key < keys; key++) {
            let weight = scores[key];
            let value = qkv[v + key * pitch];
            result[0] += weight.x * value;
            result[1] += weight.y * value;
            result[2] += weight.z * value;
            result[3] += weight.w * value;
        }
        for (var i = 0u; i < queries; i++) {
            let row = image * params.tokens + block * QUERIES + i;
            output[row * channels4 + head * params.width4 + c] = result[i] / sum[i];
        }
    }
}
