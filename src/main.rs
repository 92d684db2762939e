#![doc = "The command-line program."]
fn main() {}
