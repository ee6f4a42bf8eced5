//! The type of a column of written numbers: the narrowest in which every one of them keeps its value.

use arrow::datatypes::DataType;

/// Digits of the widest integer type, `Decimal128(38, 0)`.
const MAX_DIGITS: usize = 38;

/// What the numbers of a column are like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    /// The least of the integers and zero.
    low: i128,
    /// The greatest of the integers and zero.
    high: i128,
    /// Whether one has a point or an exponent.
    has_float: bool,
    /// Whether an integer is not exactly a float.
    has_inexact: bool,
    /// Whether one fits no number type.
    has_beyond: bool,
}

impl Numbers {
    /// Takes in a number as it is written in JSON: digits, a point, an exponent.
    pub(super) fn add(&mut self, text: &str) {
        if text.contains(['.', 'e', 'E']) {
            self.has_float = true;
            self.has_beyond |= !text.parse::<f64>().is_ok_and(f64::is_finite);
            return;
        }
        let n_digits = text.trim_start_matches('-').len();
        match text.parse::<i128>() {
            Ok(value) if n_digits <= MAX_DIGITS => {
                self.low = self.low.min(value);
                self.high = self.high.max(value);
                self.has_inexact |= !is_exact(value);
            }
            _ => self.has_beyond = true,
        }
    }

    /// Takes in the numbers of another column.
    pub(super) fn merge(&mut self, other: &Self) {
        self.low = self.low.min(other.low);
        self.high = self.high.max(other.high);
        self.has_float |= other.has_float;
        self.has_inexact |= other.has_inexact;
        self.has_beyond |= other.has_beyond;
    }

    /// Takes in a number that only floats have: `nan`, `inf`.
    pub(super) fn add_float(&mut self) {
        self.has_float = true;
    }

    pub(super) fn data_type(&self) -> DataType {
        match self {
            Self { has_beyond: true, .. } | Self { has_float: true, has_inexact: true, .. } => DataType::Utf8,
            Self { has_float: true, .. } => DataType::Float64,
            Self { low, high, .. } if i64::try_from(*low).is_ok() && i64::try_from(*high).is_ok() => DataType::Int64,
            Self { low: 0, high, .. } if u64::try_from(*high).is_ok() => DataType::UInt64,
            _ => DataType::Decimal128(38, 0),
        }
    }
}

/// Whether an integer is exactly a float: at most 53 bits between its first and its last one.
fn is_exact(value: i128) -> bool {
    let bits = value.unsigned_abs();
    bits == 0 || u128::BITS - bits.leading_zeros() - bits.trailing_zeros() <= f64::MANTISSA_DIGITS
}
