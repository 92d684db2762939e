"""Small picture files of every kind that Pillow opens for a network, and their pixels after `convert("RGB")`:
tests/goldens/pictures/ and tests/goldens/image_decode.json."""

import io
import json
import pathlib
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

GOLDENS = pathlib.Path(__file__).parent.parent / "goldens"
WIDTH, HEIGHT = 11, 7


def smooth(channels):
    """uint8 [HEIGHT, WIDTH, channels]: slopes, which codecs that lose information keep well."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    slopes = [20 * x + 5 * y, 250 - 30 * y - 3 * x, 60 + 9 * x + 12 * y, 40 + 15 * x + 10 * y]
    return np.stack(slopes[:channels], axis=-1).astype(np.uint8)


def png(samples, color_type, extra=b""):
    """A PNG of 16 bits per channel, most of which Pillow reads but doesn't write."""
    height, width = samples.shape[:2]
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def partial_gif():
    """A GIF whose first frame covers a part of the screen."""
    out = bytearray(saved(Image.fromarray(smooth(1)[:4, :6, 0], "L").convert("P"), "GIF"))
    out[6:10] = struct.pack("<HH", WIDTH, HEIGHT)
    at = out.index(b"\x2c" + struct.pack("<HHHH", 0, 0, 6, 4))
    out[at + 1 : at + 5] = struct.pack("<HH", 3, 2)
    return bytes(out)


def without_adobe(jpeg):
    """A JPEG without its APP14 segment, the one that says that its inks are inverted."""
    at = jpeg.index(b"\xff\xee")
    return jpeg[:at] + jpeg[at + 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0] :]


def files():
    rgb, rgba = Image.fromarray(smooth(3)), Image.fromarray(smooth(4))
    grey = Image.fromarray(smooth(1)[..., 0])
    grey_alpha = Image.fromarray(smooth(2))
    cmyk = Image.frombytes("CMYK", rgba.size, rgba.tobytes())
    bilevel = grey.point(lambda v: 255 * (v % 40 > 20)).convert("1")
    palette = rgb.quantize(13)
    wide = (smooth(4).astype(np.uint16) << 8) + np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH, 1) * 3
    dark = wide[..., :1] >> 7

    yield "grey.png", saved(grey, "PNG")
    yield "grey_alpha.png", saved(grey_alpha, "PNG")
    yield "grey_transparent.png", saved(grey, "PNG", transparency=100)
    yield "bilevel.png", saved(bilevel, "PNG")
    yield "rgb.png", saved(rgb, "PNG")
    yield "rgb_transparent.png", saved(rgb, "PNG", transparency=(20, 247, 69))
    yield "rgba.png", saved(rgba, "PNG")
    yield "palette.png", saved(palette, "PNG")
    yield "palette_transparent.png", saved(palette, "PNG", transparency=bytes([0, 128, 255, 7]))
    yield "palette_2bit.png", saved(rgb.quantize(4), "PNG", bits=2)
    yield "grey16.png", saved(Image.fromarray(dark[..., 0]), "PNG")
    yield "grey16_alpha.png", png(wide[..., :2], 4)
    yield "rgb16.png", png(wide[..., :3], 2)
    yield "rgba16.png", png(wide, 6)
    yield "grey.jpg", saved(grey, "JPEG", quality=95)
    yield "rgb_444.jpg", saved(rgb, "JPEG", quality=95, subsampling=0)
    yield "rgb_420.jpg", saved(rgb, "JPEG", quality=95, subsampling=2)
    yield "progressive.jpg", saved(rgb, "JPEG", quality=95, progressive=True)
    yield "cmyk.jpg", saved(cmyk, "JPEG", quality=95)
    yield "cmyk_plain.jpg", without_adobe(saved(cmyk, "JPEG", quality=95))
    yield "palette.gif", saved(palette, "GIF")
    yield "transparent.gif", saved(palette, "GIF", transparency=3)
    yield "partial.gif", partial_gif()
    yield "animated.gif", saved(palette, "GIF", save_all=True, append_images=[palette.transpose(Image.Transpose.ROTATE_180)])
    yield "lossless.webp", saved(rgb, "WEBP", lossless=True)
    yield "lossless_alpha.webp", saved(rgba, "WEBP", lossless=True, exact=True)
    yield "lossy.webp", saved(rgb, "WEBP", quality=90)
    yield "animated.webp", saved(rgb, "WEBP", lossless=True, save_all=True, append_images=[ImageOps.flip(rgb)])
    yield "bilevel.bmp", saved(bilevel, "BMP")
    yield "palette.bmp", saved(palette, "BMP")
    yield "grey.bmp", saved(grey, "BMP")
    yield "rgb.bmp", saved(rgb, "BMP")
    yield "rgba.bmp", saved(rgba, "BMP")
    yield "bilevel.tiff", saved(bilevel, "TIFF")
    yield "grey.tiff", saved(grey, "TIFF", compression="tiff_lzw")
    yield "grey16.tiff", saved(Image.fromarray(dark[..., 0]), "TIFF")
    yield "rgb.tiff", saved(rgb, "TIFF", compression="tiff_adobe_deflate")
    yield "rgba.tiff", saved(rgba, "TIFF")
    yield "cmyk.tiff", saved(cmyk, "TIFF")
    yield "turned.tiff", saved(rgb, "TIFF", tiffinfo={274: 6})
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        yield f"exif{orientation}.png", saved(rgb, "PNG", exif=exif)
    exif = Image.Exif()
    exif[274] = 8
    yield "exif8.jpg", saved(rgb, "JPEG", quality=95, subsampling=0, exif=exif)
    yield "exif5.webp", saved(rgb, "WEBP", lossless=True, exif=(exif.__setitem__(274, 5), exif)[1])


def refused():
    """Files that Pillow opens and heatlens doesn't, because its TIFF decoder doesn't."""
    rgb = Image.fromarray(smooth(3))
    yield "palette.tiff", saved(rgb.quantize(13), "TIFF")
    yield "float.tiff", saved(Image.fromarray(smooth(1)[..., 0].astype(np.float32)), "TIFF")


def described(image):
    return {"size": image.size, "pixels": np.asarray(image).ravel().tolist()}


def main():
    folder = GOLDENS / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, data in refused():
        (folder / f"refused_{name}").write_bytes(data)
    cases = []
    for name, data in files():
        (folder / name).write_bytes(data)
        with Image.open(io.BytesIO(data)) as image:
            case = {"file": name, "mode": image.mode, **described(image.convert("RGB"))}
            if name.startswith("exif"):
                case["upright"] = described(ImageOps.exif_transpose(image).convert("RGB"))
        cases.append(case)
    path = GOLDENS / "image_decode.json"
    path.write_text("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]\n")
    print(f"{path}: {len(cases)} files")


if __name__ == "__main__":
    main()
