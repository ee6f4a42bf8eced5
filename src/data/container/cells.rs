//! Values of Arrow columns as JSON, where arrow's own writer would lose something.

use std::io::Write;

use arrow::array::{Array, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::datatypes::{DataType, FieldRef, Float16Type, Float32Type, Float64Type};
use arrow::error::ArrowError;
use arrow::json::Encoder;
use arrow::json::writer::{EncoderFactory, EncoderOptions, NullableEncoder};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::named_floats;

/// Digits of a decimal that a double keeps, whichever they are.
const DOUBLE_DIGITS: u8 = 15;

/// Writes JSON as what it says (bytes, as `retype` leaves them), floats as the doubles they are, those that are no number
/// by their names, and decimals of more digits than a double has as text.
#[derive(Debug)]
pub(super) struct Cells;

impl EncoderFactory for Cells {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Binary => Box::new(Raw(|idx| array.as_binary::<i32>().value(idx))),
            DataType::LargeBinary => Box::new(Raw(|idx| array.as_binary::<i64>().value(idx))),
            DataType::BinaryView => Box::new(Raw(|idx| array.as_binary_view().value(idx))),
            DataType::Float16 => Box::new(Double(array.as_primitive::<Float16Type>())),
            DataType::Float32 => Box::new(Double(array.as_primitive::<Float32Type>())),
            DataType::Float64 => Box::new(Double(array.as_primitive::<Float64Type>())),
            DataType::Decimal32(digits, _)
            | DataType::Decimal64(digits, _)
            | DataType::Decimal128(digits, _)
            | DataType::Decimal256(digits, _)
                if *digits > DOUBLE_DIGITS =>
            {
                Box::new(Digits(ArrayFormatter::try_new(array, &FormatOptions::new())?))
            }
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

/// JSON that was checked.
struct Raw<F>(F);

impl<'a, F: Fn(usize) -> &'a [u8]> Encoder for Raw<F> {
    fn encode(&mut self, idx: usize, out: &mut Vec<u8>) {
        // A line ends a row, and within JSON it is a blank.
        out.extend(self.0(idx).iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    }
}

struct Double<'a, T: ArrowPrimitiveType>(&'a PrimitiveArray<T>);

impl<T: ArrowPrimitiveType> Encoder for Double<'_, T>
where
    f64: From<T::Native>,
{
    fn encode(&mut self, idx: usize, out: &mut Vec<u8>) {
        let value = f64::from(self.0.value(idx));
        let text = match named_floats::name(value) {
            Some(name) => format!("\"{name}\""),
            None => serde_json::Value::from(value).to_string(),
        };
        out.extend(text.into_bytes());
    }
}

/// A number whose digits JSON would round.
struct Digits<'a>(ArrayFormatter<'a>);

impl Encoder for Digits<'_> {
    fn encode(&mut self, idx: usize, out: &mut Vec<u8>) {
        // A vector takes every byte.
        let _ = write!(out, "\"{}\"", self.0.value(idx));
    }
}
