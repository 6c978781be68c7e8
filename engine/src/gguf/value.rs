//! Metadata values: scalars are decoded, arrays stay where the file maps them and are decoded when they are asked for.

use std::fmt;
use std::ops::Range;

/// The type of a metadata value; the numbers are those of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ValueKind {
    /// `u8`.
    U8 = 0,
    /// `i8`.
    I8 = 1,
    /// `u16`.
    U16 = 2,
    /// `i16`.
    I16 = 3,
    /// `u32`.
    U32 = 4,
    /// `i32`.
    I32 = 5,
    /// `f32`.
    F32 = 6,
    /// One byte, 0 or 1.
    Bool = 7,
    /// Length and UTF-8.
    String = 8,
    /// Values of one type.
    Array = 9,
    /// `u64`.
    U64 = 10,
    /// `i64`.
    I64 = 11,
    /// `f64`.
    F64 = 12,
}

impl ValueKind {
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::String,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    pub(super) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Bytes of a value of fixed size; `None` for strings and arrays.
    pub(super) fn fixed_bytes(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::String | Self::Array => None,
        }
    }
}

impl fmt::Display for ValueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::String => "a string",
            Self::Array => "an array",
            Self::Bool => "a truth value",
            Self::F32 | Self::F64 => "a floating-point number",
            _ => "an integer",
        };
        f.write_str(text)
    }
}

/// An array that still lies in the file; `bytes` was walked once, so every element is inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    /// The type of its elements.
    pub kind: ValueKind,
    /// How many there are.
    pub count: usize,
    pub(super) bytes: Range<usize>,
}

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any integer type; every one of them fits.
    Integer(ValueKind, i128),
    /// `f32` or `f64`.
    Float(ValueKind, f64),
    /// A truth value.
    Bool(bool),
    /// Text.
    String(String),
    /// An array, not decoded yet.
    Array(Array),
}

impl Value {
    /// Its type.
    pub fn kind(&self) -> ValueKind {
        match self {
            Self::Integer(kind, _) | Self::Float(kind, _) => *kind,
            Self::Bool(_) => ValueKind::Bool,
            Self::String(_) => ValueKind::String,
            Self::Array(_) => ValueKind::Array,
        }
    }

    /// Decodes a value of fixed size from exactly its bytes.
    pub(super) fn decode_fixed(kind: ValueKind, bytes: &[u8]) -> Option<Self> {
        fn take<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
            bytes.try_into().ok()
        }
        Some(match kind {
            ValueKind::U8 => Self::Integer(kind, u8::from_le_bytes(take(bytes)?).into()),
            ValueKind::I8 => Self::Integer(kind, i8::from_le_bytes(take(bytes)?).into()),
            ValueKind::U16 => Self::Integer(kind, u16::from_le_bytes(take(bytes)?).into()),
            ValueKind::I16 => Self::Integer(kind, i16::from_le_bytes(take(bytes)?).into()),
            ValueKind::U32 => Self::Integer(kind, u32::from_le_bytes(take(bytes)?).into()),
            ValueKind::I32 => Self::Integer(kind, i32::from_le_bytes(take(bytes)?).into()),
            ValueKind::U64 => Self::Integer(kind, u64::from_le_bytes(take(bytes)?).into()),
            ValueKind::I64 => Self::Integer(kind, i64::from_le_bytes(take(bytes)?).into()),
            ValueKind::F32 => Self::Float(kind, f32::from_le_bytes(take(bytes)?).into()),
            ValueKind::F64 => Self::Float(kind, f64::from_le_bytes(take(bytes)?)),
            ValueKind::Bool => Self::Bool(*bytes.first()? != 0),
            ValueKind::String | ValueKind::Array => return None,
        })
    }
}
