// A bar of one column an image, coloured by its verdict, above a stripe that moves with every frame.

struct Params {
    images: u32,
    frame: u32,
    width: f32,
    height: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
// 0 waiting, 1 accepted, 2 rejected, 3 unreadable.
@group(0) @binding(1) var<storage, read> verdicts: array<u32>;

@vertex
fn corner(@builtin(vertex_index) index: u32) -> @builtin(position) vec4<f32> {
    // One triangle that covers the window.
    return vec4<f32>(f32(index & 1u) * 4.0 - 1.0, f32(index >> 1u) * 4.0 - 1.0, 0.0, 1.0);
}

@fragment
fn color(@builtin(position) at: vec4<f32>) -> @location(0) vec4<f32> {
    let x = at.x / params.width;
    if at.y > params.height * 0.9 {
        let phase = fract(x - f32(params.frame) / 120.0);
        return vec4<f32>(vec3<f32>(0.15 + 0.5 * smoothstep(0.9, 1.0, phase)), 1.0);
    }
    let image = min(u32(x * f32(params.images)), params.images - 1u);
    switch verdicts[image] {
        case 1u: {
            return vec4<f32>(0.10, 0.45, 0.20, 1.0);
        }
        case 2u: {
            return vec4<f32>(0.65, 0.12, 0.10, 1.0);
        }
        case 3u: {
            return vec4<f32>(0.70, 0.55, 0.05, 1.0);
        }
        default: {
            return vec4<f32>(0.05, 0.06, 0.08, 1.0);
        }
    }
}
