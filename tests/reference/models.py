"""Goldens of whole networks with formula weights, from torchvision, timm, transformers and open_clip.

    python tests/reference/models.py [NAME...]        # writes tests/goldens/models/NAME.{json,safetensors}

Every network runs in f32 and in f64. The goldens are the f64 results, rounded to f32; the json says how far the library's own f32
run lies from them. Beside the outputs each residual block or transformer layer leaves its largest magnitude, its root mean square
and 128 elements, so that an error can be traced to its block. Activations are rows of channels: [images * height * width, channels]
or [tokens, channels]; in text towers only tokens up to the end token count.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

import architectures
import formula

GOLDENS = Path(__file__).resolve().parent.parent / "goldens" / "models"
SAMPLES = 128
INPUTS = 8
CANDIDATES = 64


@dataclass
class Recorder:
    """Collects outputs and activations of one run by name."""

    blocks: dict = field(default_factory=dict)
    outputs: dict = field(default_factory=dict)

    def hooks(self, modules, rows=None):
        """Records every module's output as rows of channels, all of them or only `rows`."""

        def record(name):
            def hook(_module, _inputs, output):
                output = output[0] if isinstance(output, tuple) else output
                output = output.permute(0, 2, 3, 1) if output.ndim == 4 else output
                flat = output.detach().double().reshape(-1, output.shape[-1]).clone()
                self.blocks[name] = flat if rows is None else flat[rows]

            return hook

        return [module.register_forward_hook(record(name)) for name, module in modules.items()]


def pixels(case, numbers, dtype):
    """The normalised pictures [N, 3, H, W]."""
    bytes_ = np.stack([formula.picture(f"picture/{number}", *case.size) for number in numbers])
    mean, std = (torch.tensor(part, dtype=dtype) for part in (case.mean, case.std))
    return ((torch.from_numpy(bytes_).to(dtype) / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()


def prompts(case):
    """Token rows [CANDIDATES, context]: start, formula tokens of every length that fits, end, padding; and their lengths."""
    words = formula.words(formula.seed("prompts"), 0, CANDIDATES * case.context).reshape(CANDIDATES, case.context)
    rows = np.full((CANDIDATES, case.context), case.pad, np.int64)
    lengths = [2 + (number * 7) % (case.context - 1) for number in range(CANDIDATES)]
    for row, word, length in zip(rows, words, lengths):
        row[0], row[length - 1] = case.start, case.end
        row[1 : length - 1] = (word[: length - 2] % np.uint64(case.start)).astype(np.int64)
    return torch.from_numpy(rows), np.array(lengths)


def load(case):
    """Puts formula weights, rounded to the case's file type, into the model; returns [(name, shape)] in the file's order."""
    keys, state = [], {}
    for name, value in case.model.state_dict().items():
        state[name] = value
        if value.is_floating_point():
            shape, file_name = tuple(value.shape), case.file_name(name)
            keys.append([file_name, list(shape)])
            state[name] = torch.from_numpy(formula.tensor(file_name, shape)).to(case.dtype).float()
    case.model.load_state_dict(state)
    case.model.eval()
    return keys


def run_classifier(case, numbers, dtype):
    """One run of a classifier."""
    recorder = Recorder()
    hooks = recorder.hooks(case.blocks)
    features = []
    hooks.append(case.head.register_forward_pre_hook(lambda _module, inputs: features.append(inputs[0])))
    logits = case.model.to(dtype)(pixels(case, numbers, dtype))
    for hook in hooks:
        hook.remove()
    logits = logits if isinstance(logits, torch.Tensor) else logits.logits
    recorder.outputs = {"features": features[0], "logits": logits}
    return recorder


def run_clip(case, numbers, tokens, lengths, dtype):
    """One run of both towers."""
    recorder = Recorder()
    valid = (np.arange(case.context) < np.asarray(lengths)[:, None]).reshape(-1)
    hooks = recorder.hooks(case.blocks) + recorder.hooks(case.text_blocks, torch.from_numpy(valid))
    model = case.model.to(dtype)
    images = case.embed_images(model, pixels(case, numbers, dtype))
    recorder.outputs = {"visual.embedding": images, "text.embedding": case.embed_text(model, tokens)}
    for hook in hooks:
        hook.remove()
    return recorder


def distinct_pictures(case):
    """The first pictures whose predictions differ, none of them within 2 % of the largest logit to a tie."""
    logits = run_classifier(case, range(CANDIDATES), torch.float32).outputs["logits"]
    top = logits.topk(2, dim=1)
    chosen = {}
    for number in range(CANDIDATES):
        clear = top.values[number, 0] - top.values[number, 1] > 0.02 * logits.abs().max()
        if clear and len(chosen) < INPUTS:
            chosen.setdefault(int(top.indices[number, 0]), number)
    assert len(chosen) == INPUTS, f"{case.name}: only {len(chosen)} distinct predictions"
    return list(chosen.values())


def distinct_pairs(case, tokens, lengths):
    """Pictures and prompts, each prompt the clear favourite of its picture: pairs are added while that stays true of all."""
    outputs = run_clip(case, range(CANDIDATES), tokens, lengths, torch.float32).outputs
    images, texts = (torch.nn.functional.normalize(outputs[name]).numpy() for name in ("visual.embedding", "text.embedding"))
    cosines = images @ texts.T
    interaction = cosines - cosines.mean(0) - cosines.mean(1, keepdims=True)

    def clear(pairs):
        square = cosines[np.ix_(*zip(*pairs))]
        own = square.diagonal().copy()
        np.fill_diagonal(square, -np.inf)
        return (own - square.max(1) > 0.01).all()

    pairs = []
    for flat in interaction.argsort(axis=None)[::-1]:
        pair = divmod(int(flat), CANDIDATES)
        if len(pairs) < INPUTS and clear([*pairs, pair]):
            pairs.append(pair)
    assert len(pairs) == INPUTS, f"{case.name}: only {len(pairs)} clear pairs"
    return [list(side) for side in zip(*pairs)]


def summary(name, exact, single):
    """One activation's figures and its sample."""
    index = formula.words(formula.seed(name), 0, SAMPLES) % np.uint64(exact.numel())
    sample = exact.reshape(-1)[torch.from_numpy(index.astype(np.int64))].numpy().astype(np.float32)
    largest, rms = float(exact.abs().max()), float(exact.square().mean().sqrt())
    error = float((single - exact).abs().max()) / largest
    figures = {"name": name, "rows": exact.shape[0], "channels": exact.shape[1], "max": largest, "rms": rms, "reference_error": error}
    return figures, sample


@torch.no_grad()
def golden(case):
    """Runs one case and writes its two files."""
    keys = load(case)
    arrays = {}
    if case.context:
        tokens, lengths = prompts(case)
        numbers, choice = distinct_pairs(case, tokens, lengths)
        tokens, lengths = tokens[choice], lengths[choice].tolist()
        arrays["tokens"] = tokens.numpy()
        run = lambda dtype: run_clip(case, numbers, tokens, lengths, dtype)
    else:
        numbers, lengths = distinct_pictures(case), None
        run = lambda dtype: run_classifier(case, numbers, dtype)
    single, exact = run(torch.float32), run(torch.float64)
    case.check_twins(pixels(case, numbers, torch.float64), exact.outputs)
    blocks = []
    for name, values in exact.blocks.items():
        figures, arrays[f"samples/{name}"] = summary(name, values, single.blocks[name])
        blocks.append(figures)
    outputs = []
    for name, values in exact.outputs.items():
        arrays[name] = values.numpy().astype(np.float32)
        outputs.append(summary(name, values, single.outputs[name].double())[0])
    text = {"lengths": lengths} if case.context else {}
    header = {
        "source": case.source,
        "dtype": str(case.dtype).removeprefix("torch."),
        "pictures": [f"picture/{number}" for number in numbers],
        "height": case.size[0],
        "width": case.size[1],
        "mean": case.mean,
        "std": case.std,
        **text,
        "file": case.file,
        "configs": case.configs,
    }
    rows = lambda entries: "[\n  " + ",\n  ".join(json.dumps(entry) for entry in entries) + "\n ]"
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in header.items()]
    lines += [f' "blocks": {rows(blocks)}', f' "outputs": {rows(outputs)}', f' "keys": {rows(keys)}']
    GOLDENS.mkdir(exist_ok=True)
    (GOLDENS / f"{case.name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    save_file(arrays, GOLDENS / f"{case.name}.safetensors")
    print(f"{case.name}: {case.source}")
    for figures in blocks + outputs:
        print("  {name:17} {rows:6} x {channels:4}  max {max:9.4f}  rms {rms:8.4f}  f32 against f64 {reference_error:.1e}".format(**figures))


def main():
    """Makes the named goldens, or all."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for name in sys.argv[1:] or architectures.CASES:
        golden(architectures.build(name))
    total = sum(path.stat().st_size for path in GOLDENS.iterdir())
    print(f"{GOLDENS}: {total} bytes")


if __name__ == "__main__":
    main()
