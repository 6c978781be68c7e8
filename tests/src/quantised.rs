//! The small model with its matrices in blocks of eight-bit numbers (Q8_0): its weights stay mapped from their file while it is
//! loaded, as those of real models do. Halves are copied into memory.

/// The type of a tensor of halves, and of one of blocks of 32 eight-bit numbers.
const F16: u32 = 1;
const Q8_0: u32 = 8;
/// Numbers in a block.
const BLOCK: usize = 32;
/// Where tensors begin, and the data.
const ALIGNMENT: usize = 32;

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> &'b [u8] {
        self.at += count;
        &self.bytes[self.at - count..self.at]
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().expect("four bytes"))
    }

    fn u64(&mut self) -> usize {
        u64::from_le_bytes(self.take(8).try_into().expect("eight bytes")) as usize
    }

    fn text(&mut self) -> &'b [u8] {
        let length = self.u64();
        self.take(length)
    }

    fn skip_value(&mut self, kind: u32) {
        match kind {
            0 | 1 | 7 => drop(self.take(1)),
            2 | 3 => drop(self.take(2)),
            4..=6 => drop(self.take(4)),
            8 => drop(self.text()),
            9 => {
                let (kind, count) = (self.u32(), self.u64());
                (0..count).for_each(|_| self.skip_value(kind));
            }
            10..=12 => drop(self.take(8)),
            other => panic!("the model has a value of the kind {other}"),
        }
    }
}

/// The same model with its matrices of halves in blocks of eight-bit numbers.
///
/// # Panics
/// When the bytes are no GGUF file.
pub fn in_eight_bits(model: &[u8]) -> Vec<u8> {
    let mut reader = Reader { bytes: model, at: 8 };
    let (tensors, values) = (reader.u64(), reader.u64());
    for _ in 0..values {
        reader.text();
        let kind = reader.u32();
        reader.skip_value(kind);
    }
    let mut out = model[..reader.at].to_vec();
    let infos: Vec<_> = (0..tensors)
        .map(|_| {
            let name = reader.text();
            let sizes: Vec<usize> = (0..reader.u32()).map(|_| reader.u64()).collect();
            (name, sizes, reader.u32(), reader.u64())
        })
        .collect();
    let start = reader.at.next_multiple_of(ALIGNMENT);
    let ends: Vec<usize> = infos.iter().map(|(.., offset)| *offset).collect();
    let mut data = Vec::new();
    for (name, sizes, kind, offset) in infos {
        let end = ends.iter().copied().filter(|o| *o > offset).min().map_or(model.len(), |o| start + o);
        let bytes = &model[start + offset..end];
        let count: usize = sizes.iter().product();
        let matrix = kind == F16 && sizes.len() == 2 && sizes[0].is_multiple_of(BLOCK);
        out.extend((name.len() as u64).to_le_bytes());
        out.extend(name);
        out.extend((sizes.len() as u32).to_le_bytes());
        sizes.iter().for_each(|size| out.extend((*size as u64).to_le_bytes()));
        out.extend((if matrix { Q8_0 } else { kind }).to_le_bytes());
        out.extend((data.len() as u64).to_le_bytes());
        if matrix {
            bytes[..2 * count].chunks_exact(2 * BLOCK).for_each(|block| data.extend(quantised(block)));
        } else {
            data.extend(bytes);
        }
        data.resize(data.len().next_multiple_of(ALIGNMENT), 0);
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    out.extend(data);
    out
}

fn quantised(halves: &[u8]) -> Vec<u8> {
    let values: Vec<f32> = halves.chunks_exact(2).map(|b| single(u16::from_le_bytes([b[0], b[1]]))).collect();
    let scale = half(values.iter().fold(0f32, |most, v| most.max(v.abs())) / 127.0);
    let by = single(scale);
    let number = |v: &f32| if by > 0.0 { (v / by).round().clamp(-127.0, 127.0) as i8 } else { 0 };
    scale.to_le_bytes().into_iter().chain(values.iter().map(|v| number(v) as u8)).collect()
}

/// A half as a float.
fn single(half: u16) -> f32 {
    let (sign, exponent, fraction) = (half >> 15, half >> 10 & 31, half & 1023);
    let size = match exponent {
        0 => f32::from(fraction) * 2f32.powi(-24),
        _ => (1.0 + f32::from(fraction) / 1024.0) * 2f32.powi(i32::from(exponent) - 15),
    };
    if sign == 1 { -size } else { size }
}

/// The half next to a small positive float, toward zero.
fn half(value: f32) -> u16 {
    let (mut low, mut high) = (0, 31 << 10);
    while high - low > 1 {
        let middle = u16::midpoint(low, high);
        (low, high) = if single(middle) <= value { (middle, high) } else { (low, middle) };
    }
    low
}
