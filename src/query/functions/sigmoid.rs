//! `sigmoid`.

use datafusion::logical_expr::ScalarUDF;

use super::numeric::numeric;
use super::{Function, Kind};
use crate::loss;

pub(super) const FUNCTION: Function = Function {
    call: "sigmoid(x)",
    kind: Kind::Scalar,
    doc: "σ(x) = 1/(1 + e^-x), without overflow and with all digits of its small side.",
    example: "SELECT sigmoid(-2.0)",
    answer: "0.11920292202211755",
};

pub(super) fn udf() -> ScalarUDF {
    numeric("sigmoid", |[x]| loss::sigmoid(x))
}
