//! Small models of random weights for tests, as GGUF bytes and as plain numbers for the reference.

use crate::gguf::TensorType;
use crate::gguf::writer::GgufWriter;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// What to make.
#[derive(Debug, Clone)]
pub(crate) struct RandomModel {
    pub(crate) architecture: &'static str,
    pub(crate) layers: usize,
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) feed_forward: usize,
    pub(crate) vocabulary: usize,
    pub(crate) context: usize,
    pub(crate) rope_width: usize,
    pub(crate) window: Option<usize>,
    pub(crate) original_context: Option<usize>,
    pub(crate) tied: bool,
    pub(crate) matrices: TensorType,
    pub(crate) seed: u64,
}

impl Default for RandomModel {
    fn default() -> Self {
        Self {
            architecture: "phi3",
            layers: 2,
            hidden: 64,
            heads: 4,
            kv_heads: 2,
            feed_forward: 96,
            vocabulary: 50,
            context: 64,
            rope_width: 16,
            window: None,
            original_context: None,
            tied: false,
            matrices: TensorType::F32,
            seed: 1,
        }
    }
}

/// A model's file and the numbers in it, after quantisation.
pub(crate) struct Made {
    pub(crate) writer: GgufWriter,
    pub(crate) values: BTreeMap<String, Vec<f32>>,
}

impl RandomModel {
    pub(crate) fn head_width(&self) -> usize {
        self.hidden / self.heads
    }

    pub(crate) fn make(&self) -> Made {
        let mut made = Made { writer: self.metadata(), values: BTreeMap::new() };
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let (hidden, wide) = (self.hidden, self.feed_forward);
        let keys = self.kv_heads * self.head_width();
        let mut matrix = |made: &mut Made, name: String, rows: usize, width: usize| {
            let scale = 1.5 / (width as f32).sqrt();
            let values: Vec<f32> = (0..rows * width).map(|_| random.random_range(-1.0..1.0_f32) * scale).collect();
            self.put(made, &name, &[rows, width], self.matrices, values);
        };
        matrix(&mut made, "token_embd.weight".into(), self.vocabulary, hidden);
        if !self.tied {
            matrix(&mut made, "output.weight".into(), self.vocabulary, hidden);
        }
        for layer in 0..self.layers {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            if self.architecture == "phi3" {
                matrix(&mut made, name("attn_qkv"), hidden + 2 * keys, hidden);
                matrix(&mut made, name("ffn_up"), 2 * wide, hidden);
            } else {
                matrix(&mut made, name("attn_q"), hidden, hidden);
                matrix(&mut made, name("attn_k"), keys, hidden);
                matrix(&mut made, name("attn_v"), keys, hidden);
                matrix(&mut made, name("ffn_gate"), wide, hidden);
                matrix(&mut made, name("ffn_up"), wide, hidden);
            }
            matrix(&mut made, name("attn_output"), hidden, hidden);
            matrix(&mut made, name("ffn_down"), hidden, wide);
        }
        self.vectors(&mut made, &mut random);
        made
    }

    fn vectors(&self, made: &mut Made, random: &mut ChaCha8Rng) {
        let mut vector = |made: &mut Made, name: String, width: usize| {
            let values: Vec<f32> = (0..width).map(|_| random.random_range(0.5..2.0_f32)).collect();
            self.put(made, &name, &[width], TensorType::F32, values);
        };
        vector(made, "output_norm.weight".into(), self.hidden);
        for layer in 0..self.layers {
            vector(made, format!("blk.{layer}.attn_norm.weight"), self.hidden);
            vector(made, format!("blk.{layer}.ffn_norm.weight"), self.hidden);
        }
        if self.original_context.is_some() {
            vector(made, "rope_factors_short.weight".into(), self.rope_width / 2);
            vector(made, "rope_factors_long.weight".into(), self.rope_width / 2);
        }
    }

    fn metadata(&self) -> GgufWriter {
        let mut writer = GgufWriter::new();
        writer.string("general.architecture", self.architecture);
        writer.string("general.name", "random");
        let sizes = [
            ("block_count", self.layers),
            ("embedding_length", self.hidden),
            ("feed_forward_length", self.feed_forward),
            ("attention.head_count", self.heads),
            ("attention.head_count_kv", self.kv_heads),
            ("context_length", self.context),
            ("rope.dimension_count", self.rope_width),
            ("attention.sliding_window", self.window.unwrap_or(0)),
            ("rope.scaling.original_context_length", self.original_context.unwrap_or(self.context)),
        ];
        for (name, size) in sizes {
            writer.u32(&format!("{}.{name}", self.architecture), u32::try_from(size).unwrap());
        }
        writer.f32(&format!("{}.attention.layer_norm_rms_epsilon", self.architecture), 1e-5);
        writer.f32(&format!("{}.rope.freq_base", self.architecture), 100.0);
        writer
    }

    /// Adds a tensor in its type, and the values that are left of it.
    fn put(&self, made: &mut Made, name: &str, shape: &[usize], kind: TensorType, values: Vec<f32>) {
        let extents: Vec<u64> = shape.iter().map(|&extent| extent as u64).collect();
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        let kept = QTensor::quantize(&tensor, kind.candle()).unwrap();
        made.writer.tensor_raw(name, &extents, kind, &kept.data().unwrap());
        let left = kept.dequantize(&Device::Cpu).unwrap().to_dtype(candle_core::DType::F32).unwrap();
        assert!(matches!(kept.dtype(), GgmlDType::F32 | GgmlDType::F16 | GgmlDType::Q8_0 | GgmlDType::Q4K));
        made.values.insert(name.to_string(), left.flatten_all().unwrap().to_vec1().unwrap());
    }
}
