//! Writes the GEMM shaders. Their tiles live in named variables, because shader compilers reliably keep those in
//! registers where they don't always keep an indexed array, and WGSL has no way to write them once.
//!
//! `HEATLENS_BLESS=1 cargo test --release --test shaders` writes the files; without it the test compares them.

/// `text` once for each number below `count`, `$i` standing for the number.
pub(super) fn each(count: usize, text: &str) -> String {
    (0..count).map(|i| text.replace("$i", &i.to_string())).collect()
}

/// How the weights are stored.
#[derive(Clone, Copy)]
pub(crate) enum Weights {
    F32,
    /// Halves, two a word.
    F16,
}

impl Weights {
    /// The declarations at the shader's head.
    fn head(self) -> String {
        match self {
            Self::F32 => HEAD.to_owned(),
            Self::F16 => HEAD.replace("weight: array<vec4<f32>>", "weight: array<vec2<u32>>") + UNPACK,
        }
    }

    /// The vec4 of weights at `index`.
    fn at(self, index: &str) -> String {
        match self {
            Self::F32 => format!("weight[{index}]"),
            Self::F16 => format!("unpack(weight[{index}])"),
        }
    }

    /// What the shader computes with.
    fn described(self) -> &'static str {
        match self {
            Self::F32 => " with a fused epilogue",
            Self::F16 => " with weights in f16 and a fused epilogue",
        }
    }
}

const UNPACK: &str = "
fn unpack(halves: vec2<u32>) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(halves.x), unpack2x16float(halves.y));
}
";

pub(super) const HEAD: &str = "\
struct Params {
    // The rows of a product.
    rows: u32,
    inputs4: u32,
    outputs4: u32,
    activation: u32,
    in_height: u32,
    in_width: u32,
    out_height: u32,
    out_width: u32,
    window_height: u32,
    window_width: u32,
    stride: u32,
    padding: u32,
    residual: u32,
    // The vec4 of output channels that the weights start at, and those of a row of the output.
    first4: u32,
    stride4: u32,
    // How many products lie one behind another, each with weights of its own.
    products: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> output: array<vec4<f32>>;
";

pub(super) const EPILOGUE: &str = "
// The error function to 1.5e-7 (Abramowitz and Stegun 7.1.26). Past 10 it is 1, and its square would overflow.
fn erf(x: vec4<f32>) -> vec4<f32> {
    let a = min(abs(x), vec4<f32>(10.0));
    let t = 1.0 / (1.0 + 0.3275911 * a);
    let p = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
    return sign(x) * (1.0 - p * exp(-a * a));
}

fn activate(x: vec4<f32>) -> vec4<f32> {
    switch params.activation {
        case 1u: {
            return max(x, vec4<f32>(0.0));
        }
        case 2u: {
            return 0.5 * x * (1.0 + erf(x * 0.70710678));
        }
        case 3u: {
            return x / (1.0 + exp(min(-1.702 * x, vec4<f32>(80.0))));
        }
        default: {
            return x;
        }
    }
}

fn store(row: u32, end: u32, column: u32, sum: vec4<f32>) {
    if row >= end || column >= params.outputs4 {
        return;
    }
    let channel = params.first4 + column;
    let index = row * params.stride4 + channel;
    var value = sum + bias[channel];
    if params.residual != 0u {
        value += residual[index];
    }
    output[index] = activate(value);
}
";

const WEIGHTS: &str = "
// The vec4s of weights of one product.
fn weights4() -> u32 {
    return params.window_height * params.window_width * 4u * params.inputs4 * params.outputs4;
}
";

pub(super) const ORIGIN: &str = "
// Index of an image's first pixel, and the image's row and column under the window's first tap (wrapping below 0).
fn origin_of(row: u32) -> vec3<u32> {
    let x = row % params.out_width;
    let y = (row / params.out_width) % params.out_height;
    let image = row / (params.out_width * params.out_height);
    return vec3<u32>(
        x * params.stride - params.padding,
        y * params.stride - params.padding,
        image * params.in_height * params.in_width,
    );
}
";

/// Stores a tile's rows one after another in a loop: where each row has its own copy of the epilogue, LLVM takes longer over those
/// than over the whole rest of the network. The loop ends at a row rather than at a count, which Mesa would unroll.
fn stores(rows: usize) -> String {
    let sums = (0..rows).map(|i| format!("sum{i}")).collect::<Vec<_>>().join(", ");
    format!(
        "    var sums = array<vec4<f32>, {rows}>({sums});
    for (var r = row; r < min(row + {rows}u, end); r++) {{
        store(r, end, column, sums[r - row]);
    }}
"
    )
}

/// A register tile without workgroup memory: a lane holds `rows` rows of one vec4 of output channels, and all lanes of
/// a workgroup read the same input.
pub(crate) fn direct(rows: usize, weights: Weights) -> String {
    let (head, described) = (weights.head(), weights.described());
    let taps = each(rows, "            let y$i = origin$i.y + dy;\n            let x$i = origin$i.x + dx;\n");
    let inside = each(
        rows,
        "            let inside$i = y$i < params.in_height && x$i < params.in_width;\n            let source$i = select(0u, (image$i + y$i * params.in_width + x$i) * params.inputs4, inside$i);\n",
    );
    let all = (0..rows).map(|i| format!("inside{i}")).collect::<Vec<_>>().join(" && ");
    let loads = each(rows, "                    let a$i = input[source$i + c];\n");
    let masked = each(rows, "                    let a$i = select(vec4<f32>(0.0), input[source$i + c], inside$i);\n");
    let load = weights.at("w + $iu * params.outputs4");
    let weights = each(4, &format!("                    let w$i = {load};\n"));
    let products: String = ["x", "y", "z", "w"]
        .iter()
        .enumerate()
        .map(|(k, part)| each(rows, &format!("                    sum$i += a$i.{part} * w{k};\n")))
        .collect();
    let step = |loads: &str| {
        format!(
            "                for (var c = 0u; c < params.inputs4; c++) {{\n{loads}{weights}{products}                    w += 4u * params.outputs4;\n                }}\n"
        )
    };
    format!(
        "\
// Convolution and matrix product{described}, for software adapters. Written by tests/support/gemm_text.rs.
//
// A lane holds {rows} rows of four output channels in registers. The lanes of a workgroup lie along the output channels
// and read the same input, at an address that doesn't depend on the lane: a broadcast rather than a gather.

{head}
override LANES: u32 = 8;
{EPILOGUE}{ORIGIN}{WEIGHTS}
@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {{
    let column_tiles = (params.outputs4 + LANES - 1u) / LANES;
    let tiles = (params.rows + {last_row}u) / {rows}u * column_tiles;
    let index = group.y * groups.x + group.x;
    let product = index / tiles;
    if product >= params.products {{
        return;
    }}
    let row = product * params.rows + index % tiles / column_tiles * {rows}u;
    let end = (product + 1u) * params.rows;
    let column = index % column_tiles * LANES + lane;
    // Lanes past the end compute the last column again and don't store it.
    var w = product * weights4() + min(column, params.outputs4 - 1u);
{origins}{sums}    for (var dy = 0u; dy < params.window_height; dy++) {{
        for (var dx = 0u; dx < params.window_width; dx++) {{
{taps}{inside}            if {all} {{
{plain}            }} else {{
{guarded}            }}
        }}
    }}
{stores}}}
",
        last_row = rows - 1,
        origins = each(rows, "    let origin$i = origin_of(min(row + $iu, end - 1u));\n    let image$i = origin$i.z;\n"),
        sums = each(rows, "    var sum$i = vec4<f32>(0.0);\n"),
        plain = step(&loads),
        guarded = step(&masked),
        stores = stores(rows),
    )
}

/// A register tile whose input is gathered once for all lanes: lane `i` of a subgroup of 8 loads the `i`-th row of each
/// of `vectors` groups of 8 rows and hands each value on to the others, and holds one vec4 of output channels of all rows.
pub(crate) fn subgroup(vectors: usize, weights: Weights) -> String {
    let (head, described) = (weights.head(), weights.described());
    let rows = 8 * vectors;
    let origins = each(vectors, "    let origin$i = origin_of(min(row + $iu * 8u + lane, end - 1u));\n");
    let sources = each(
        vectors,
        "            let y$i = origin$i.y + dy;\n            let x$i = origin$i.x + dx;\n            let inside$i = y$i < params.in_height && x$i < params.in_width;\n            let source$i = select(0u, (origin$i.z + y$i * params.in_width + x$i) * params.inputs4, inside$i);\n",
    );
    let loads = each(vectors, "                let a$i = select(vec4<f32>(0.0), input[source$i + c], inside$i);\n");
    let products: String = ["x", "y", "z", "w"]
        .iter()
        .enumerate()
        .map(|(k, part)| {
            let product = |row: usize| {
                let (vector, lane) = (row / 8, row % 8);
                format!("                sum{row} += subgroupBroadcast(a{vector}.{part}, {lane}u) * w{k};\n")
            };
            let load = weights.at(&format!("w + {k}u * params.outputs4"));
            format!("                let w{k} = {load};\n") + &(0..rows).map(product).collect::<String>()
        })
        .collect();
    format!(
        "\
// Convolution and matrix product{described}, for software adapters with subgroups of 8 lanes or more. Written by
// tests/support/gemm_text.rs.
//
// A workgroup is 8 lanes. A lane holds {rows} rows of four output channels in registers, and of the input it loads only the
// rows of its own number: such an adapter loads every lane's value by itself, even where all lanes ask for the same one, while
// handing a value on to all lanes costs one instruction.

{head}{EPILOGUE}{ORIGIN}{WEIGHTS}
@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {{
    let row_tiles = (params.rows + {last_row}u) / {rows}u;
    let tiles = row_tiles * ((params.outputs4 + 7u) / 8u);
    let index = group.y * groups.x + group.x;
    let product = index / tiles;
    if product >= params.products {{
        return;
    }}
    // All rows of one column of tiles come first: its weights stay in the cache.
    let row = product * params.rows + index % row_tiles * {rows}u;
    let end = (product + 1u) * params.rows;
    let column = index % tiles / row_tiles * 8u + lane;
    // Lanes past the end compute the last column again and don't store it.
    var w = product * weights4() + min(column, params.outputs4 - 1u);
{origins}{sums}    for (var dy = 0u; dy < params.window_height; dy++) {{
        for (var dx = 0u; dx < params.window_width; dx++) {{
{sources}            for (var c = 0u; c < params.inputs4; c++) {{
{loads}{products}                w += 4u * params.outputs4;
            }}
        }}
    }}
{stores}}}
",
        last_row = rows - 1,
        sums = each(rows, "    var sum$i = vec4<f32>(0.0);\n"),
        stores = stores(rows),
    )
}

/// Tiles in workgroup memory: `lanes` lanes share a tile of `lanes / 8 · rows` rows by `32 · columns` output channels, each
/// holding `rows` rows of `columns` vec4s.
pub(crate) fn tiled(rows: usize, columns: usize, lanes: usize, weights: Weights) -> String {
    let (head, described, load) = (weights.head(), weights.described(), weights.at("source"));
    let lane_rows = lanes / 8;
    let (tile_rows, tile_columns4) = (lane_rows * rows, 8 * columns);
    assert_eq!(tile_rows, lanes, "each lane loads one row of the input tile");
    let pairs =
        |text: &str| -> String { (0..rows).map(|r| each(columns, text).replace("$r", &r.to_string())).collect() };
    let sums = pairs("    var sum$r_$i = vec4<f32>(0.0);\n");
    let loads = each(rows, "            let a$i = inputs[($iu * LANE_ROWS + ty) * PITCH + k4];\n")
        .replace("LANE_ROWS", &format!("{lane_rows}u"));
    let products: String = ["x", "y", "z", "w"]
        .iter()
        .enumerate()
        .map(|(k, part)| {
            let weights = each(
                columns,
                &format!("            let w{k}_$i = weights[(4u * k4 + {k}u) * {tile_columns4}u + tx + 8u * $iu];\n"),
            );
            weights + &pairs(&format!("            sum$r_$i += a$r.{part} * w{k}_$i;\n"))
        })
        .collect();
    let stores = pairs("    store(first_row + $ru * LANE_ROWS + ty, end, first_column + tx + 8u * $iu, sum$r_$i);\n")
        .replace("LANE_ROWS", &format!("{lane_rows}u"));
    format!(
        "\
// Convolution and matrix product{described}, for GPUs. Written by tests/support/gemm_text.rs.
//
// {lanes} lanes share a tile of {tile_rows} rows by {channels} output channels. Each step brings 16 inner channels of both operands into
// workgroup memory, where a lane reads {rows} vec4s of input and {columns} of weights for every {fmas} multiply-adds.

{head}
// vec4s of a row of the input tile: four and one more, which keeps the lanes on different banks.
const PITCH: u32 = 5u;

var<workgroup> inputs: array<vec4<f32>, {input_tile}>;
var<workgroup> weights: array<vec4<f32>, {weight_tile}>;
{EPILOGUE}
@compute @workgroup_size({lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {{
    let column_tiles = (params.outputs4 + {last_column}u) / {tile_columns4}u;
    let tiles = (params.rows + {last_row}u) / {tile_rows}u * column_tiles;
    let index = group.y * groups.x + group.x;
    let product = index / tiles;
    if product >= params.products {{
        return;
    }}
    let first_row = product * params.rows + index % tiles / column_tiles * {tile_rows}u;
    let end = (product + 1u) * params.rows;
    let first_column = index % column_tiles * {tile_columns4}u;
    let tx = lane % 8u;
    let ty = lane / 8u;

    // The row this lane loads: its image, and the input pixel under the window's first tap (wrapping below 0).
    let r = min(first_row + lane, end - 1u);
    let origin_x = (r % params.out_width) * params.stride - params.padding;
    let origin_y = ((r / params.out_width) % params.out_height) * params.stride - params.padding;
    let image = (r / (params.out_width * params.out_height)) * params.in_height * params.in_width;
    // The tap and the vec4 of input channels that comes next, without a division a step.
    var dy = 0u;
    var dx = 0u;
    var c = 0u;

    let inner4 = params.window_height * params.window_width * params.inputs4;
    let first_weight = product * 4u * inner4 * params.outputs4;
{sums}    for (var k = 0u; k < inner4; k += 4u) {{
        for (var step = 0u; step < 4u; step++) {{
            let y = origin_y + dy;
            let x = origin_x + dx;
            let inside = dy < params.window_height && y < params.in_height && x < params.in_width;
            let source = select(0u, (image + y * params.in_width + x) * params.inputs4 + c, inside);
            inputs[lane * PITCH + step] = select(vec4<f32>(0.0), input[source], inside);
            c++;
            if c == params.inputs4 {{
                c = 0u;
                dx++;
                if dx == params.window_width {{
                    dx = 0u;
                    dy++;
                }}
            }}
        }}
        for (var at = lane; at < {weight_tile}u; at += {lanes}u) {{
            let row = 4u * k + at / {tile_columns4}u;
            let column = first_column + at % {tile_columns4}u;
            let inside = row < 4u * inner4 && column < params.outputs4;
            let source = select(0u, first_weight + row * params.outputs4 + column, inside);
            weights[at] = select(vec4<f32>(0.0), {load}, inside);
        }}
        workgroupBarrier();
        for (var k4 = 0u; k4 < 4u; k4++) {{
{loads}{products}        }}
        workgroupBarrier();
    }}
{stores}}}
",
        channels = 4 * tile_columns4,
        fmas = 16 * rows * columns,
        input_tile = tile_rows * 5,
        weight_tile = 16 * tile_columns4,
        last_row = tile_rows - 1,
        last_column = tile_columns4 - 1,
    )
}
