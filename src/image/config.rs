//! [`Preprocess`] from the configuration files of timm, transformers and open_clip, and torchvision's conventions.

use std::path::Path;

use serde_json::Value;

use super::preprocess::{Preprocess, Resize, Rounding};
use super::resize::Filter;
use crate::error::{Error, ErrorKind, Result};

const IMAGENET_MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f64; 3] = [0.229, 0.224, 0.225];
const OPENAI_MEAN: [f64; 3] = [0.48145466, 0.4578275, 0.40821073];
const OPENAI_STD: [f64; 3] = [0.26862954, 0.26130258, 0.27577711];
/// transformers' `IMAGENET_STANDARD_MEAN` and `_STD`, the defaults of its ConvNext and ViT processors.
const HALF: [f64; 3] = [0.5; 3];
/// timm's and transformers' default share of the shortest edge that the crop keeps.
const CROP_PCT: f64 = 224.0 / 256.0;
/// No sensible network takes a larger edge; past it, a configuration is a mistake or an attack.
const MAX_EDGE: u64 = 1 << 14;

/// Which of torchvision's two sets of ImageNet weights, which differ in the size before the crop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Torchvision {
    /// `IMAGENET1K_V1`: 256 pixels.
    V1,
    /// `IMAGENET1K_V2`: 232 pixels.
    V2,
}

impl Preprocess {
    /// What torchvision's ResNet weights are evaluated with: bilinear, 224 pixels out of 256 (V1) or 232 (V2).
    pub fn torchvision(version: Torchvision) -> Self {
        let edge = match version {
            Torchvision::V1 => 256,
            Torchvision::V2 => 232,
        };
        Self {
            resize: Resize::ShortestEdge(edge),
            filter: Filter::Bilinear,
            height: 224,
            width: 224,
            rounding: Rounding::HalfEven,
            fill: [0; 3],
            scale: 1.0 / 255.0,
            mean: to_f32(IMAGENET_MEAN),
            std: to_f32(IMAGENET_STD),
        }
    }

    /// From timm's `config.json` at `path`, parsed to `config`: `pretrained_cfg` within it or, in old files, itself.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] naming the file and the key that can't be followed.
    pub fn from_timm(config: &Value, path: &Path) -> Result<Self> {
        let config = match config.get("pretrained_cfg") {
            Some(nested) if !nested.is_null() => nested,
            _ => config,
        };
        let file = File { path, value: config };
        let [height, width] = match file.get("input_size") {
            None => [224, 224],
            Some(Value::Array(size)) if size.len() == 3 => {
                if size[0].as_u64() != Some(3) {
                    return Err(file.error("input_size", "3 channels"));
                }
                [file.edge("input_size", &size[1])?, file.edge("input_size", &size[2])?]
            }
            Some(_) => return Err(file.error("input_size", "[3, height, width]")),
        };
        let keep = file.crop_pct()?;
        let [tall, wide] = [height, width].map(|edge| (edge as f64 / keep).floor() as usize);
        let mean = file.channels("mean", IMAGENET_MEAN)?;
        let (resize, fill) = match file.text("crop_mode", "center")? {
            "center" if tall == wide => (Resize::ShortestEdge(tall), [0; 3]),
            "center" => (Resize::Cover { height: tall, width: wide }, [0; 3]),
            "squash" => (Resize::Exact { height: tall, width: wide }, [0; 3]),
            "border" => {
                let fill = mean.map(|mean| (255.0 * mean).round_ties_even() as u8);
                (Resize::Fit { height: tall, width: wide }, fill)
            }
            _ => return Err(file.error("crop_mode", "center, squash or border")),
        };
        Ok(Self {
            resize,
            filter: file.filter("interpolation", Filter::Bicubic)?,
            height,
            width,
            rounding: Rounding::HalfEven,
            fill,
            scale: 1.0 / 255.0,
            mean: to_f32(mean),
            std: file.deviations("std", IMAGENET_STD)?,
        })
    }

    /// From transformers' `preprocessor_config.json` at `path`, parsed to `config`: the CLIP, ConvNext (which ResNets
    /// use) and ViT image processors. Old files don't name theirs: then it is the one that belongs to `model_type`, which the
    /// model's `config.json` names.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] naming the file and the key that can't be followed.
    pub fn from_hf(config: &Value, model_type: Option<&str>, path: &Path) -> Result<Self> {
        let file = File { path, value: config };
        let processor = file.processor(model_type)?;
        let (mean, std) = match processor {
            Processor::Clip => (OPENAI_MEAN, OPENAI_STD),
            Processor::ConvNext | Processor::Vit => (HALF, HALF),
        };
        let default_filter = if processor == Processor::Vit { Filter::Bilinear } else { Filter::Bicubic };
        let (resize, cropped) = match processor {
            Processor::ConvNext => file.convnext_resize()?,
            Processor::Clip | Processor::Vit => (file.plain_resize(processor)?, None),
        };
        let crop = if file.flag("do_center_crop", processor == Processor::Clip)? {
            Some(file.size("crop_size")?.map_or(Ok([224, 224]), |size| size.square(&file, "crop_size"))?)
        } else {
            cropped
        };
        let [height, width] = match (crop, resize) {
            (Some(crop), _) => crop,
            (None, Resize::Exact { height, width }) => [height, width],
            (None, _) => return Err(file.error("do_center_crop", "true, since nothing else fixes the input's size")),
        };
        let scale = match file.flag("do_rescale", true)? {
            true => file.number("rescale_factor", 1.0 / 255.0)?,
            false => 1.0,
        };
        let (mean, std) = match file.flag("do_normalize", true)? {
            true => (to_f32(file.channels("image_mean", mean)?), file.deviations("image_std", std)?),
            false => ([0.0; 3], [1.0; 3]),
        };
        Ok(Self {
            resize,
            filter: file.resample("resample", default_filter)?,
            height,
            width,
            rounding: Rounding::Floor,
            fill: [0; 3],
            scale: scale as f32,
            mean,
            std,
        })
    }

    /// From the `preprocess_cfg` of an `open_clip_config.json` at `path` (`Value::Null` where there is none), for an image
    /// tower that takes `height` × `width` pixels, which has the last word on the size.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] naming the file and the key that can't be followed.
    pub fn from_open_clip(preprocess_cfg: &Value, [height, width]: [usize; 2], path: &Path) -> Result<Self> {
        let file = File { path, value: preprocess_cfg };
        if file.text("mode", "RGB")? != "RGB" {
            return Err(file.error("mode", "RGB"));
        }
        let mut filter = file.filter("interpolation", Filter::Bicubic)?;
        if !matches!(filter, Filter::Bicubic | Filter::Bilinear) {
            return Err(file.error("interpolation", "bicubic or bilinear"));
        }
        let resize = match file.text("resize_mode", "shortest")? {
            "shortest" if height == width => Resize::ShortestEdge(height),
            "shortest" => {
                // open_clip doesn't hand its interpolation on in this one case.
                filter = Filter::Bicubic;
                Resize::Cover { height, width }
            }
            "longest" => Resize::Fit { height, width },
            "squash" => Resize::Exact { height, width },
            _ => return Err(file.error("resize_mode", "shortest, longest or squash")),
        };
        let fill = match file.get("fill_color") {
            None => 0,
            Some(fill) => fill
                .as_u64()
                .and_then(|fill| u8::try_from(fill).ok())
                .ok_or_else(|| file.error("fill_color", "a whole number from 0 to 255"))?,
        };
        Ok(Self {
            resize,
            filter,
            height,
            width,
            rounding: Rounding::HalfEven,
            fill: [fill; 3],
            scale: 1.0 / 255.0,
            mean: to_f32(file.channels("mean", OPENAI_MEAN)?),
            std: file.deviations("std", OPENAI_STD)?,
        })
    }
}

fn to_f32(values: [f64; 3]) -> [f32; 3] {
    values.map(|value| value as f32)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Processor {
    Clip,
    ConvNext,
    Vit,
}

/// A `size` as transformers writes it: one number, or named edges.
enum Size {
    Edge(usize),
    Shortest(usize),
    Exact([usize; 2]),
}

impl Size {
    /// Height and width, where a single number means a square.
    fn square(self, file: &File, key: &str) -> Result<[usize; 2]> {
        match self {
            Self::Edge(edge) => Ok([edge; 2]),
            Self::Exact(size) => Ok(size),
            Self::Shortest(_) => Err(file.error(key, "a number, or height and width")),
        }
    }
}

/// A configuration file and the object in it that is being read, for errors that name both.
struct File<'a> {
    path: &'a Path,
    value: &'a Value,
}

impl<'a> File<'a> {
    /// The value of `key`; null counts as absent.
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.value.get(key).filter(|value| !value.is_null())
    }

    fn error(&self, key: &str, expected: &str) -> Error {
        let path = self.path.display();
        let found = self.get(key).map_or_else(|| "absent".to_owned(), Value::to_string);
        Error::new(ErrorKind::Config, format!("{path}: `{key}` is {found}, expected {expected}"))
    }

    fn edge(&self, key: &str, value: &Value) -> Result<usize> {
        match value.as_u64() {
            Some(edge @ 1..=MAX_EDGE) => Ok(edge as usize),
            _ => Err(self.error(key, &format!("edges of 1 to {MAX_EDGE} pixels"))),
        }
    }

    fn text(&self, key: &str, default: &'static str) -> Result<&'a str> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_str().ok_or_else(|| self.error(key, "a text")),
        }
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.error(key, "true or false")),
        }
    }

    fn number(&self, key: &str, default: f64) -> Result<f64> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => match value.as_f64() {
                Some(number) if number.is_finite() => Ok(number),
                _ => Err(self.error(key, "a number")),
            },
        }
    }

    fn crop_pct(&self) -> Result<f64> {
        match self.number("crop_pct", CROP_PCT)? {
            share if (0.05..=2.0).contains(&share) => Ok(share),
            _ => Err(self.error("crop_pct", "a number from 0.05 to 2")),
        }
    }

    fn channels(&self, key: &str, default: [f64; 3]) -> Result<[f64; 3]> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let numbers: Option<Vec<f64>> = value.as_array().and_then(|all| all.iter().map(Value::as_f64).collect());
        let numbers = numbers.and_then(|numbers| <[f64; 3]>::try_from(numbers).ok());
        numbers.ok_or_else(|| self.error(key, "three numbers"))
    }

    fn deviations(&self, key: &str, default: [f64; 3]) -> Result<[f32; 3]> {
        let values = to_f32(self.channels(key, default)?);
        if values.iter().all(|&value| value > 0.0 && value.is_finite()) {
            Ok(values)
        } else {
            Err(self.error(key, "three numbers above 0"))
        }
    }

    fn filter(&self, key: &str, default: Filter) -> Result<Filter> {
        let expected = "nearest, box, bilinear, hamming, bicubic or lanczos";
        Filter::from_name(self.text(key, default.name())?).ok_or_else(|| self.error(key, expected))
    }

    fn resample(&self, key: &str, default: Filter) -> Result<Filter> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let filter = value.as_u64().and_then(Filter::from_code);
        filter.ok_or_else(|| self.error(key, "Pillow's code of a filter, 0 to 5"))
    }

    fn processor(&self, model_type: Option<&str>) -> Result<Processor> {
        let key =
            if self.get("image_processor_type").is_some() { "image_processor_type" } else { "feature_extractor_type" };
        let name = self.text(key, "")?;
        let family = ["ImageProcessorFast", "ImageProcessorPil", "ImageProcessor", "FeatureExtractor"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix));
        match family {
            None if name.is_empty() && model_type == Some("vit") => Ok(Processor::Vit),
            None if name.is_empty() && matches!(model_type, Some("convnext" | "resnet")) => Ok(Processor::ConvNext),
            Some("CLIP") => Ok(Processor::Clip),
            Some("ConvNext") => Ok(Processor::ConvNext),
            Some("ViT") => Ok(Processor::Vit),
            None if name.is_empty() && self.get("crop_pct").is_some() => Ok(Processor::ConvNext),
            None if name.is_empty() => Ok(Processor::Clip),
            _ => Err(self.error(key, "CLIPImageProcessor, ConvNextImageProcessor or ViTImageProcessor")),
        }
    }

    fn size(&self, key: &str) -> Result<Option<Size>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let edge = |name: &str| value.get(name).filter(|edge| !edge.is_null());
        let size = match (edge("shortest_edge"), edge("longest_edge"), edge("height"), edge("width")) {
            _ if value.is_number() => Size::Edge(self.edge(key, value)?),
            (Some(shortest), None, None, None) => Size::Shortest(self.edge(key, shortest)?),
            (None, None, Some(height), Some(width)) => Size::Exact([self.edge(key, height)?, self.edge(key, width)?]),
            _ => return Err(self.error(key, "a number, {shortest_edge} or {height, width}")),
        };
        Ok(Some(size))
    }

    /// The resize of the CLIP and ViT processors, which read a bare number differently.
    fn plain_resize(&self, processor: Processor) -> Result<Resize> {
        if !self.flag("do_resize", true)? {
            return Ok(Resize::Keep);
        }
        Ok(match (self.size("size")?, processor) {
            (None, Processor::Vit) => Resize::Exact { height: 224, width: 224 },
            (None, _) => Resize::ShortestEdge(224),
            (Some(Size::Edge(edge)), Processor::Vit) => Resize::Exact { height: edge, width: edge },
            (Some(Size::Edge(edge) | Size::Shortest(edge)), _) => Resize::ShortestEdge(edge),
            (Some(Size::Exact([height, width])), _) => Resize::Exact { height, width },
        })
    }

    /// The resize of the ConvNext processor and the crop that belongs to it: below 384 pixels the shortest edge is first
    /// made larger by `crop_pct`, from 384 on the picture is squashed.
    fn convnext_resize(&self) -> Result<(Resize, Option<[usize; 2]>)> {
        if !self.flag("do_resize", true)? {
            return Ok((Resize::Keep, None));
        }
        let edge = match self.size("size")? {
            None => 384,
            Some(Size::Edge(edge) | Size::Shortest(edge)) => edge,
            Some(Size::Exact(_)) => return Err(self.error("size", "a number or {shortest_edge}")),
        };
        if edge >= 384 {
            return Ok((Resize::Exact { height: edge, width: edge }, None));
        }
        let before_crop = (edge as f64 / self.crop_pct()?).floor() as usize;
        Ok((Resize::ShortestEdge(before_crop), Some([edge, edge])))
    }
}
