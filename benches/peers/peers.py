"""heatlens beside other ways to run the same networks on this machine, as a Markdown table.

    pip install -r benches/peers/requirements.txt
    cargo build --release
    cargo build --release --locked --manifest-path benches/peers/rust/Cargo.toml --target-dir PEERS
    python benches/peers/peers.py --heatlens target/release/heatlens --rust PEERS/release

Every measurement is a process of its own, so that the first result counts from the start of a program: importing the library, loading
the model's file (onnxruntime) or making random weights (the others), compiling shaders, tuning kernels, one run. Caches are empty: Mesa's of
shaders is off, and every process has a new empty folder as its home, its cache folder and its current one. Rounds go over all peers in
turns; a round's figure is the median of its runs after one that doesn't count, the table's is the median of the rounds. A peer whose first
result takes over a minute has one round. A run takes its input from memory and brings its result back.

Networks have random weights: nothing is downloaded. Inputs of peers are f32 pixels; heatlens uploads bytes and normalises them. Prompts
have 77 tokens, the last of which is their end; burn and meganeura are told so, the others look for it. meganeura gets the vision
transformer's picture cut into patches, and a ResNet's norms folded into its weights, as its own models have it. GPU peers take their default
adapter, CPU peers all cores. Peers have their documented settings: onnxruntime its full graph optimisation, burn fusion and tuning,
meganeura those of an inference session. burn compiles by way of WGSL; built with `--features spirv` it uses its own compiler on Vulkan,
under which Mesa 25.0's llvmpipe crashes. A peer that can't run a row has its error in the table instead of times.

`--rows` and `--peers` repeat a part: `--rows vit-b-32-text --peers burn meganeura`. heatlens is always measured, as what the ratios are to.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple


class Row(NamedTuple):
    arch: str
    # The edge of pictures in pixels; 0 for prompts.
    size: int
    batch: int

    def __str__(self):
        return f"{self.arch} {self.size}×{self.size}" if self.size else f"{self.arch} 77 tokens"


ROWS = [
    Row("resnet18", 64, 4), Row("resnet18", 224, 1), Row("resnet50", 224, 1), Row("vit-b-32", 224, 1), Row("vit-b-32-text", 0, 1),
]
PROVIDERS = {"onnxruntime-webgpu": "WebGpuExecutionProvider", "onnxruntime CPU": "CPUExecutionProvider"}
RUST = ["burn", "meganeura"]
PEERS = ["heatlens", "onnxruntime-webgpu", *RUST, "onnxruntime CPU", "PyTorch CPU"]
# Seconds after which a peer counts as one that doesn't run.
PATIENCE = 1800
# Milliseconds of a first result over which one round has to do.
SLOW = 60_000


def network(arch):
    import torch

    torch.manual_seed(0)
    if arch.startswith("resnet"):
        import torchvision

        return getattr(torchvision.models, arch)().eval()
    import open_clip

    clip = open_clip.create_model("ViT-B-32").eval()
    if arch == "vit-b-32":
        return clip.visual

    class Text(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.clip = clip

        def forward(self, ids):
            return self.clip.encode_text(ids)

    return Text().eval()


def inputs(row):
    import numpy

    numbers = numpy.random.default_rng(0)
    if row.size:
        return numbers.standard_normal((row.batch, 3, row.size, row.size), dtype=numpy.float32)
    ids = numbers.integers(0, 49406, (row.batch, 77))
    ids[:, 0], ids[:, -1] = 49406, 49407
    return ids


def export(row, path):
    import torch

    torch.onnx.export(network(row.arch), (torch.from_numpy(inputs(row)),), path, dynamo=True, external_data=False)


def measure(run, started, repeat):
    run()
    first = time.time() - started
    run()
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"first_ms": 1e3 * first, "median_ms": 1e3 * statistics.median(seconds)}))


def python_peer(name, row, repeat, model, started):
    """One measurement, in this process."""
    if name == "PyTorch CPU":
        import torch

        loaded = network(row.arch)
        tensor = torch.from_numpy(inputs(row))
        with torch.inference_mode():
            measure(lambda: loaded(tensor), started, repeat)
        return
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    provider = PROVIDERS[name]
    session = onnxruntime.InferenceSession(model, providers=[provider])
    if provider not in session.get_providers():
        sys.exit(f"{provider} isn't available: {session.get_providers()}")
    feed = {session.get_inputs()[0].name: inputs(row)}
    measure(lambda: session.run(None, feed), started, repeat)


def command(name, row, options, model):
    """The program of one measurement, with its arguments."""
    repeat = str(options.repeat)
    if name == "heatlens":
        size = ["--size", str(row.size)] if row.size else []
        return [options.heatlens, "bench", "models", "--arch", row.arch, *size, "--batch", str(row.batch), "--repeat", repeat, "--json"]
    if name in RUST:
        return [os.path.join(options.rust, name), row.arch, str(row.size), str(row.batch), repeat]
    return [sys.executable, os.path.abspath(__file__), "--heatlens", options.heatlens, "--repeat", repeat, "--started", repr(time.time()),
            "--run", name, row.arch, str(row.size), str(row.batch), model]


def failure(code, stderr):
    """How a program ended, with the message of its panic or exception, in one line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    panics = [number for number, line in enumerate(lines) if "panicked at" in line]
    if panics:
        lines = lines[: panics[0] + 2]
    end = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return ": ".join(["fails", end, *lines[-1:]])[:300].replace("|", "\\|")


def measured(name, row, options, model, folder):
    """The times of one process, or why there are none."""
    caches = tempfile.mkdtemp(dir=folder)
    environment = {**os.environ, "MESA_SHADER_CACHE_DISABLE": "true",
                   **{name: caches for name in ("HOME", "XDG_CACHE_HOME", "HEATLENS_CACHE")}}
    try:
        found = subprocess.run(command(name, row, options, model), env=environment, cwd=caches, timeout=PATIENCE,
                               capture_output=True, encoding="utf-8", errors="replace")
    except subprocess.TimeoutExpired:
        return f"no result in {PATIENCE} s"
    if found.returncode != 0:
        return failure(found.returncode, found.stderr)
    result = json.loads(found.stdout)
    return result["rows"][0] if name == "heatlens" else result


def compare(row, options, folder):
    """Prints a row's lines."""
    peers = [name for name in PEERS if name == "heatlens" or not options.peers or name in options.peers]
    model = os.path.join(folder, f"{row.arch}-{row.size}-{row.batch}.onnx")
    if any(name in PROVIDERS for name in peers):
        subprocess.run([sys.executable, "-c", f"import peers; peers.export(peers.{row!r}, {model!r})"], check=True,
                       cwd=os.path.dirname(os.path.abspath(__file__)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found = {name: [] for name in peers}
    failures = {}
    for _ in range(options.rounds):
        for name in peers:
            if name in failures or any(result["first_ms"] > SLOW for result in found[name]):
                continue
            result = measured(name, row, options, model, folder)
            if isinstance(result, str):
                failures[name] = result
            else:
                found[name].append(result)
    if "heatlens" in failures:
        sys.exit(f"heatlens {failures['heatlens']}")
    middle = {name: {key: statistics.median(result[key] for result in found[name]) for key in ("first_ms", "median_ms")}
              for name in peers if name not in failures}
    for name in peers:
        if name in failures:
            print(f"| {row} | {row.batch} | {name} | {failures[name]} |  |  |  |  |", flush=True)
            continue
        times = middle[name]
        ratios = ["", ""] if name == "heatlens" else [f"{times[key] / middle['heatlens'][key]:.2f}×" for key in ("median_ms", "first_ms")]
        print(f"| {row} | {row.batch} | {name} | {times['first_ms']:.0f} | {times['median_ms']:.1f} | "
              f"{1e3 * row.batch / times['median_ms']:.1f} | {ratios[0]} | {ratios[1]} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heatlens", required=True, type=os.path.abspath, help="the program, built for release")
    parser.add_argument("--rust", type=os.path.abspath, help="the folder with the programs burn and meganeura, built for release")
    parser.add_argument("--rows", nargs="+", choices=sorted({row.arch for row in ROWS}), help="these networks alone")
    parser.add_argument("--peers", nargs="+", choices=PEERS[1:], help="these alone beside heatlens")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=10, help="runs of a round")
    parser.add_argument("--run", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        name, arch, size, batch, model = options.run
        return python_peer(name, Row(arch, int(size), int(batch)), options.repeat, model, options.started)
    for name in RUST:
        if options.peers and name not in options.peers:
            continue
        if not options.rust:
            parser.error(f"{name} needs --rust; --peers leaves it out")
        if not os.path.isfile(os.path.join(options.rust, name)):
            parser.error(f"--rust {options.rust}: there is no program {name}")

    adapters = json.loads(subprocess.check_output([options.heatlens, "bench", "peak", "--repeat", "1", "--json"]))
    adapter = adapters["adapter"]
    print(f"{adapter['name']}, {adapter['driver']} {adapter['driver_info']}; {options.rounds} rounds of {options.repeat} runs\n")
    print("| network | batch | runs it | first result, ms | a run, ms | samples/s | heatlens, steady | heatlens, first |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for row in ROWS:
            if not options.rows or row.arch in options.rows:
                compare(row, options, folder)


if __name__ == "__main__":
    main()
