"""The networks of `models.py`: what each is built from, where its blocks are, and the files a user's copy would hold."""

import json
import logging
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import open_clip
import timm
import torch
import torchvision
import transformers
from safetensors import safe_open
from timm.models._hub import save_config_for_hf
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
OPENAI = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}


@dataclass
class Case:
    """One network with the places to look into it."""

    name: str
    source: str
    model: torch.nn.Module
    size: tuple
    mean: list
    std: list
    blocks: dict
    file: str = "model.safetensors"
    configs: dict = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    # What the library calls a tensor in files, where its own state has another name for it.
    file_name: Callable = staticmethod(lambda name: name)
    # Classifiers: the last layer, which takes the feature, and another library's model that must give the same outputs.
    head: torch.nn.Module = None
    twin: torch.nn.Module = None
    # CLIP: the text tower's layers and tokens, and how the library embeds.
    text_blocks: dict = field(default_factory=dict)
    context: int = 0
    start: int = 0
    end: int = 0
    pad: int = 0
    embed_images: Callable = None
    embed_text: Callable = None

    def check_twins(self, images, outputs):
        """Fails unless the other library's model agrees to rounding in f64."""
        if self.twin:
            self.twin.load_state_dict({name: value.double() for name, value in self.model.state_dict().items()})
            logits = self.twin.double().eval()(images)
            error = float((logits - outputs["logits"]).abs().max() / outputs["logits"].abs().max())
            assert error < 1e-12, f"{self.name}: timm differs by {error}"
            print(f"{self.name}: timm {timm.__version__} gives the same logits, to {error:.1e}")


class Narrow(ResNet):
    """torchvision's ResNet with free widths; its blocks, forward and key names are inherited."""

    def __init__(self, block, layers, stem, widths, classes, base_width=64):
        torch.nn.Module.__init__(self)
        self._norm_layer, self.dilation, self.groups, self.base_width = torch.nn.BatchNorm2d, 1, 1, base_width
        self.inplanes = stem
        self.conv1 = torch.nn.Conv2d(3, stem, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1, self.relu = torch.nn.BatchNorm2d(stem), torch.nn.ReLU(inplace=True)
        self.maxpool = torch.nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        for number, (width, depth) in enumerate(zip(widths, layers), 1):
            setattr(self, f"layer{number}", self._make_layer(block, width, depth, stride=1 if number == 1 else 2))
        self.avgpool = torch.nn.AdaptiveAvgPool2d(1)
        self.fc = torch.nn.Linear(widths[-1] * block.expansion, classes)


def trunk(tower, stem, modules):
    """The stem of a ResNet, behind its pooling, and the blocks of its layers, by the names that heatlens gives them."""
    blocks = {f"{tower}layer{layer}.{index}": block for layer, blocks in enumerate(modules, 1) for index, block in enumerate(blocks)}
    return {f"{tower}stem": stem, **blocks}


def resnet(model, name, size, twin=None, **rest):
    """A torchvision ResNet; `twin` is timm's of the same layers, or its name."""
    blocks = trunk("", model.maxpool, [model.layer1, model.layer2, model.layer3, model.layer4])
    version, _, _ = torchvision.__version__.partition("+")
    source = f"torchvision {version} {type(model).__name__}"
    twin = timm.create_model(twin, pretrained=False) if isinstance(twin, str) else twin
    return Case(name, source, model, size, **IMAGENET, blocks=blocks, head=model.fc, twin=twin, **rest)


def layers(tower, stem, modules):
    """What enters a transformer, and its blocks, by the names that heatlens gives them."""
    return {f"{tower}embeddings": stem, **{f"{tower}block.{index}": module for index, module in enumerate(modules)}}


def stages(stem, modules):
    """The stem of a ConvNeXt, and the blocks of its stages, by the names that heatlens gives them."""
    blocks = {f"stage{stage}.{index}": block for stage, blocks in enumerate(modules) for index, block in enumerate(blocks)}
    return {"stem": stem, **blocks}


def timm_model(name, architecture, size, blocks, **arguments):
    """A classifier of timm, with the config.json that timm writes beside it."""
    model = timm.create_model(architecture, pretrained=False, **arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        save_config_for_hf(model, path, data_config={"input_size": (3, *size), "crop_pct": 1.0})
        config = json.loads(path.read_text())
    mean, std = (config["pretrained_cfg"][key] for key in ("mean", "std"))
    head = model.get_classifier()
    source = f"timm {timm.__version__} {type(model).__name__}"
    return Case(name, source, model, size, mean, std, blocks(model), configs={"config.json": config}, head=head)


def hugging_face_classifier(name, model, processor, blocks, renamed):
    """A classifier of transformers, with the configuration files that transformers writes beside it."""

    def file_name(key):
        for ours, theirs in renamed:
            key = key.replace(ours, theirs)
        return key

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        configs = {path.name: json.loads(path.read_text()) for path in sorted(Path(folder).glob("*.json"))}
        with safe_open(Path(folder) / "model.safetensors", "pt") as file:
            assert set(file.keys()) == {file_name(key) for key in model.state_dict()}, "the names of saved tensors"
    source = f"transformers {transformers.__version__} {type(model).__name__}"
    size = (model.config.image_size,) * 2
    mean, std = processor.image_mean, processor.image_std
    return Case(name, source, model, size, mean, std, blocks, configs=configs, head=model.classifier, file_name=file_name)


def timm_vit(name, architecture, edge, **arguments):
    """A plain VisionTransformer of timm."""
    blocks = lambda model: layers("", model.norm_pre, model.blocks)
    return timm_model(name, architecture, (edge, edge), blocks, img_size=edge, **arguments)


def timm_resnet(name, architecture, size, **arguments):
    """A ResNet of timm."""
    blocks = lambda model: trunk("", model.maxpool, [model.layer1, model.layer2, model.layer3, model.layer4])
    return timm_model(name, architecture, size, blocks, **arguments)


def timm_convnext(name, architecture, size, **arguments):
    """A ConvNeXt of timm."""
    return timm_model(name, architecture, size, lambda model: stages(model.stem, [stage.blocks for stage in model.stages]), **arguments)


def small_hugging_face_vit(name):
    """Head width 32 and an odd number of heads and tokens."""
    config = transformers.ViTConfig(
        hidden_size=96, intermediate_size=200, num_hidden_layers=2, num_attention_heads=3, image_size=48, patch_size=8, num_labels=21
    )
    model = transformers.ViTForImageClassification(config)
    renamed = [
        ("vit.layers.", "vit.encoder.layer."),
        (".attention.q_proj.", ".attention.attention.query."),
        (".attention.k_proj.", ".attention.attention.key."),
        (".attention.v_proj.", ".attention.attention.value."),
        (".attention.o_proj.", ".attention.output.dense."),
        (".mlp.fc1.", ".intermediate.dense."),
        (".mlp.fc2.", ".output.dense."),
    ]
    processor = transformers.ViTImageProcessor(size={"height": 48, "width": 48})
    blocks = layers("", model.vit.embeddings, model.vit.layers)
    return hugging_face_classifier(name, model, processor, blocks, renamed)


def small_hugging_face_convnext(name):
    """Two stages, channels that aren't multiples of 4, and a final norm with an epsilon of its own."""
    config = transformers.ConvNextConfig(
        hidden_sizes=[18, 30], depths=[2, 1], num_stages=2, layer_norm_eps=1e-2, image_size=52, num_labels=21
    )
    model = transformers.ConvNextForImageClassification(config)
    processor = transformers.ConvNextImageProcessor(size={"shortest_edge": 52}, crop_pct=1.0)
    blocks = stages(model.convnext.embeddings, [stage.layers for stage in model.convnext.encoder.stages])
    return hugging_face_classifier(name, model, processor, blocks, [])


def small_hugging_face_resnet(name, **settings):
    """Three stages, and in a bottleneck's 3x3 convolution channels that aren't multiples of 4."""
    config = transformers.ResNetConfig(embedding_size=18, hidden_sizes=[40, 72, 104], depths=[1, 2, 1], num_labels=150, **settings)
    config.image_size = 61
    model = transformers.ResNetForImageClassification(config)
    processor = transformers.ConvNextImageProcessor(size={"shortest_edge": 61}, crop_pct=1.0)
    blocks = trunk("", model.resnet.embedder, [stage.layers for stage in model.resnet.encoder.stages])
    case = hugging_face_classifier(name, model, processor, blocks, [])
    case.head = model.classifier[1]  # the classifier flattens first
    return case


def hugging_face_clip(name, config, start, end, **rest):
    """A CLIPModel of transformers, with the configuration files that transformers writes beside it."""
    model = transformers.CLIPModel(config)
    size = config.vision_config.image_size
    with tempfile.TemporaryDirectory() as folder:
        config.architectures = ["CLIPModel"]
        config.save_pretrained(folder)
        transformers.CLIPImageProcessor(size={"shortest_edge": size}, crop_size=size).save_pretrained(folder)
        configs = {path.name: json.loads(path.read_text()) for path in sorted(Path(folder).iterdir())}
    vision, text = model.vision_model, model.text_model
    return Case(
        name,
        f"transformers {transformers.__version__} CLIPModel",
        model,
        (size, size),
        **OPENAI,
        configs=configs,
        blocks=layers("visual.", vision.pre_layrnorm, vision.encoder.layers),
        text_blocks=layers("text.", text.embeddings, text.encoder.layers),
        context=config.text_config.max_position_embeddings,
        start=start,
        end=end,
        pad=end,
        embed_images=lambda model, x: model.visual_projection(model.vision_model(pixel_values=x).pooler_output),
        embed_text=lambda model, ids: model.text_projection(model.text_model(input_ids=ids).pooler_output),
        **rest,
    )


class Passing(torch.nn.Module):
    """Hands its input on: a place for a hook where the library has no module."""

    def forward(self, x):
        return x


def open_clip_model(name, model_cfg, start, end, kind=open_clip.CLIP, **rest):
    """An open_clip CLIP, with its open_clip_config.json."""
    model = kind(**model_cfg)
    text = model.text if kind is open_clip.CustomTextCLIP else model
    visual = model.visual
    if isinstance(visual, open_clip.modified_resnet.ModifiedResNet):
        blocks = trunk("visual.", visual.avgpool, [visual.layer1, visual.layer2, visual.layer3, visual.layer4])
    else:
        blocks = layers("visual.", visual.ln_pre, visual.transformer.resblocks)
    preprocess = {"mode": "RGB", **OPENAI, "interpolation": "bicubic", "resize_mode": "shortest"}
    preprocess["size"] = [model_cfg["vision_cfg"]["image_size"]] * 2
    # The text stem (tokens + positions) has no module of its own: hook what enters the first layer.
    first = text.transformer.resblocks[0]
    stem = Passing()
    first.register_forward_pre_hook(lambda _module, inputs: (stem(inputs[0]), *inputs[1:]))
    return Case(
        name,
        f"open_clip {open_clip.__version__} {kind.__name__}",
        model,
        (model_cfg["vision_cfg"]["image_size"],) * 2,
        **OPENAI,
        file="open_clip_model.safetensors",
        configs={"open_clip_config.json": {"model_cfg": model_cfg, "preprocess_cfg": preprocess}},
        blocks=blocks,
        text_blocks=layers("text.", stem, text.transformer.resblocks),
        context=model_cfg["text_cfg"]["context_length"],
        start=start,
        end=end,
        pad=0,
        embed_images=lambda model, x: model.encode_image(x),
        embed_text=lambda model, ids: model.encode_text(ids),
        **rest,
    )


def small_hugging_face_clip(name, **rest):
    """Head width 32, odd numbers of heads and tokens, GELU."""
    vision = {"hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 3, "num_attention_heads": 3}
    text = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**text, "vocab_size": 128, "max_position_embeddings": 16, "bos_token_id": 126, "eos_token_id": 127, "hidden_act": "gelu"},
        vision_config={**vision, "patch_size": 8, "image_size": 64, "hidden_act": "gelu"},
        projection_dim=48,
    )
    return hugging_face_clip(name, config, 126, 127, **rest)


def small_open_clip_resnet(name):
    """Channels that aren't multiples of 4, 16 heads of 28 channels in the attention pooling, GELU in the text tower."""
    vision = {"image_size": 96, "layers": [1, 2, 1, 1], "width": 14, "head_width": 28}
    text = {"context_length": 12, "vocab_size": 100, "width": 48, "heads": 3, "layers": 2}
    return open_clip_model(name, {"embed_dim": 60, "vision_cfg": vision, "text_cfg": text}, 98, 99)


def small_open_clip(name, **rest):
    """Head width 32 in the image tower and 16 in the text tower, QuickGELU."""
    vision = {"image_size": 48, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16}
    text = {"context_length": 12, "vocab_size": 100, "width": 48, "heads": 3, "layers": 3}
    return open_clip_model(name, {"embed_dim": 40, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}, 98, 99, **rest)


def shallow_open_clip(name, config, image_size, layers=2):
    """An open_clip configuration at its full width, on pictures of this size, with a shallow text tower and a small vocabulary."""
    model_cfg = open_clip.get_model_config(config)
    model_cfg["vision_cfg"].update(layers=layers, image_size=image_size)
    model_cfg["text_cfg"].update(layers=2, vocab_size=500)
    return open_clip_model(name, model_cfg, 498, 499)


def small_basic(name, **rest):
    """Basic blocks, with and without a shortcut convolution."""
    return resnet(Narrow(BasicBlock, [2, 1, 1, 2], 8, [8, 16, 24, 40], 37), name, (64, 64), **rest)


def small_bottleneck(name, **rest):
    """Wide bottleneck blocks with channels that aren't multiples of 4, on pictures of odd size."""
    return resnet(Narrow(Bottleneck, [1, 2, 1, 1], 10, [6, 10, 14, 18], 31, base_width=96), name, (75, 61), **rest)


def shallow(block, **widths):
    """torchvision's ResNet with one block a layer."""
    return ResNet(block, [1, 1, 1, 1], num_classes=100, **widths)


CASES = {
    "small-basic": small_basic,
    "small-basic-f16": lambda name: small_basic(name, dtype=torch.float16),
    "small-basic-bf16": lambda name: small_basic(name, dtype=torch.bfloat16),
    "small-bottleneck": small_bottleneck,
    "small-clip-hf": small_hugging_face_clip,
    "small-clip-hf-f16": lambda name: small_hugging_face_clip(name, dtype=torch.float16),
    "small-clip-hf-bf16": lambda name: small_hugging_face_clip(name, dtype=torch.bfloat16),
    "small-clip-openclip": small_open_clip,
    "small-clip-custom-text": lambda name: small_open_clip(name, kind=open_clip.CustomTextCLIP),
    "small-clip-resnet": small_open_clip_resnet,
    "small-resnet34": lambda name: resnet(Narrow(BasicBlock, [3, 4, 6, 3], 8, [8, 16, 24, 40], 37), name, (64, 64)),
    "small-resnet26d": lambda name: timm_resnet(
        name, "resnet26d", (75, 61), stem_width=6, channels=(6, 10, 14, 18), layers=(1, 2, 1, 1), num_classes=37
    ),
    "small-resnet10t": lambda name: timm_resnet(
        name, "resnet10t", (53, 64), stem_width=8, channels=(8, 12, 20, 28), num_classes=37
    ),
    "small-resnet-hf-basic": lambda name: small_hugging_face_resnet(name, layer_type="basic", hidden_act="gelu"),
    "small-resnet-hf": lambda name: small_hugging_face_resnet(name),
    "small-resnet-hf-v1": lambda name: small_hugging_face_resnet(
        name, downsample_in_bottleneck=True, downsample_in_first_stage=True
    ),
    "resnext50-32x4d": lambda name: resnet(
        shallow(Bottleneck, groups=32, width_per_group=4),
        name,
        (64, 64),
        twin=timm.create_model("resnext50_32x4d", layers=(1, 1, 1, 1), num_classes=100),
    ),
    "wide-resnet50-2": lambda name: resnet(
        shallow(Bottleneck, width_per_group=128),
        name,
        (64, 64),
        twin=timm.create_model("wide_resnet50_2", layers=(1, 1, 1, 1), num_classes=100),
    ),
    "small-vit-timm": lambda name: timm_vit(
        name, "vit_tiny_patch16_224", 40, patch_size=8, embed_dim=96, num_heads=3, depth=2, num_classes=37
    ),
    "small-vit-hf": small_hugging_face_vit,
    "small-convnext-timm": lambda name: timm_convnext(
        name, "convnext_atto", (75, 61), dims=(12, 18, 30, 40), depths=(1, 2, 1, 1), num_classes=37
    ),
    "small-convnext-hf": small_hugging_face_convnext,
    "vit-tiny": lambda name: timm_vit(name, "vit_tiny_patch16_224", 224, depth=3, num_classes=100),
    "convnext-tiny": lambda name: timm_convnext(name, "convnext_tiny", (64, 64), depths=(1, 1, 2, 1), num_classes=100),
    "resnet18": lambda name: resnet(torchvision.models.resnet18(), name, (224, 224), twin=name),
    "resnet50": lambda name: resnet(torchvision.models.resnet50(), name, (224, 224), twin=name),
    "clip-vit-b-32-hf": lambda name: hugging_face_clip(name, transformers.CLIPConfig(), 49406, 49407),
    "clip-rn50-openclip": lambda name: open_clip_model(name, open_clip.get_model_config("RN50-quickgelu"), 49406, 49407),
    "clip-vit-l-14-shallow": lambda name: shallow_open_clip(name, "ViT-L-14-336-quickgelu", 70),
    "clip-vit-l-14-336-shallow": lambda name: shallow_open_clip(name, "ViT-L-14-336-quickgelu", 336, layers=1),
    "clip-vit-h-14-shallow": lambda name: shallow_open_clip(name, "ViT-H-14", 56),
    "clip-rn101-shallow": lambda name: shallow_open_clip(name, "RN101-quickgelu", 64, layers=[1, 1, 11, 1]),
    "clip-rn50x4-shallow": lambda name: shallow_open_clip(name, "RN50x4-quickgelu", 96, layers=[1, 1, 2, 1]),
    "clip-vit-b-16-openclip": lambda name: open_clip_model(name, open_clip.get_model_config("ViT-B-16"), 49406, 49407),
    "clip-vit-b-32-openclip": lambda name: open_clip_model(name, open_clip.get_model_config("ViT-B-32"), 49406, 49407),
}


def build(name):
    """The case of this name."""
    logging.disable(logging.WARNING)  # every library warns that no trained weights are loaded
    return CASES[name](name)
