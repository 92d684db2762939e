"""heatlens beside other ways to run the same networks on this machine, as a Markdown table.

    pip install -r benches/peers/requirements.txt
    cargo build --release
    python benches/peers/peers.py --heatlens target/release/heatlens

Every measurement is a process of its own, so that the first result counts from the start of a program: importing the library, loading
the model's file (heatlens makes its weights), compiling shaders, one run. Drivers' caches of shaders are off (Mesa) or in an empty folder.
Rounds go over all peers in turns; a round's figure is the median of its runs after one that doesn't count, the table's is the median
of the rounds. Networks have random weights: nothing is downloaded. Inputs of peers are f32 pixels; heatlens uploads bytes and
normalises them. CPU peers use all cores. Peers have their documented defaults; onnxruntime its full graph optimisation.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

# Name, picture size, batch.
ROWS = [("resnet18", 64, 4), ("resnet18", 224, 1), ("resnet50", 224, 1), ("vit-b-32", 224, 1)]
GPU_PEER = "onnxruntime-webgpu"
PEERS = ["heatlens", GPU_PEER, "onnxruntime CPU", "PyTorch CPU"]


def network(arch):
    import torch

    torch.manual_seed(0)
    if arch.startswith("resnet"):
        import torchvision

        return getattr(torchvision.models, arch)().eval()
    import open_clip

    return open_clip.create_model(arch.upper().replace("VIT", "ViT")).visual.eval()


def export(arch, size, batch, path):
    import torch

    torch.onnx.export(network(arch), (torch.zeros(batch, 3, size, size),), path, dynamo=True, external_data=False)


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


def peer(name, arch, size, batch, repeat, model, started):
    """One measurement, in this process."""
    import numpy

    pixels = numpy.random.default_rng(0).standard_normal((batch, 3, size, size), dtype=numpy.float32)
    if name == "PyTorch CPU":
        import torch

        loaded = network(arch)
        inputs = torch.from_numpy(pixels)
        with torch.inference_mode():
            measure(lambda: loaded(inputs), started, repeat)
        return
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    provider = "WebGpuExecutionProvider" if name == GPU_PEER else "CPUExecutionProvider"
    session = onnxruntime.InferenceSession(model, providers=[provider])
    if provider not in session.get_providers():
        sys.exit(f"{provider} isn't available: {session.get_providers()}")
    inputs = {session.get_inputs()[0].name: pixels}
    measure(lambda: session.run(None, inputs), started, repeat)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heatlens", required=True, help="the program, built for release")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=10, help="runs of a round")
    parser.add_argument("--peer", nargs=6, help=argparse.SUPPRESS)
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        name, arch, size, batch, repeat, model = options.peer
        return peer(name, arch, int(size), int(batch), int(repeat), model, options.started)

    adapters = json.loads(subprocess.check_output([options.heatlens, "bench", "peak", "--repeat", "1", "--json"]))
    adapter = adapters["adapter"]
    print(f"{adapter['name']}, {adapter['driver']} {adapter['driver_info']}; {options.rounds} rounds of {options.repeat} runs\n")
    print("| network | batch | runs it | first result, ms | a run, ms | images/s | heatlens, steady | heatlens, first |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for arch, size, batch in ROWS:
            model = os.path.join(folder, f"{arch}-{size}-{batch}.onnx")
            subprocess.run(
                [sys.executable, "-c", f"import peers; peers.export({arch!r}, {size}, {batch}, {model!r})"],
                cwd=os.path.dirname(os.path.abspath(__file__)), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            found = {name: [] for name in PEERS}
            for number in range(options.rounds):
                for name in PEERS:
                    caches = tempfile.mkdtemp(dir=folder)
                    environment = {**os.environ, "MESA_SHADER_CACHE_DISABLE": "true", "XDG_CACHE_HOME": caches}
                    if name == "heatlens":
                        command = [options.heatlens, "bench", "models", "--arch", arch, "--size", str(size), "--batch", str(batch),
                                   "--repeat", str(options.repeat), "--json"]
                    else:
                        command = [sys.executable, os.path.abspath(__file__), "--heatlens", options.heatlens, "--started", repr(time.time()),
                                   "--peer", name, arch, str(size), str(batch), str(options.repeat), model]
                    output = subprocess.check_output(command, env=environment, stderr=subprocess.DEVNULL)
                    result = json.loads(output)
                    found[name].append(result["rows"][0] if name == "heatlens" else result)
            middle = {name: {key: statistics.median(r[key] for r in rounds) for key in ("first_ms", "median_ms")}
                      for name, rounds in found.items()}
            ours = middle["heatlens"]
            for name, times in middle.items():
                ratios = ["", ""] if name == "heatlens" else [f"{times[key] / ours[key]:.2f}×" for key in ("median_ms", "first_ms")]
                print(f"| {arch} {size}×{size} | {batch} | {name} | {times['first_ms']:.0f} | {times['median_ms']:.1f} | "
                      f"{1e3 * batch / times['median_ms']:.1f} | {ratios[0]} | {ratios[1]} |", flush=True)


if __name__ == "__main__":
    main()
