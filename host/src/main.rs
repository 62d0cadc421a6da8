//! x
fn main() {
    wharf::process::init();
}
