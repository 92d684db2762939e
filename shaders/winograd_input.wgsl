// Tiles of 4×4 pixels, two pixels apart from their neighbours, in the basis of Winograd's F(2×2, 3×3): Bᵀ·d·B (Lavin and Gray 2016), as 16
// matrices of a tile a row. For software adapters, where machine code for many loads takes longer to make than it saves.
//
// A lane walks along a row of tiles, with one channel and one of the four rows of Bᵀ·d, of which it keeps the last four columns.

struct Params {
    channels: u32,
    height: u32,
    width: u32,
    padding: u32,
    // Tiles of an image, down and across.
    down: u32,
    across: u32,
    // The image of the first tile, and the rows of tiles of all images.
    first_image: u32,
    tile_rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

// A pixel, or 0 outside the image; rows and columns before the first wrap below 0.
fn pixel(image: u32, y: u32, x: u32, channel: u32) -> f32 {
    let inside = y < params.height && x < params.width;
    let source = select(0u, ((image * params.height + y) * params.width + x) * params.channels + channel, inside);
    return select(0.0, input[source], inside);
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = group.y * groups.x + group.x;
    let basis = index % 4u;
    let row = index / 4u % params.tile_rows;
    let channel = index / 4u / params.tile_rows * 8u + lane;
    if channel >= params.channels {
        return;
    }
    let image = params.first_image + row / params.down;
    let y = row % params.down * 2u - params.padding;
    // Rows of Bᵀ: d0 - d2, d1 + d2, d2 - d1, d1 - d3.
    let first = y + select(select(1u, 2u, basis == 2u), 0u, basis == 0u);
    let second = y + select(select(2u, 1u, basis == 2u), 3u, basis == 3u);
    let sign = select(-1.0, 1.0, basis == 1u);
    let pitch = params.tile_rows * params.across * params.channels;
    var at = 4u * basis * pitch + row * params.across * params.channels + channel;
    var p0 = 0.0;
    var p1 = 0.0;
    var p2 = 0.0;
    var p3 = 0.0;
    for (var x = 0u; x < 2u * params.across + 2u; x++) {
        p0 = p1;
        p1 = p2;
        p2 = p3;
        let column = x - params.padding;
        p3 = pixel(image, first, column, channel) + sign * pixel(image, second, column, channel);
        if x >= 3u && x % 2u == 1u {
            output[at] = p0 - p2;
            output[at + pitch] = p1 + p2;
            output[at + 2u * pitch] = p2 - p1;
            output[at + 3u * pitch] = p1 - p3;
            at += params.channels;
        }
    }
}
