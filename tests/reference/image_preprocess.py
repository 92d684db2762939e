"""The u8 pixels that the transforms of torchvision, timm, transformers and open_clip make of formula pictures:
tests/goldens/image_preprocess.json."""

import json
import pathlib

import numpy as np
from PIL import Image

from image_formula import digest, picture

SIZES = [(1, 1), (3, 2), (64, 64), (65, 64), (97, 53), (53, 98), (224, 224), (223, 225), (256, 257), (333, 500), (501, 334),
         (640, 427), (1000, 37), (29, 700)]

TIMM = [
    {"input_size": [3, 224, 224]},
    {"input_size": [3, 224, 224], "crop_pct": 0.95, "interpolation": "bicubic"},
    {"input_size": [3, 64, 64], "crop_pct": 1.0, "interpolation": "bicubic", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    {"input_size": [3, 160, 161], "crop_pct": 0.9, "interpolation": "bilinear"},
    {"input_size": [3, 96, 96], "crop_pct": 0.9, "interpolation": "lanczos", "crop_mode": "squash"},
    {"input_size": [3, 96, 80], "crop_pct": 1.0, "interpolation": "bicubic", "crop_mode": "border"},
    {"input_size": [3, 97, 97], "crop_pct": 0.8, "interpolation": "box", "crop_mode": "border", "mean": [0.1, 0.5, 0.9]},
    {"input_size": [3, 61, 61], "crop_pct": 0.875, "interpolation": "nearest"},
]

HF = [
    {"image_processor_type": "CLIPImageProcessor"},
    {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}, "resample": 3},
    {"feature_extractor_type": "CLIPFeatureExtractor", "size": 65, "crop_size": 96, "resample": 2},
    {"image_processor_type": "CLIPImageProcessor", "do_resize": False, "crop_size": {"height": 101, "width": 60}},
    {"image_processor_type": "CLIPImageProcessor", "size": {"height": 50, "width": 70}, "do_center_crop": False, "resample": 1},
    {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 64}, "crop_size": 63, "do_normalize": False,
     "rescale_factor": 0.0078125},
    {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 64}, "crop_size": 64, "do_rescale": False,
     "image_mean": [1.0, 2.0, 3.0], "image_std": [4.0, 5.0, 6.0]},
    {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.875, "resample": 3,
     "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
    {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 90}, "crop_pct": 0.95, "resample": 2},
    {"image_processor_type": "ConvNextImageProcessor"},
    {"image_processor_type": "ViTImageProcessor", "size": {"height": 96, "width": 97}},
    {"image_processor_type": "ViTImageProcessor", "size": 60, "resample": 4},
]

OPEN_CLIP = [
    ({}, (224, 224)),
    ({"interpolation": "bilinear", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}, (64, 64)),
    ({"resize_mode": "longest", "fill_color": 0}, (96, 96)),
    ({"resize_mode": "longest", "fill_color": 127, "interpolation": "bilinear"}, (81, 100)),
    ({"resize_mode": "squash", "size": 224}, (97, 97)),
    ({"resize_mode": "shortest", "interpolation": "bilinear"}, (70, 91)),
]


def torchvision_cases():
    from torchvision import transforms
    from torchvision.models import ResNet18_Weights, ResNet50_Weights

    for name, weights in [("V1", ResNet18_Weights.IMAGENET1K_V1), ("V2", ResNet50_Weights.IMAGENET1K_V2)]:
        preset = weights.transforms()
        steps = transforms.Compose([
            transforms.Resize(preset.resize_size, interpolation=preset.interpolation, antialias=preset.antialias),
            transforms.CenterCrop(preset.crop_size),
        ])
        yield {"source": "torchvision", "config": name}, lambda image, s=steps: np.asarray(s(image)), preset.mean, preset.std, 1 / 255


def timm_cases():
    from timm.data import create_transform, resolve_data_config

    for config in TIMM:
        data = resolve_data_config(pretrained_cfg=config)
        # With the prefetcher's transform, the pixels stay u8 and aren't normalised.
        steps = create_transform(**data, use_prefetcher=True)
        yield (
            {"source": "timm", "config": {"architecture": "resnet18", "pretrained_cfg": config}},
            lambda image, s=steps: np.moveaxis(s(image).numpy(), 0, -1), data["mean"], data["std"], 1 / 255,
        )


def hf_cases():
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    for config in HF:
        name = config.get("image_processor_type", config.get("feature_extractor_type"))
        cls = {"CLI": CLIPImageProcessorPil, "Con": ConvNextImageProcessorPil, "ViT": ViTImageProcessorPil}[name[:3]]
        processor = cls.from_dict({k: v for k, v in config.items() if not k.endswith("_type")})

        def steps(image, processor=processor):
            pixels = processor(image, do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"][0]
            assert pixels.dtype == np.uint8, pixels.dtype
            return np.moveaxis(pixels, 0, -1)

        normalize = (processor.image_mean, processor.image_std) if processor.do_normalize else ([0, 0, 0], [1, 1, 1])
        yield {"source": "hf", "config": config}, steps, *normalize, processor.rescale_factor if processor.do_rescale else 1


def open_clip_cases():
    from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict

    for config, size in OPEN_CLIP:
        # The model's own image size has the last word.
        merged = PreprocessCfg(**merge_preprocess_dict(PreprocessCfg(), {**config, "size": size}))
        transforms = image_transform_v2(merged, is_train=False).transforms

        def steps(image, transforms=transforms):
            for transform in transforms:
                if type(transform).__name__ in ("MaybeToTensor", "Normalize"):
                    break
                image = transform(image)
            return np.asarray(image)

        yield {"source": "open_clip", "config": config, "size": size}, steps, merged.mean, merged.std, 1 / 255


def main():
    cases = []
    for head, steps, mean, std, scale in [*torchvision_cases(), *timm_cases(), *hf_cases(), *open_clip_cases()]:
        pictures = []
        for size in SIZES:
            try:
                pixels = steps(Image.fromarray(picture(*size)))
            except ValueError as error:
                print(f"{head} {size}: {error}")
                continue
            pictures.append({"size": size, "shape": pixels.shape, "sha256": digest(pixels)})
        cases.append({**head, "mean": list(mean), "std": list(std), "scale": float(scale), "pictures": pictures})
    path = pathlib.Path(__file__).parent.parent / "goldens" / "image_preprocess.json"
    path.write_text("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]\n")
    print(f"{path}: {len(cases)} cases")


if __name__ == "__main__":
    main()
