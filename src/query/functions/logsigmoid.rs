//! `logsigmoid`.

use datafusion::logical_expr::ScalarUDF;

use super::numeric::numeric;
use super::{Function, Kind};
use crate::loss;

pub(super) const FUNCTION: Function = Function {
    call: "logsigmoid(x)",
    kind: Kind::Scalar,
    doc: "ln σ(x), exact in both tails, where ln(sigmoid(x)) would be -inf or 0.",
    example: "SELECT logsigmoid(-800)",
    answer: "-800.0",
};

pub(super) fn udf() -> ScalarUDF {
    numeric("logsigmoid", |[x]| loss::log_sigmoid(x))
}
