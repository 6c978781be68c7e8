//! tmp.
fn main(){}
