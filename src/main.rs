//! piref
fn main() {}
