//! A PNG image to the ink of what it shows, as manifests declare it (`kind = "image_gray"`).
//!
//! In this order: 8-bit grey, with transparent parts on white (Rec. 601 luma); inverted if dark is ink; the border's mean
//! becomes 0 and the most ink 1; the bounding box of all ink of at least `threshold`; square cells, as large as the box's
//! tighter side needs and larger by `margin`, centred on it; the mean ink of each cell, times `scale`. The model's own
//! training code does the same.

use super::{ImageProblem, OnnxError};
use ouro_common::container::InputTensor;
use std::io::Cursor;

/// The most pixels of either side.
const MOST: u32 = 4096;
/// The most bytes the decoder may hold beside the image.
const DECODER_BYTES: usize = 256 << 20;
/// Less ink than this, from 0 to 1, is a blank image.
const LEAST_CONTRAST: f32 = 0.1;

/// What is ink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Invert {
    Auto,
    Always,
    Never,
}

/// The declared parameters, checked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ImageGray {
    width: usize,
    height: usize,
    invert: Invert,
    threshold: f32,
    margin: f32,
    scale: f32,
}

/// A grey image, row by row.
struct Gray {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl ImageGray {
    pub(super) fn new(declared: &InputTensor) -> Result<Self, OnnxError> {
        let refuse = |field, problem: String| Err(OnnxError::Tensors { field, problem });
        let InputTensor::ImageGray { width, height, invert, threshold, margin, scale, .. } = declared else {
            return refuse("tensors.input.kind", "it is not image_gray".into());
        };
        if !(1..=1024).contains(width) || !(1..=1024).contains(height) {
            return refuse("tensors.input.width", format!("{width} x {height} is not within 1 x 1 to 1024 x 1024"));
        }
        let invert = match invert.as_str() {
            "auto" => Invert::Auto,
            "always" => Invert::Always,
            "never" => Invert::Never,
            other => return refuse("tensors.input.invert", format!("{other:?} is none of auto, always, never")),
        };
        if !(*threshold > 0.0 && *threshold <= 1.0) {
            return refuse("tensors.input.threshold", format!("{threshold} is not above 0 and at most 1"));
        }
        if !(0.0..=4.0).contains(margin) {
            return refuse("tensors.input.margin", format!("{margin} is not within 0 to 4"));
        }
        if !(scale.is_finite() && *scale > 0.0) {
            return refuse("tensors.input.scale", format!("{scale} is not above 0"));
        }
        Ok(Self { width: *width, height: *height, invert, threshold: *threshold, margin: *margin, scale: *scale })
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn height(&self) -> usize {
        self.height
    }

    /// The tensor's values for a PNG file.
    pub(super) fn ink(&self, png: &[u8]) -> Result<Vec<f32>, OnnxError> {
        let image = decode(png).map_err(OnnxError::InvalidImage)?;
        let ink = levels(&image, self.invert).ok_or(OnnxError::InvalidImage(ImageProblem::Blank))?;
        let rows = (0..image.height).filter(|y| ink[y * image.width..(y + 1) * image.width].iter().any(|v| *v >= self.threshold));
        let columns = (0..image.width).filter(|x| ink[*x..].iter().step_by(image.width).any(|v| *v >= self.threshold));
        let (Some((top, bottom)), Some((left, right))) = (ends(rows), ends(columns)) else {
            return Err(OnnxError::InvalidImage(ImageProblem::Blank));
        };
        let (box_width, box_height) = ((right - left) as f64, (bottom - top) as f64);
        // One scale for both directions, so that nothing is stretched: the box that is tighter decides.
        let cell = (box_width / self.width as f64).max(box_height / self.height as f64) * (1.0 + 2.0 * f64::from(self.margin));
        let start = |low: usize, high: usize, cells: usize| (low + high) as f64 / 2.0 - cell * cells as f64 / 2.0;
        let across = overlaps(start(left, right, self.width), cell, self.width, left..right);
        let down = overlaps(start(top, bottom, self.height), cell, self.height, top..bottom);
        let mut values = Vec::with_capacity(self.width * self.height);
        for rows in &down {
            for columns in &across {
                let row = |&(y, high): &(usize, f64)| {
                    high * columns.iter().map(|(x, wide)| wide * f64::from(ink[y * image.width + x])).sum::<f64>()
                };
                let sum: f64 = rows.iter().map(row).sum();
                values.push((sum / (cell * cell)) as f32 * self.scale);
            }
        }
        Ok(values)
    }
}

fn ends(mut found: impl Iterator<Item = usize>) -> Option<(usize, usize)> {
    let first = found.next()?;
    Some((first, found.last().unwrap_or(first) + 1))
}

/// For each cell the pixels within `range` that it covers, and how much of each.
fn overlaps(start: f64, cell: f64, cells: usize, range: std::ops::Range<usize>) -> Vec<Vec<(usize, f64)>> {
    let covered = |n: usize| {
        let (low, high) = (start + cell * n as f64, start + cell * (n + 1) as f64);
        let (first, end) = (low.floor().max(range.start as f64) as usize, high.ceil().clamp(0.0, range.end as f64) as usize);
        let part = |pixel: usize| (pixel, (high.min((pixel + 1) as f64) - low.max(pixel as f64)).max(0.0));
        (first..end).map(part).collect()
    };
    (0..cells).map(covered).collect()
}

/// Ink from 0 to 1 for every pixel; `None` if there is none.
fn levels(image: &Gray, invert: Invert) -> Option<Vec<f32>> {
    let Gray { width, height, pixels } = image;
    let on_border = |index: usize| {
        let (x, y) = (index % width, index / width);
        x == 0 || y == 0 || x + 1 == *width || y + 1 == *height
    };
    let border: Vec<u64> = pixels.iter().enumerate().filter(|(index, _)| on_border(*index)).map(|(_, v)| u64::from(*v)).collect();
    let mean = border.iter().sum::<u64>() as f32 / border.len() as f32 / 255.0;
    let inverted = match invert {
        Invert::Auto => mean > 0.5,
        Invert::Always => true,
        Invert::Never => false,
    };
    let raw = |v: u8| if inverted { 1.0 - f32::from(v) / 255.0 } else { f32::from(v) / 255.0 };
    let background = if inverted { 1.0 - mean } else { mean };
    let most = pixels.iter().map(|v| raw(*v)).fold(0.0, f32::max);
    let span = most - background;
    (span >= LEAST_CONTRAST).then(|| pixels.iter().map(|v| ((raw(*v) - background) / span).clamp(0.0, 1.0)).collect())
}

fn decode(png: &[u8]) -> Result<Gray, ImageProblem> {
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(png), png::Limits { bytes: DECODER_BYTES });
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let info = decoder.read_header_info().map_err(ImageProblem::Decode)?;
    let (width, height) = (info.width, info.height);
    if width > MOST || height > MOST {
        return Err(ImageProblem::TooLarge { width, height, most: MOST });
    }
    let mut reader = decoder.read_info().map_err(ImageProblem::Decode)?;
    let size = reader.output_buffer_size().ok_or(ImageProblem::TooLarge { width, height, most: MOST })?;
    let mut bytes = vec![0; size];
    let frame = reader.next_frame(&mut bytes).map_err(ImageProblem::Decode)?;
    let samples = frame.color_type.samples();
    let pixels = bytes[..frame.buffer_size()].chunks_exact(samples).map(gray).collect();
    Ok(Gray { width: frame.width as usize, height: frame.height as usize, pixels })
}

/// One pixel's luma on white, in whole numbers so that training code computes the same.
fn gray(samples: &[u8]) -> u8 {
    let (luma, alpha) = match *samples {
        [v] => (u32::from(v), 255),
        [v, a] => (u32::from(v), u32::from(a)),
        [r, g, b] => (luma(r, g, b), 255),
        [r, g, b, a] => (luma(r, g, b), u32::from(a)),
        _ => (255, 255),
    };
    ((luma * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

fn luma(r: u8, g: u8, b: u8) -> u32 {
    (299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b) + 500) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn processor(width: usize, height: usize) -> ImageGray {
        ImageGray { width, height, invert: Invert::Auto, threshold: 0.25, margin: 0.0, scale: 1.0 }
    }

    fn png(width: u32, height: u32, color: png::ColorType, depth: png::BitDepth, data: &[u8]) -> Vec<u8> {
        let mut out = vec![];
        let mut encoder = png::Encoder::new(&mut out, width, height);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if color == png::ColorType::Indexed {
            encoder.set_palette(vec![255, 255, 255, 0, 0, 0]);
        }
        encoder.write_header().unwrap().write_image_data(data).unwrap();
        out
    }

    /// A 6 x 6 image, 255 but for a 2 x 4 block of 0 at (2, 1).
    fn block() -> Vec<u8> {
        (0..36).map(|i| if (2..4).contains(&(i % 6)) && (1..5).contains(&(i / 6)) { 0 } else { 255 }).collect()
    }

    #[test]
    fn every_kind_of_png_shows_the_same_ink() {
        use png::{BitDepth, ColorType};
        let gray = block();
        let each = |f: &dyn Fn(u8) -> Vec<u8>| gray.iter().flat_map(|v| f(*v)).collect::<Vec<u8>>();
        let packed: Vec<u8> = gray.chunks(6).map(|row| row.iter().enumerate().map(|(i, v)| u8::from(*v == 0) << (7 - i)).sum()).collect();
        let images = [
            png(6, 6, ColorType::Grayscale, BitDepth::Eight, &gray),
            png(6, 6, ColorType::Grayscale, BitDepth::Eight, &each(&|v| vec![255 - v])),
            png(6, 6, ColorType::Grayscale, BitDepth::Sixteen, &each(&|v| vec![v, v])),
            png(6, 6, ColorType::Rgb, BitDepth::Eight, &each(&|v| vec![v; 3])),
            png(6, 6, ColorType::Rgba, BitDepth::Eight, &each(&|v| vec![0, 0, 0, 255 - v])),
            png(6, 6, ColorType::GrayscaleAlpha, BitDepth::Eight, &each(&|v| vec![v, 255])),
            png(6, 6, ColorType::Indexed, BitDepth::One, &packed),
        ];
        for image in images {
            // The block is 2 x 4, so on 4 x 4 cells it fills the two columns in the middle.
            assert_eq!(processor(4, 4).ink(&image).unwrap(), [0.0, 1.0, 1.0, 0.0].repeat(4));
        }
    }

    #[test]
    fn areas_are_averaged_and_the_margin_is_empty() {
        let image = png(6, 6, png::ColorType::Grayscale, png::BitDepth::Eight, &block());
        assert_eq!(processor(1, 1).ink(&image).unwrap(), [0.5]);
        let wide = ImageGray { margin: 0.5, scale: 16.0, ..processor(4, 4) };
        let row = [0.0, 8.0, 8.0, 0.0];
        assert_eq!(wide.ink(&image).unwrap(), [[0.0; 4], row, row, [0.0; 4]].concat());
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let refusal = |bytes: &[u8]| processor(8, 8).ink(bytes).unwrap_err();
        let blank = png(4, 4, png::ColorType::Grayscale, png::BitDepth::Eight, &[200; 16]);
        let large = png(5000, 1, png::ColorType::Grayscale, png::BitDepth::Eight, &[0; 5000]);
        for (bytes, words) in [(&b"GIF89a"[..], "PNG"), (&blank, "blank"), (&large, "5000 x 1"), (&blank[..40], "PNG"), (b"", "PNG")] {
            let error = refusal(bytes);
            assert!(error.is_invalid_input() && error.to_string().contains(words), "{error}");
        }
    }

    proptest! {
        #[test]
        fn damaged_files_are_refused_or_read(at in 0..120_usize, value in any::<u8>()) {
            let mut bytes = png(6, 6, png::ColorType::Grayscale, png::BitDepth::Eight, &block());
            let at = at % bytes.len();
            bytes[at] = value;
            match processor(8, 8).ink(&bytes) {
                Ok(values) => prop_assert!(values.iter().all(|v| (0.0..=1.001).contains(v))),
                Err(error) => prop_assert!(error.is_invalid_input()),
            }
        }
    }
}
