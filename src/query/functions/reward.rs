//! `reward`.

use datafusion::logical_expr::ScalarUDF;

use super::numeric::numeric;
use super::{Function, Kind};

pub(super) const FUNCTION: Function = Function {
    call: "reward(beta, policy, ref)",
    kind: Kind::Scalar,
    doc: "Implicit reward of a completion, beta·(policy - ref), of its log-probs under both models, in nats (DPO, arXiv:2305.18290, section 4).",
    example: "SELECT reward(0.1, -10, -12.5)",
    answer: "0.25",
};

pub(super) fn udf() -> ScalarUDF {
    numeric("reward", |[beta, policy, reference]| beta * (policy - reference))
}
