//! The manual of what is done with policies besides training them on pairs.

use insta::assert_snapshot;

use crate::support::Case;

#[test]
fn eval() {
    assert_snapshot!(Case::new().run(["eval", "--help"]), @"");
}

#[test]
fn generate() {
    assert_snapshot!(Case::new().run(["generate", "--help"]), @"");
}

#[test]
fn sft() {
    assert_snapshot!(Case::new().run(["sft", "--help"]), @"");
}

#[test]
fn sweep() {
    assert_snapshot!(Case::new().run(["sweep", "--help"]), @"");
}

#[test]
fn report() {
    assert_snapshot!(Case::new().run(["report", "--help"]), @"");
}
