//! `bt_prob`.

use datafusion::logical_expr::ScalarUDF;

use super::numeric::numeric;
use super::{Function, Kind};
use crate::loss;

pub(super) const FUNCTION: Function = Function {
    call: "bt_prob(reward_chosen, reward_rejected)",
    kind: Kind::Scalar,
    doc: "Probability σ(reward_chosen - reward_rejected) that the first is preferred, by the Bradley-Terry model.",
    example: "SELECT bt_prob(1.0, 3.0)",
    answer: "0.11920292202211755",
};

pub(super) fn udf() -> ScalarUDF {
    numeric("bt_prob", |[chosen, rejected]| loss::sigmoid(chosen - rejected))
}
