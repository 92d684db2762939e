// The 2×2 outputs of each tile out of the basis of Winograd's F(2×2, 3×3): Aᵀ·m·A (Lavin and Gray 2016), with bias, residual and ReLU. For
// software adapters, where machine code for many loads takes longer to make than it saves.
//
// A lane walks along a row of outputs with one channel: four columns of the basis, then the two outputs of a tile. The matrices lie as winograd_input has them.

struct Params {
    channels: u32,
    // Of the output.
    height: u32,
    width: u32,
    relu: u32,
    residual: u32,
    // Tiles of an image, down and across.
    down: u32,
    across: u32,
    // The image of the first tile, and the rows of tiles of all images.
    first_image: u32,
    tile_rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> residual: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = group.y * groups.x + group.x;
    let odd = index % 2u;
    let row = index / 2u % params.tile_rows;
    let channel = index / 2u / params.tile_rows * 8u + lane;
    let y = row % params.down * 2u + odd;
    if channel >= params.channels || y >= params.height {
        return;
    }
    let first = ((params.first_image + row / params.down) * params.height + y) * params.width;
    let pitch = params.tile_rows * params.across * params.channels;
    // Rows of Aᵀ: m0 + m1 + m2 and m1 - m2 - m3.
    let sign = select(1.0, -1.0, odd == 1u);
    let rows = 4u * odd * pitch + row * params.across * params.channels + channel;
    let start = bias[channel];
    var left = start;
    var right = start;
    for (var step = 0u; step < 4u * params.across; step++) {
        let column = step % 4u;
        let at = rows + column * pitch + step / 4u * params.channels;
        let value = input[at] + sign * (input[at + 4u * pitch] + input[at + 8u * pitch]);
        left += select(0.0, 1.0, column < 3u) * value;
        right += select(select(-1.0, 1.0, column == 1u), 0.0, column == 0u) * value;
        // The left output is complete with the third column, the right one with the fourth.
        let x = step / 4u * 2u + column - 2u;
        if column >= 2u && x < params.width {
            let place = (first + x) * params.channels + channel;
            var sum = select(right, left, column == 2u);
            if params.residual != 0u {
                sum += residual[place];
            }
            if params.relu != 0u {
                sum = max(sum, 0.0);
            }
            output[place] = sum;
        }
        if column == 3u {
            left = start;
            right = start;
        }
    }
}
