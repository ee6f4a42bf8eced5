//! `softplus`.

use datafusion::logical_expr::ScalarUDF;

use super::numeric::numeric;
use super::{Function, Kind};
use crate::loss;

pub(super) const FUNCTION: Function = Function {
    call: "softplus(x)",
    kind: Kind::Scalar,
    doc: "ln(1 + e^x) = -logsigmoid(-x), finite for every finite x.",
    example: "SELECT softplus(800)",
    answer: "800.0",
};

pub(super) fn udf() -> ScalarUDF {
    numeric("softplus", |[x]| loss::softplus(x))
}
