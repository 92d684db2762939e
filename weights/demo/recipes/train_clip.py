"""Trains the small CLIP and writes it, in Hugging Face layout, to clip/.

Contrastive with true targets: a caption is a positive of every picture it is true of, so "a photo of a cat" is not asked
to tell cats apart. Beside the captions, every batch holds each class and each attribute alone; the attribute prompts are
trained as yes-or-no questions with one scale and bias for all, which makes the cosines of different concepts comparable.
"""

import argparse
import copy
import json
import time

import numpy as np
import torch
import torch.nn.functional as F
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

import captions
import scene
from demo import DEMO, MEAN, STD, image_embedding, load_clip, normalised, text_embedding
from pictures import SEED, training_set
from vocabulary import ATTRIBUTES, CLASSES, PREVALENCE

CONTEXT, WIDTH, TEXT_WIDTH, PROJECTION = 32, 128, 64, 64


def choose(rng, label):
    """Contents for CLIP's training: half the pictures follow the class's prevalences, half loosen them.

    Loosened, every attribute the class can show is drawn about as often as not, so that the words for attributes are
    learnt from the attributes and not from the class that usually carries them.
    """
    contents = scene.choose(rng, label)
    if rng.random() < 0.5:
        return contents
    loose = {a for a in PREVALENCE[label] if rng.random() < 0.55}
    if "floppy-ears" in loose:
        loose.add("ears")
    return scene.Contents(label, contents.background, frozenset(loose))


def make_tokenizer(rng):
    """Learns the vocabulary and writes the tokenizer's four files."""
    vocabulary, merges = captions.learn_vocabulary(captions.corpus(rng), merges=240)
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, unk_token=captions.END, bos_token=captions.START, eos_token=captions.END,
                              pad_token=captions.END, model_max_length=CONTEXT)
    folder = DEMO / "clip"
    folder.mkdir(exist_ok=True)
    tokenizer.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    return tokenizer


def make_model(tokenizer):
    """An untrained CLIPModel of the demo's size."""
    end, start = tokenizer.convert_tokens_to_ids([captions.END, captions.START])
    config = CLIPConfig(
        text_config={"vocab_size": len(tokenizer), "hidden_size": TEXT_WIDTH, "intermediate_size": 4 * TEXT_WIDTH, "num_hidden_layers": 2,
                     "num_attention_heads": 1, "max_position_embeddings": CONTEXT, "hidden_act": "quick_gelu",
                     "bos_token_id": start, "eos_token_id": end, "pad_token_id": end, "projection_dim": PROJECTION},
        vision_config={"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": 4, "num_attention_heads": 2,
                       "image_size": 64, "patch_size": 8, "hidden_act": "quick_gelu", "projection_dim": PROJECTION},
        projection_dim=PROJECTION)
    return CLIPModel(config)


def lit(pixels, generator):
    """A little brighter or darker at random; u8 [n, 3, 64, 64] to normalised f32."""
    x = pixels.float() / 255 * (0.9 + 0.2 * torch.rand(len(pixels), 1, 1, 1, generator=generator))
    return normalised(x.clamp(0, 1))


def spread(targets):
    """Rows of booleans as distributions; all-false rows stay zero."""
    targets = targets.float()
    return targets / targets.sum(1, keepdim=True).clamp(min=1)


def soft_cross_entropy(logits, targets):
    """Cross-entropy against distributions, over the rows that have one."""
    return -(targets * logits.log_softmax(1)).sum() / (targets.sum(1) > 0).sum().clamp(min=1)


def make_optimisers(model, question, rate, steps):
    """Muon for the matrices of the transformer blocks, AdamW for everything else, both warmed up and then decayed to zero."""
    matrices = [p for name, p in model.named_parameters() if ".layers." in name and p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen] + [question]
    optimisers = [torch.optim.Muon(matrices, lr=rate, momentum=0.95, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
                  torch.optim.AdamW(others, lr=rate, weight_decay=0.01, betas=(0.9, 0.98))]
    warm = max(1, steps // 20)
    shape = lambda step: min((step + 1) / warm, 1.05 * (1 - step / steps) + 0.001)
    return optimisers, [torch.optim.lr_scheduler.LambdaLR(o, shape) for o in optimisers]


def train(model, tokenizer, rng, args):
    """Trains in place; prints a line and saves after every epoch."""
    count, epochs, batch, rate = args.pictures, args.epochs, args.batch, args.rate
    generator = torch.Generator().manual_seed(SEED)
    pixels, labels, backgrounds, attributes = training_set("train-clip", count, choose)
    pixels = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    question = torch.nn.Parameter(torch.tensor([10.0, -2.0]))
    optimisers, schedules = make_optimisers(model, question, rate, epochs * (count // batch))
    model.train()
    for epoch in range(min(epochs, args.stop_after)):
        began, sums = time.time(), np.zeros(3)
        order = rng.permutation(count)
        for k in range(0, count - batch + 1, batch):
            index = order[k:k + batch]
            y, marks = torch.from_numpy(labels[index]), attributes[index]
            told = [captions.describe(rng, labels[i], backgrounds[i], attributes[i]) for i in index]
            truth = torch.from_numpy(captions.is_true(told, labels[index], backgrounds[index], marks))
            texts = [c.text for c in told]
            texts += [captions.class_prompt(rng, c) for c in range(len(CLASSES))]
            texts += [captions.attribute_prompt(rng, a) for a in range(len(ATTRIBUTES))]
            with torch.autocast("cpu", dtype=torch.bfloat16):
                seen = image_embedding(model, lit(pixels[index], generator))
                said = text_embedding(model, tokenizer, texts)
            seen, said = F.normalize(seen.float(), dim=1), F.normalize(said.float(), dim=1)
            cosines = seen @ said.T
            scaled = model.logit_scale.exp().clamp(max=50) * cosines
            pairs, classes = scaled[:, :batch], scaled[:, batch:batch + len(CLASSES)]
            contrast = 0.5 * (soft_cross_entropy(pairs, spread(truth)) + soft_cross_entropy(pairs.T, spread(truth.T)))
            naming = F.cross_entropy(classes, y)
            answers = question[0] * cosines[:, batch + len(CLASSES):] + question[1]
            asking = F.binary_cross_entropy_with_logits(answers, torch.from_numpy(marks).float())
            loss = 0.5 * contrast + naming + 2.0 * asking
            loss.backward()
            for optimiser, schedule in zip(optimisers, schedules):
                optimiser.step()
                optimiser.zero_grad()
                schedule.step()
            sums += [contrast.item(), naming.item(), asking.item()]
        means = sums / (count // batch)
        print(f"epoch {epoch + 1:2d}  contrast {means[0]:.3f}  naming {means[1]:.3f}  asking {means[2]:.3f}  "
              f"{time.time() - began:.0f} s", flush=True)
        save(model)


def save(model):
    """Writes the weights as f16, and what to do to a picture."""
    folder = DEMO / "clip"
    halves = copy.deepcopy(model).half()
    halves.logit_scale.data.clamp_(max=float(np.log(50)))
    halves.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({
        "image_processor_type": "CLIPImageProcessor", "do_convert_rgb": True, "do_resize": True, "size": {"shortest_edge": 64}, "resample": 3,
        "do_center_crop": True, "crop_size": {"height": 64, "width": 64}, "do_rescale": True, "rescale_factor": 1 / 255,
        "do_normalize": True, "image_mean": MEAN, "image_std": STD}, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=12000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--stop-after", type=int, default=1000, help="end after this many epochs of a schedule laid out for --epochs")
    parser.add_argument("--resume", action="store_true", help="start from the weights in clip/ with a new schedule")
    args = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    if args.resume:
        model, tokenizer = load_clip()
        rng = np.random.default_rng([SEED, 62])
    else:
        tokenizer = make_tokenizer(np.random.default_rng([SEED, 61]))
        model, rng = make_model(tokenizer), np.random.default_rng([SEED, 60])
    train(model, tokenizer, rng, args)


if __name__ == "__main__":
    main()
