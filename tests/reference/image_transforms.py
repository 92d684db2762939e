"""Pictures as cameras and programs write them, and what the transforms of torchvision, timm, transformers and open_clip make of
them, stage by stage: tests/goldens/photos/ and tests/goldens/image_transforms.json."""

import hashlib
import io
import json
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from image_decode import png

GOLDENS = pathlib.Path(__file__).parent.parent / "goldens"
WIDTH, HEIGHT = 149, 112

# Files that heatlens decodes with another implementation than Pillow's: their pixels are kept as Pillow has them.
INEXACT = {"lossy.webp", "lossy_alpha.webp", "cmyk.jpg"}


def scene():
    """A sky, a lawn, a house and a sun, with grain: slopes, edges, saturated colours and texture."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    sky = np.stack([90 + 0.6 * y, 140 + 0.5 * y, 230 - 0.3 * y], -1)
    lawn = np.stack([60 + 20 * np.sin(x / 3 + y / 2), 130 + 25 * np.sin(x / 2), 50 + 0 * x], -1)
    image = Image.fromarray(np.where((y > 70)[..., None], lawn, sky).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.polygon([(30, 60), (62, 32), (94, 60)], fill=(170, 40, 35))
    draw.rectangle([36, 60, 88, 98], fill=(225, 215, 190))
    for left in (42, 66):
        draw.rectangle([left, 66, left + 15, 80], fill=(25, 30, 60))
    draw.ellipse([112, 8, 138, 34], fill=(255, 240, 40))
    draw.line([(100, 111), (148, 72)], fill=(255, 0, 255), width=2)
    image = image.filter(ImageFilter.GaussianBlur(0.6))
    grain = np.random.default_rng(7).normal(0, 6, (HEIGHT, WIDTH, 1))
    return Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def files():
    rgb = scene()
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    alpha = Image.fromarray(((x * 2 + y) % 256).astype(np.uint8))
    rgba = Image.merge("RGBA", (*rgb.split(), alpha))
    wide = (np.asarray(rgb).astype(np.uint16) << 8) + (x + 3 * y)[..., None].astype(np.uint16) % 256
    exif = Image.Exif()
    exif[274] = 6

    for name, sampling in [("444", 0), ("422", 1), ("420", 2)]:
        yield f"{name}.jpg", saved(rgb, "JPEG", quality=88, subsampling=sampling)
    yield "progressive.jpg", saved(rgb, "JPEG", quality=80, subsampling=2, progressive=True)
    yield "restarts.jpg", saved(rgb, "JPEG", quality=70, subsampling=2, restart_marker_rows=1)
    yield "coarse.jpg", saved(rgb, "JPEG", quality=15, subsampling=2)
    yield "grey.jpg", saved(rgb.convert("L"), "JPEG", quality=85)
    yield "cmyk.jpg", saved(rgb.convert("CMYK"), "JPEG", quality=88)
    yield "turned.jpg", saved(rgb, "JPEG", quality=88, subsampling=2, exif=exif)
    yield "rgb.png", saved(rgb, "PNG")
    yield "rgba.png", saved(rgba, "PNG")
    yield "palette_transparent.png", saved(rgb.quantize(48), "PNG", transparency=bytes([0, 90, 255]))
    yield "grey_alpha.png", saved(rgba.convert("LA"), "PNG")
    yield "rgb16.png", png(wide, 2)
    yield "grey16.png", png(wide[..., 1:2] >> 7, 0)
    yield "lossless.webp", saved(rgb, "WEBP", lossless=True)
    yield "lossy.webp", saved(rgb, "WEBP", quality=85)
    yield "lossy_alpha.webp", saved(rgba, "WEBP", quality=85)


def digest(data):
    return hashlib.sha256(np.ascontiguousarray(data).tobytes()).hexdigest()


def described(image):
    """Size and hash of an image as PIL has it, or of uint8 [3, height, width]."""
    pixels = np.moveaxis(image, 0, -1) if isinstance(image, np.ndarray) else np.asarray(image.convert("RGB"))
    assert pixels.dtype == np.uint8
    return {"size": [pixels.shape[1], pixels.shape[0]], "sha256": digest(pixels)}


def composed(steps):
    """The stages of a torchvision Compose: what there is before the first step with a crop in its name, before the tensor, at
    the end."""
    def run(image):
        stages, value = {}, image
        for step in steps:
            name = type(step).__name__
            if "Crop" in name and "resize" not in stages:
                stages["resize"] = described(value)
            if "Tensor" in name:
                stages.setdefault("resize", described(value))
                stages["crop"] = described(value)
            value = step(value)
        stages["normalize"] = {"sha256": digest(value.numpy())}
        return stages

    return run


def torchvision_cases():
    from torchvision import transforms
    from torchvision.models import ResNet18_Weights, ResNet50_Weights

    for name, weights in [("V1", ResNet18_Weights.IMAGENET1K_V1), ("V2", ResNet50_Weights.IMAGENET1K_V2)]:
        preset = weights.transforms()
        resize = transforms.Resize(preset.resize_size, interpolation=preset.interpolation, antialias=preset.antialias)
        crop = transforms.CenterCrop(preset.crop_size)

        def run(image, preset=preset, resize=resize, crop=crop):
            # The preset itself is one step; its parts show what lies between.
            resized = resize(image)
            return {"resize": described(resized), "crop": described(crop(resized)), "normalize": {"sha256": digest(preset(image).numpy())}}

        yield {"source": "torchvision", "config": name}, run


TIMM = [
    {"input_size": [3, 224, 224], "crop_pct": 0.875, "interpolation": "bilinear"},
    {"input_size": [3, 224, 224], "crop_pct": 0.95, "interpolation": "bicubic"},
    {"input_size": [3, 96, 96], "crop_pct": 1.0, "interpolation": "bicubic", "crop_mode": "squash", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    {"input_size": [3, 96, 80], "crop_pct": 1.0, "interpolation": "bicubic", "crop_mode": "border"},
]


def timm_cases():
    from timm.data import create_transform, resolve_data_config

    for config in TIMM:
        steps = create_transform(**resolve_data_config(pretrained_cfg=config)).transforms
        yield {"source": "timm", "config": {"architecture": "resnet50", "pretrained_cfg": config}}, composed(steps)


HF = [
    {"image_processor_type": "CLIPImageProcessor"},
    {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 96}, "crop_size": {"height": 96, "width": 96}},
    {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}, "crop_pct": 0.875},
    {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}},
    {"image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 224}},
]


def hf_cases():
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    for config in HF:
        cls = {"CLI": CLIPImageProcessorPil, "Con": ConvNextImageProcessorPil, "ViT": ViTImageProcessorPil}[config["image_processor_type"][:3]]
        processor = cls.from_dict({key: value for key, value in config.items() if not key.endswith("_type")})

        def run(image, processor=processor):
            def pixels(**options):
                return processor(image, return_tensors="np", **options)["pixel_values"][0]

            raw = {"do_rescale": False, "do_normalize": False}
            stages = {"crop": described(pixels(**raw)), "normalize": {"sha256": digest(pixels())}}
            # ConvNext's crop is a part of its resize.
            if not type(processor).__name__.startswith("ConvNext"):
                stages["resize"] = described(pixels(do_center_crop=False, **raw))
            return stages

        yield {"source": "hf", "config": config}, run


OPEN_CLIP = [
    ({}, (224, 224)),
    ({"resize_mode": "longest", "fill_color": 0}, (96, 96)),
    ({"resize_mode": "squash"}, (97, 97)),
]


def open_clip_cases():
    from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict

    for config, size in OPEN_CLIP:
        merged = PreprocessCfg(**merge_preprocess_dict(PreprocessCfg(), {**config, "size": size}))
        steps = image_transform_v2(merged, is_train=False).transforms
        yield {"source": "open_clip", "config": config, "size": size}, composed(steps)


def is_transparent(image):
    return "A" in image.getbands() or "transparency" in image.info


def main():
    folder = GOLDENS / "photos"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    cases = [*torchvision_cases(), *timm_cases(), *hf_cases(), *open_clip_cases()]
    lines = []
    for name, data in files():
        (folder / name).write_bytes(data)
        with Image.open(io.BytesIO(data)) as image:
            picture = {"file": name, "mode": image.mode, "decode": described(image)}
            rgb = image.convert("RGB")
            if image.getexif().get(274, 1) != 1:
                picture["orient"] = described(ImageOps.exif_transpose(image))
            # transformers' CLIP alone converts files itself, and since version 5 lays transparent ones on white; users of the
            # other libraries (and of the earlier versions) drop the alpha channel by convert("RGB").
            given = rgb if is_transparent(image) else image
        if name in INEXACT:
            picture["pixels"] = f"{name}.png"
            rgb.save(folder / picture["pixels"])
        picture["transforms"] = []
        for head, run in cases:
            is_clip = "CLIP" in str(head["config"])
            picture["transforms"].append({**head, **run(given if is_clip else rgb)})
        lines.append(json.dumps(picture, separators=(",", ":")))
    path = GOLDENS / "image_transforms.json"
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    print(f"{path}: {len(lines)} pictures, {len(cases)} transforms each")


if __name__ == "__main__":
    main()
