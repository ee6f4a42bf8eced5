//! `dpo_loss`.

use datafusion::logical_expr::ScalarUDF;

use super::numeric::numeric;
use super::{Function, Kind};
use crate::loss;

pub(super) const FUNCTION: Function = Function {
    call: "dpo_loss(beta, policy_chosen, policy_rejected, ref_chosen, ref_rejected)",
    kind: Kind::Scalar,
    doc: "DPO loss of a pair in nats, -ln σ(beta·[(policy_chosen - ref_chosen) - (policy_rejected - ref_rejected)]) (arXiv:2305.18290, eq. 7), of log-probs summed over completion tokens. ln 2 where policy and reference agree.",
    example: "SELECT dpo_loss(0.1, -10, -20, -30, -20)",
    answer: "0.1269280110429725",
};

pub(super) fn udf() -> ScalarUDF {
    numeric("dpo_loss", |[beta, policy_chosen, policy_rejected, ref_chosen, ref_rejected]| {
        loss::softplus(-beta * ((policy_chosen - ref_chosen) - (policy_rejected - ref_rejected)))
    })
}
