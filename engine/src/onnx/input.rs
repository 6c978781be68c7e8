//! A port's bytes to the values of the declared input tensor, whichever pre-processor the manifest names.

use super::OnnxError;
use super::char_ngrams::CharNgrams;
use super::image_gray::ImageGray;
use super::word_ngrams::WordNgrams;
use ouro_common::container::InputTensor;

/// A declared pre-processor, checked.
#[derive(Debug)]
pub(super) enum Input {
    Chars(CharNgrams),
    Words(WordNgrams),
    Image(ImageGray),
}

impl Input {
    pub(super) fn new(declared: &InputTensor) -> Result<Self, OnnxError> {
        Ok(match declared {
            InputTensor::CharNgrams { .. } => Self::Chars(CharNgrams::new(declared)?),
            InputTensor::WordNgrams { .. } => Self::Words(WordNgrams::new(declared)?),
            InputTensor::ImageGray { .. } => Self::Image(ImageGray::new(declared)?),
        })
    }

    /// The tensor's extents.
    pub(super) fn shape(&self) -> Vec<usize> {
        match self {
            Self::Chars(ngrams) => vec![1, ngrams.buckets()],
            Self::Words(ngrams) => vec![1, ngrams.buckets()],
            Self::Image(image) => vec![1, 1, image.height(), image.width()],
        }
    }

    /// The tensor's values, in row-major order.
    pub(super) fn values(&self, bytes: &[u8]) -> Result<Vec<f32>, OnnxError> {
        Ok(match self {
            Self::Chars(ngrams) => ngrams.weights(text(bytes)?),
            Self::Words(ngrams) => ngrams.weights(text(bytes)?),
            Self::Image(image) => image.ink(bytes)?,
        })
    }
}

fn text(bytes: &[u8]) -> Result<&str, OnnxError> {
    std::str::from_utf8(bytes).map_err(|e| OnnxError::InvalidInput { offset: e.valid_up_to() })
}
