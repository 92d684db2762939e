//! Writes the GEMM shaders that multiply on cooperative matrices, as `gemm_text` writes the others.

use super::gemm_text::{EPILOGUE, HEAD, ORIGIN, each};

/// Inner channels that a step brings into workgroup memory.
const STEP: usize = 32;

/// Halves past the end of each row there: 16 bytes, so that every row starts where a cooperative matrix may.
const PAD: usize = 8;

/// How operands lie in workgroup memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// As vec4s, which a lane stores at once.
    Vectors,
    /// As scalars: naga's MSL loads matrices from nothing else.
    Scalars,
}

impl Memory {
    /// Scalars of an element.
    fn width(self) -> usize {
        if self == Self::Vectors { 4 } else { 1 }
    }

    fn element(self, scalar: &str) -> String {
        if self == Self::Vectors { format!("vec4<{scalar}>") } else { scalar.to_owned() }
    }

    /// Elements from row to row of the input, the weights and the sums of a tile of `rows` by `rows`.
    fn pitches(self, rows: usize) -> [usize; 3] {
        [STEP + PAD, rows + PAD, rows / 2].map(|scalars| scalars / self.width())
    }

    /// Where the vec4 of this number in a row begins.
    fn offset(self, number: &str) -> String {
        if self == Self::Vectors { number.to_owned() } else { format!("{number} * 4u") }
    }

    /// Stores the vec4 `value` from the element `at` on.
    fn store(self, indent: &str, array: &str, at: &str, value: &str) -> String {
        match self {
            Self::Vectors => format!("{indent}{array}[{at}] = {value};\n"),
            Self::Scalars => {
                let stores = each(4, &format!("{indent}{array}[at + $iu] = value[$i];\n"));
                format!("{indent}let at = {at};\n{indent}let value = {value};\n{stores}")
            }
        }
    }

    /// The vec4 of this number in an array.
    fn load(self, array: &str, number: &str) -> String {
        match self {
            Self::Vectors => format!("{array}[{number}]"),
            Self::Scalars => {
                let parts: Vec<String> = (0..4).map(|i| format!("{array}[4u * {number} + {i}u]")).collect();
                format!("vec4<f32>({})", parts.join(", "))
            }
        }
    }
}

/// Four subgroups share a tile, a quarter of `fragments` by `fragments` cooperative matrices of `edge` by `edge` sums each.
pub(crate) fn cooperative(edge: usize, fragments: usize, memory: Memory) -> String {
    let (width, quarter, rows) = (memory.width(), edge * fragments, 2 * edge * fragments);
    let [input_pitch, weight_pitch, sum_pitch] = memory.pitches(rows);
    let [half, float] = ["f16", "f32"].map(|scalar| memory.element(scalar));
    // vec4s of one round of sums: `edge` rows of every quarter.
    let round4 = edge * quarter;
    let pairs = |text: &str| -> String {
        (0..fragments).map(|r| each(fragments, text).replace("$r", &r.to_string())).collect()
    };
    let load = |role: &str, scalar: &str, from: &str, pitch: usize| {
        format!("coopLoadT<coop_mat{edge}x{edge}<{scalar}, {role}>>(&{from}, {pitch}u)")
    };
    let a = format!("inputs[(down + $iu * {edge}u) * {input_pitch}u + inner / {width}u]");
    let b = format!("weights[inner * {weight_pitch}u + (across + $iu * {edge}u) / {width}u]");
    let round = |r: usize| {
        let stores = each(
            fragments,
            &format!(
                "            coopStoreT(sum{r}_$i, &sums[quarter * {}u + $iu * {}u], {sum_pitch}u);\n",
                edge * sum_pitch,
                edge / width
            ),
        );
        format!(
            "        if first + subgroup < 4u {{
{stores}        }}
        workgroupBarrier();
        store_round(first, subgroups, first_row + {}u, end, first_column, lane);
        workgroupBarrier();
",
            r * edge
        )
    };
    format!(
        "\
enable f16;
enable wgpu_cooperative_matrix;

// Convolution and matrix product on cooperative matrices of {edge}×{edge}, with weights in f16 and a fused epilogue. Written by
// tests/support/gemm_cooperative_text.rs.
//
// A workgroup makes a tile of {rows} rows by {rows} output channels, in four quarters of {fragments}×{fragments} matrices: each of its subgroups
// one, or several in turn where they are fewer. Each step brings {STEP} inner channels of both operands into workgroup memory and rounds
// the input to f16; sums are f32.

{head}
override LANES: u32 = 128;

var<workgroup> origins: array<vec3<u32>, {rows}>;
// The rows of the input and of the weights' inner channels, each 16 bytes longer than its values: that keeps them on different banks.
var<workgroup> inputs: array<{half}, {input_tile}>;
var<workgroup> weights: array<{half}, {weight_tile}>;
// {edge} rows of every quarter's sums.
var<workgroup> sums: array<{float}, {sum_tile}>;
{EPILOGUE}{ORIGIN}
// Stores {edge} rows of each of the quarters that were made.
fn store_round(first: u32, subgroups: u32, first_row: u32, end: u32, first_column: u32, lane: u32) {{
    for (var at = lane; at < {round4}u; at += LANES) {{
        let quarter = at / {quarter4}u;
        let row = first_row + quarter / 2u * {quarter}u + at / {columns4}u % {edge}u;
        let column = first_column + quarter % 2u * {columns4}u + at % {columns4}u;
        if quarter >= first && quarter < first + subgroups {{
            store(row, end, column, {sum});
        }}
    }}
}}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
) {{
    let column_tiles = (params.outputs4 + {last_column}u) / {tile4}u;
    let tiles = (params.rows + {last_row}u) / {rows}u * column_tiles;
    let index = group.y * groups.x + group.x;
    let product = index / tiles;
    if product >= params.products {{
        return;
    }}
    let first_row = product * params.rows + index % tiles / column_tiles * {rows}u;
    let end = (product + 1u) * params.rows;
    let first_column = index % column_tiles * {tile4}u;
    for (var row = lane; row < {rows}u; row += LANES) {{
        origins[row] = origin_of(min(first_row + row, end - 1u));
    }}
    let inner4 = params.window_height * params.window_width * params.inputs4;
    let first_weight = product * 4u * inner4 * params.outputs4;
    let step = lane % {step4}u;
    for (var first = 0u; first < 4u; first += subgroups) {{
        // Subgroups past the last quarter make it again and don't store it.
        let quarter = min(first + subgroup, 3u);
        let down = quarter / 2u * {quarter}u;
        let across = quarter % 2u * {quarter}u;
        for (var at = lane; at < {sum_tile}u; at += LANES) {{
            sums[at] = {float}();
        }}
        workgroupBarrier();
{zeros}        // The tap and the vec4 of input channels that this lane loads next.
        var dy = 0u;
        var dx = 0u;
        var c = step;
        for (var k = 0u; k < inner4; k += {step4}u) {{
            for (; c >= params.inputs4; c -= params.inputs4) {{
                dx++;
                if dx == params.window_width {{
                    dx = 0u;
                    dy++;
                }}
            }}
            for (var row = lane / {step4}u; row < {rows}u; row += LANES / {step4}u) {{
                let origin = origins[row];
                let y = origin.y + dy;
                let x = origin.x + dx;
                let inside = dy < params.window_height && y < params.in_height && x < params.in_width;
                let source = select(0u, (origin.z + y * params.in_width + x) * params.inputs4 + c, inside);
{input}            }}
            c += {step4}u;
            for (var vector = lane; vector < {weight4}u; vector += LANES) {{
                let row = 4u * k + vector / {tile4}u;
                let column = first_column + vector % {tile4}u;
                let inside = row < 4u * inner4 && column < params.outputs4;
                let source = select(0u, first_weight + row * params.outputs4 + column, inside);
{weight}            }}
            workgroupBarrier();
            for (var inner = 0u; inner < {STEP}u; inner += {edge}u) {{
{loads}{products}            }}
            workgroupBarrier();
        }}
{rounds}    }}
}}
",
        head = HEAD.replace("weight: array<vec4<f32>>", "weight: array<vec4<f16>>"),
        input_tile = rows * input_pitch,
        weight_tile = STEP * weight_pitch,
        sum_tile = 4 * edge * sum_pitch,
        quarter4 = edge * quarter / 4,
        columns4 = quarter / 4,
        sum = memory.load("sums", "at"),
        last_row = rows - 1,
        last_column = rows / 4 - 1,
        tile4 = rows / 4,
        step4 = STEP / 4,
        weight4 = STEP * rows / 4,
        zeros = pairs(&format!("        var sum$r_$i = {};\n", load("C", "f32", "sums[0]", sum_pitch))),
        input = memory.store(
            "                ",
            "inputs",
            &format!("row * {input_pitch}u + {}", memory.offset("step")),
            "vec4<f16>(select(vec4<f32>(0.0), input[source], inside))"
        ),
        weight = memory.store(
            "                ",
            "weights",
            &format!("vector / {0}u * {weight_pitch}u + {1}", rows / 4, memory.offset(&format!("vector % {}u", rows / 4))),
            "select(vec4<f16>(), weight[source], inside)"
        ),
        loads = each(fragments, &format!("                let a$i = {};\n", load("A", "f16", &a, input_pitch)))
            + &each(fragments, &format!("                let b$i = {};\n", load("B", "f16", &b, weight_pitch))),
        products = pairs("                sum$r_$i = coopMultiplyAdd(a$r, b$i, sum$r_$i);\n"),
        rounds = (0..fragments).map(round).collect::<String>(),
    )
}
