//! Cooperative matrices in plain WGSL, for adapters without them.

/// A shader of `gemm_cooperative` as every adapter with subgroups runs it: its matrices of `edge` by `edge` are multiplied by plain loops, each lane
/// of a subgroup making some of the sums, and its halves are floats that were rounded to f16. Everything around them stays as it is.
pub(crate) fn emulated(shader: &str, edge: usize) -> String {
    let load = |role: &str, array: &str| {
        let scalar = if role == "C" { "f32" } else { "f16" };
        format!("coopLoadT<coop_mat{edge}x{edge}<{scalar}, {role}>>(&{array}[")
    };
    let replacements = [
        (load("A", "inputs"), "Operand("),
        (load("B", "weights"), "Operand("),
        (load("C", "sums"), "zero("),
        ("coopMultiplyAdd(".to_owned(), "multiply_add(lanes, "),
        ("coopStoreT(".to_owned(), "put(lanes, "),
        (", &sums[".to_owned(), ", "),
        ("enable f16;\nenable wgpu_cooperative_matrix;\n".to_owned(), DECLARATIONS),
        ("weight: array<vec4<f16>>".to_owned(), "weight: array<vec2<u32>>"),
        ("weight[source]".to_owned(), "unpack(weight[source])"),
        ("vec4<f16>(select(".to_owned(), "quantizeToF16(select("),
        ("f16".to_owned(), "f32"),
        ("    @builtin(num_subgroups)".to_owned(), BUILTINS),
        ("    let column_tiles".to_owned(), "    let lanes = vec2<u32>(number, count);\n    let column_tiles"),
    ];
    let is_of_scalars = shader.contains("inputs: array<f16");
    let mut text = without_brackets(shader);
    for (from, to) in replacements {
        assert!(text.contains(&from), "no `{from}`");
        text = text.replace(&from, to);
    }
    let at = |array: &str, row: &str, column: &str| match is_of_scalars {
        true => format!("{array}[{row} + {column}]"),
        false => format!("{array}[{row} + {column} / 4u][{column} % 4u]"),
    };
    text.replace("EDGE", &format!("{edge}u"))
        .replace("A_AT", &at("inputs", "a.at + row * a.pitch", "k"))
        .replace("B_AT", &at("weights", "b.at + k * b.pitch", "column"))
        .replace("SUM_AT", &at("sums", "at + row * pitch", "column"))
}

/// The text with `, ` in the place of the `], ` that stands between where a matrix lies and how far its rows are apart.
fn without_brackets(shader: &str) -> String {
    let mut parts = shader.split("], ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_pitch =
            part.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with("u)") && !part.starts_with('u');
        text += if is_pitch { ", " } else { "], " };
        text += part;
    }
    text
}

/// `lanes` are a lane's number in its subgroup and the number of lanes there, at least 4.
const DECLARATIONS: &str = "\
struct Operand {
    at: u32,
    pitch: u32,
}

alias Sums = array<f32, EDGE * EDGE / 4u>;

fn unpack(halves: vec2<u32>) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(halves.x), unpack2x16float(halves.y));
}

fn zero(at: u32, pitch: u32) -> Sums {
    return Sums();
}

fn multiply_add(lanes: vec2<u32>, a: Operand, b: Operand, c: Sums) -> Sums {
    var made = c;
    for (var i = 0u; i * lanes.y + lanes.x < EDGE * EDGE; i++) {
        let row = (i * lanes.y + lanes.x) / EDGE;
        let column = (i * lanes.y + lanes.x) % EDGE;
        for (var k = 0u; k < EDGE; k++) {
            made[i] += A_AT * B_AT;
        }
    }
    return made;
}

fn put(lanes: vec2<u32>, matrix: Sums, at: u32, pitch: u32) {
    var made = matrix;
    for (var i = 0u; i * lanes.y + lanes.x < EDGE * EDGE; i++) {
        let row = (i * lanes.y + lanes.x) / EDGE;
        let column = (i * lanes.y + lanes.x) % EDGE;
        SUM_AT = made[i];
    }
}
";

const BUILTINS: &str = "    @builtin(subgroup_invocation_id) number: u32,
    @builtin(subgroup_size) count: u32,
    @builtin(num_subgroups)";
