//! `md5` and `sha256`: digests of texts, to compare with those that other tools write down.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::utils::take_function_args;
use datafusion::error::DataFusionError;
use datafusion::functions::utils::make_scalar_function;
use datafusion::logical_expr::{ScalarUDF, Volatility, create_udf};
use md5::Md5;
use sha2::{Digest, Sha256};

use super::{Function, Kind};

pub(super) const MD5: Function = Function {
    call: "md5(text)",
    kind: Kind::Scalar,
    doc: "MD5 digest of the UTF-8 bytes of a text, as 32 hexadecimal digits.",
    example: "SELECT md5('a')",
    answer: "0cc175b9c0f1b6a831c399e269772661",
};

pub(super) const SHA256: Function = Function {
    call: "sha256(text)",
    kind: Kind::Scalar,
    doc: "SHA-256 digest of the UTF-8 bytes of a text, as 32 bytes: written as hexadecimal digits, and so is \
          `encode(sha256(x), 'hex')`, as in PostgreSQL and DuckDB.",
    example: "SELECT sha256('a')",
    answer: "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
};

pub(super) fn md5() -> ScalarUDF {
    let of_columns = |columns: &[ArrayRef]| -> Result<ArrayRef, DataFusionError> {
        let [texts] = take_function_args("md5", columns)?;
        let rows = texts.as_string_view().iter();
        Ok(Arc::new(rows.map(|text| Some(hexadecimal(&Md5::digest(text?.as_bytes())))).collect::<StringArray>()))
    };
    let implementation = Arc::new(make_scalar_function(of_columns, Vec::new()));
    create_udf("md5", vec![DataType::Utf8View], DataType::Utf8, Volatility::Immutable, implementation)
}

pub(super) fn sha256() -> ScalarUDF {
    let of_columns = |columns: &[ArrayRef]| -> Result<ArrayRef, DataFusionError> {
        let [texts] = take_function_args("sha256", columns)?;
        let rows = texts.as_string_view().iter();
        Ok(Arc::new(rows.map(|text| Some(Sha256::digest(text?.as_bytes()))).collect::<BinaryArray>()))
    };
    let implementation = Arc::new(make_scalar_function(of_columns, Vec::new()));
    create_udf("sha256", vec![DataType::Utf8View], DataType::Binary, Volatility::Immutable, implementation)
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string does not fail.
        _ = write!(text, "{byte:02x}");
    }
    text
}
